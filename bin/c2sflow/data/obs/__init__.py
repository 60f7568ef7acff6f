"""Columns of obs: labels, queries, and the cells that a figure may use."""
