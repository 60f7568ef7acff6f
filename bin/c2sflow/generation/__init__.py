"""Text that the model generates: genes, cells, cell types."""
