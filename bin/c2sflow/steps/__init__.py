"""One file a step of the pipeline: its command line, and nothing that a notebook needs."""
