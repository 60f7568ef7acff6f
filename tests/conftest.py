"""What all tests share."""

import gc
import os
from pathlib import PurePath

from xdist.scheduler import LoadScopeScheduling

# Workers share the cores, and threads that wait for each other spin. (A task of a run has its own.)
# numba's, which scanpy starts, would give torch's OpenMP its own number again.
for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# torch would have g++ try each kind of vectors that this CPU has, for seconds in every new folder,
# and count what takes a minute on a busy machine as missing.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")

# Files whose tests share nothing that is slow to make.
APART = ("test_flow", "test_pipeline")


def pytest_configure(config):
    config.addinivalue_line("markers", "pipeline: drives the real Nextflow (minutes)")


def pytest_collection_modifyitems(items):
    """Slow tests first, the slowest before all: at the end no worker is left alone with them."""
    items.sort(
        key=lambda item: (
            item.get_closest_marker("pipeline") is None,
            item.path.stem != "test_modules",  # all of nf-test's
        )
    )


def pytest_collection_finish():
    """What is imported by now stays: collecting garbage need not look through it each time."""
    gc.collect()
    gc.freeze()


class Sharing(LoadScopeScheduling):
    """One worker gets all tests of a file, but those of `APART` are given out one by one.

    (loadgroup of pytest-xdist 3.8 would do, but finds no groups with pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return nodeid if PurePath(file).stem in APART else file


def pytest_xdist_make_scheduler(config, log):
    return Sharing(config, log)
