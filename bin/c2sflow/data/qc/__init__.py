"""Quality control by blocks of rows."""
