"""What became of the files, at the end of the run."""

from collections import Counter

import pytest

OUTCOMES = Counter()


@pytest.fixture(scope="session")
def outcomes():
    """Number of files by what became of them."""
    return OUTCOMES


def pytest_terminal_summary(terminalreporter):
    if OUTCOMES:
        counts = ", ".join(f"{n} {name}" for name, n in OUTCOMES.most_common())
        terminalreporter.write_line(f"fuzz: {sum(OUTCOMES.values())} files: {counts}")
