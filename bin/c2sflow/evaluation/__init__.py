"""Figures that compare a run with what is known."""
