"""What numba compiles of a package that is imported so is kept for the next process."""

import importlib
import sys

import numba

from c2sflow.common.threads import compiled_once

MODULE = """
import numba

@numba.njit
def plain(x):
    return x + 1

@numba.njit(fastmath=True)
def with_options(x):
    return x + 2

@numba.njit("f8(f8)", cache=False)
def told_otherwise(x):
    return x + 3
"""


def test_the_second_import_compiles_nothing(tmp_path, monkeypatch):
    (tmp_path / "package_of_numba.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    before = numba.njit
    for number in (0, 1):
        sys.modules.pop("package_of_numba", None)
        with compiled_once():
            module = importlib.import_module("package_of_numba")
        assert numba.njit is before
        for function, result in ((module.plain, 2), (module.with_options, 3)):
            assert function(1) == result
            assert sum(function.stats.cache_hits.values()) == number
            assert sum(function.stats.cache_misses.values()) == 1 - number
        assert module.told_otherwise(1.0) == 4
        assert module.told_otherwise.stats.cache_path is None
    del sys.modules["package_of_numba"]
