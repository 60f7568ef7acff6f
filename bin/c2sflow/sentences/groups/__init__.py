"""Groups of cells that share a prompt: drawn, and written as shards."""
