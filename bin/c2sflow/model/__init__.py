"""The language model: files, loading, attention, batches, embeddings."""
