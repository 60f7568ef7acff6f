"""Decisions about one name of a gene, such as what its identifier is of: made once in a process."""

from __future__ import annotations

from functools import lru_cache

# The samples of a run share most of their genes: of a thousand samples the names of a few
# references are looked at. So many names are remembered for each question, 20 MB of them.
MOST_NAMES = 2**17

once_a_name = lru_cache(maxsize=MOST_NAMES)
