"""A run of many shards under every kind of fault, resumed: the bytes of a run without any."""

import os

import pytest
from disturbing import Disturbed

SHARDS = int(os.environ.get("SHARDS", "20"))
pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif("FAULTS" not in os.environ, reason="make test-faults-500 runs it"),
]


def test_shards_of_a_disturbed_run_are_merged_to_the_same_bytes(tmp_path, nextflow_home):
    run = Disturbed(tmp_path, nextflow_home, SHARDS, warm=True, at_once=4, seed=1)
    with run.prepared():
        run.everything()
        print("\n".join(run.table()))
        assert not run.unexpected
        assert run.done() == SHARDS
        if run.fills:
            named = [f"The disk of {folder} is full" for folder in (run.work, run.out)]
            for words, output in zip(named, run.of_full_disks(), strict=True):
                assert words in output

        run.start()
        assert run.end() == 0
        assert "Submitted process" not in run.outputs[-1]
        assert (run.out / "c2s.h5ad").read_bytes() == run.by_hand().read_bytes()
