"""The state of a file's values (counts, normalised, log-normalised), decided from evidence."""
