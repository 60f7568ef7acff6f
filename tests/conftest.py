"""What all tests share."""

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "pipeline: drives the real Nextflow (minutes)")


def pytest_collection_modifyitems(items):
    """How workers share the tests (--dist loadgroup --no-loadscope-reorder).

    Slow ones first: at the end no worker is left alone with them. The unit tests of a file stay
    together, for what is made once a file; so do those of the pipeline that name an xdist_group.
    """
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)
    for item in items:
        if not item.get_closest_marker("pipeline"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
