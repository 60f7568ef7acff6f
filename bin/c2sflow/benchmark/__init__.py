"""Predicted cells in the forms of the field's benchmarks, and their scores by cell-eval2."""
