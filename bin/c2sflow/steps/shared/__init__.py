"""Options that several steps have in common."""
