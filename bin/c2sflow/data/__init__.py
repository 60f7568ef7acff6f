"""AnnData files and other tables of cells, read by blocks: no torch here."""
