"""Which perturbations are predicted, and what they do to genes."""
