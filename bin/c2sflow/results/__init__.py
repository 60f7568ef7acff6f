"""The results of a run merged into one AnnData file."""
