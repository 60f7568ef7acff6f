"""Bulk samples, and cells summed to pseudobulk."""
