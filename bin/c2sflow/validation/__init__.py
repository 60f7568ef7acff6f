"""All checks before any GPU time."""
