"""Cells as sentences of genes, in shards, and the prompts that hold them."""
