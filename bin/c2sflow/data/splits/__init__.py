"""Training, validation and test cells."""
