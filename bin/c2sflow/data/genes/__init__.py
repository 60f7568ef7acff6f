"""Genes of a file: symbols, organism, features that are none."""
