"""Families of models: a file for each, and the registry that finds it by a model's type."""
