"""What the heap keeps though nothing uses it goes back to the system."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from c2sflow.common.memory import trim_heap

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

arrays = [np.ones(2**17) for _ in range(100)]  # a megabyte each
del arrays[:-1]  # the last one keeps the heap from shrinking
before = resident()
trim_heap()
print(before - resident(), int(arrays[0].sum()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_is_freed_is_given_back():
    kept = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **kept}, capture_output=True, text=True
    )
    given_back, total = map(int, done.stdout.split())
    assert given_back > 90
    assert total == 2**17
