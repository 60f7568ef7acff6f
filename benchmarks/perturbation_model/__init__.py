"""A model of the demo's size for real control and perturbed cells, and how it is trained."""
