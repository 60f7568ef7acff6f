"""The command line of each step of the pipeline, one file per step."""
