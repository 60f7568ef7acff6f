"""Simulations are seeded, and so are the examples of hypothesis."""

from hypothesis import settings

settings.register_profile("c2sflow", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("c2sflow")
