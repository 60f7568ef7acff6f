"""What every package uses: errors, files, threads, statistics."""
