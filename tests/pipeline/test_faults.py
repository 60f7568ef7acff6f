"""Runs that are killed, run out of memory or disk, or meet a broken shard, and are resumed."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from comparing import check_same_cells
from disturbing import small_disk
from driving import INJECT, LENIENT, Nextflow, copy_project

from c2sflow.data.demo import demo_samples

pytestmark = pytest.mark.pipeline
# Four minutes of two cores.
takes_minutes = pytest.mark.skipif("FAULTS" not in os.environ, reason="make test-faults runs it")

ARGUMENTS = ("-profile", "test", "--input", "sheet.csv", "--outdir", "results")
EVERY_STEP_DIES = """
process.beforeScript = {
    def second = task.process == 'EMBED' && task.attempt == 2 ? '; exit 137' : ''
    "%s" + (task.attempt == 1 ? 'kill' : '') + second
}
"""
POWER_FAILS = """
process {
    withName: EMBED {
        maxForks = 1
        beforeScript = "%s; mkdir '%s' || FAULT=power"
    }
}
"""
THIRD_TIME = """
process {
    withName: EMBED {
        cpus = 1
        memory = 10.MB
        beforeScript = {
            meta.id.endsWith('.00001')
                ? "[ ${task.attempt} -lt 3 ] || touch '%s'; exit 137"
                : meta.id.endsWith('.00000') ? "until [ -e '%s' ]; do sleep 0.2; done; sleep 4" : ''
        }
    }
}
"""
NO_ROOM = "process { withName: EMBED { beforeScript = 'cat /dev/zero > %s || true' } }"
# Two files: Nextflow prints the first error alone.
NO_ROOM_FOR_RESULTS = """
process {
    withName: MERGE { afterScript = 'head -c 2000000 /dev/zero >> c2s.h5ad' }
    withName: REPORT { afterScript = 'head -c 2000000 /dev/zero >> report.html' }
}
"""
DISK_IS_FULL = "process { withName: MERGE { beforeScript = 'ulimit -f 20' } }"


def write_input(folder: Path) -> None:
    """40 cells, read-only, behind a link."""
    cells = demo_samples()["lane_1"]
    control = np.flatnonzero(cells.obs["bulk_labels"] == "CD4+/CD25 T Reg")[:8]
    rest = np.setdiff1d(np.arange(cells.n_obs), control)[:32]
    (folder / "data").mkdir()
    target = folder / "data/cells of mine.h5ad"
    cells[np.r_[control, rest]].copy().write_h5ad(target)
    target.chmod(0o444)
    (folder / "cells.h5ad").symlink_to(target)
    (folder / "sheet.csv").write_text("sample,path\ns,cells.h5ad\n")


def results_in(outdir: Path) -> dict:
    tables = [*outdir.glob("perturbation/*.tsv"), outdir / "attention/attention_pairs.tsv"]
    results = {path.name: pd.read_csv(path, sep="\t") for path in tables}
    for name in ("c2s.h5ad", "c2s_perturbed.h5ad"):
        results[name] = ad.read_h5ad(outdir / name)
    return results


def check_same(results: dict, expected: dict) -> None:
    assert results.keys() == expected.keys()
    for name, found in results.items():
        if name.endswith(".tsv"):
            pd.testing.assert_frame_equal(found, expected[name], rtol=1e-4)
        else:
            check_same_cells(found, expected[name], obs_rtol=1e-4, rtol=1e-4)


def trace_of(outdir: Path) -> pd.DataFrame:
    return pd.read_csv(outdir / "pipeline_info/execution_trace.tsv", sep="\t")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, nextflow_home) -> Nextflow:
    """A finished run: its files under `undisturbed.folder`, and `undisturbed.results`."""
    nextflow = Nextflow(tmp_path_factory.mktemp("faults"), nextflow_home, LENIENT)
    nextflow.project = copy_project(nextflow.folder / "project")
    write_input(nextflow.folder)
    cells = nextflow.folder / "data/cells of mine.h5ad"
    before = cells.stat().st_mtime_ns, cells.read_bytes()
    nextflow.run(*ARGUMENTS)
    assert (cells.stat().st_mtime_ns, cells.read_bytes()) == before
    nextflow.results = results_in(nextflow.folder / "results")
    return nextflow


def with_faults(nextflow: Nextflow, config: str) -> tuple:
    path = nextflow.folder / "faults.config"
    path.write_text(config)
    return (*ARGUMENTS, "-c", path)


def max_batch_tokens(trace: pd.DataFrame) -> int:
    folder = trace.query("process == 'EMBED' and status != 'FAILED'")["workdir"].item()
    return json.loads((Path(folder) / "s.00000.embed.json").read_text())["max_batch_tokens"]


@takes_minutes
def test_every_step_is_killed_in_its_middle(undisturbed, lenient):
    write_input(lenient.folder)
    lenient.project = undisturbed.project
    lenient.run(*with_faults(lenient, EVERY_STEP_DIES % INJECT))
    outdir = lenient.folder / "results"
    check_same(results_in(outdir), undisturbed.results)

    trace, quiet = trace_of(outdir), trace_of(undisturbed.folder / "results")
    killed = trace[trace["exit"] == 137]
    assert sorted(killed["process"]) == sorted([*quiet["process"], "EMBED"])
    embed = trace[trace["process"] == "EMBED"].sort_values("attempt")
    assert embed["attempt"].tolist() == [1, 2, 3]
    assert embed["memory"].tolist()[:2] == ["3 GB", "6 GB"]
    assert max_batch_tokens(trace) == max_batch_tokens(quiet) // 4

    assert not lenient.run(*ARGUMENTS, "-resume").submitted


@takes_minutes
def test_a_run_that_dies_again_and_again_ends_as_if_nothing_had_been(undisturbed):
    # EVALUATE reads the shards too, beside MERGE: which of the two fails first would be chance.
    arguments = ("-resume", "--shard_size", 30, "--attention_maps", 0, "--evaluate", "false")
    outdir = undisturbed.folder / "results"

    def fails(config=""):
        run = undisturbed.run(*with_faults(undisturbed, config), *arguments, status=None)
        assert run.status != 0
        check_same(results_in(outdir), undisturbed.results)
        return run

    run = fails(POWER_FAILS % (INJECT, undisturbed.folder / "the first EMBED"))
    assert run.cached["QC"] == 1
    assert run.submitted["EMBED"] == 2

    run = fails(DISK_IS_FULL)
    assert (
        "cannot be read or written: File too large; fix this and run again with -resume"
        in run.output
    )
    assert run.cached["SENTENCES"] == run.cached["EMBED"] == run.submitted["EMBED"] == 1

    trace = trace_of(outdir)
    folders = trace.query("process == 'EMBED' and exit == 0")["workdir"]
    shards = sorted(path for folder in folders for path in Path(folder).glob("*.embedding.h5ad"))
    whole = shards[0].read_bytes()
    for damage, message in [
        (whole[:2000], "is missing or broken"),
        (shards[1].read_bytes(), "does not hold the cells that come next"),
    ]:
        shards[0].write_bytes(damage)
        run = fails()
        assert run.submitted == {"MERGE": 1}
        assert f"sample s: shard {shards[0].name} {message}" in run.output
        assert f"delete {shards[0]} and run again with -resume" in " ".join(run.output.split())

    shards[0].unlink()
    run = undisturbed.run(*ARGUMENTS, *arguments, status=None)
    assert run.submitted == {"EMBED": 1, "MERGE": 1, "REPORT": 1}
    check_same(results_in(outdir), undisturbed.results)


def test_changed_input_runs_again_and_two_runs_may_share_a_folder(tmp_path, nextflow_home):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        write_input(folder)
    runs = [Nextflow(folder, nextflow_home) for folder in folders]
    arguments = ("-stub-run", *ARGUMENTS[:-1], tmp_path / "results", "--evaluate", "false")
    arguments += ("--annotate", "false", "--attention_maps", 0)  # more of the same
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda nextflow: nextflow.run(*arguments), runs))
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names >= {"c2s.h5ad", "c2s_perturbed.h5ad", "report.html", "qc", "pipeline_info"}

    target = folders[0] / "data/cells of mine.h5ad"
    target.chmod(0o644)
    changed = ad.read_h5ad(target)
    changed.X.data[0] += 1
    changed.write_h5ad(target)
    again = runs[0].run(*arguments, "-resume").submitted
    assert again.keys() >= {"VALIDATE", "QC", "SENTENCES", "EMBED", "MERGE", "REPORT"}
    assert "MODEL" not in again


# What needs no cells: a minute of stubs.
STUBS = ("-stub-run", "--input", "sheet.csv", "--model", "demo", "--evaluate", "false")


@pytest.mark.parametrize("engine", ["24.10", LENIENT])
def test_a_task_that_is_killed_too_often_leaves_the_others_time_to_end(
    engine, tmp_path, nextflow_home, unrecorded
):
    nextflow = Nextflow(tmp_path, nextflow_home, engine, project=unrecorded)
    write_input(nextflow.folder)
    third = nextflow.folder / "third"
    config = nextflow.folder / "faults.config"
    config.write_text(THIRD_TIME % (third, third))
    run = nextflow.run(*STUBS, "-c", config, status=None)
    assert run.status != 0
    assert "EMBED (sample_0.00001)" in run.output
    assert "Killing running tasks" not in run.output

    again = nextflow.run(*STUBS, "-resume")
    assert again.cached["EMBED"] == 2
    assert again.submitted["EMBED"] == 1


def test_a_task_whose_versions_are_not_known_counts(nextflow, project):
    write_input(nextflow.folder)
    (project / "bin/c2sflow/steps/versions.py").write_text("import os; os.kill(os.getpid(), 9)")
    nextflow.run(*STUBS, script=project)
    assert (nextflow.folder / "results/report.html").exists()


def test_a_full_disk_is_named(lenient, unrecorded):
    lenient.project = unrecorded
    with small_disk(lenient.folder / "disk", 2**20) as small:
        if not small:
            pytest.skip("only root may mount a small disk")
        write_input(lenient.folder)
        work, balloon = (lenient.folder / "disk" / name for name in ("work", "balloon"))
        config = lenient.folder / "faults.config"
        config.write_text(NO_ROOM % balloon)
        run = lenient.run(*STUBS, "-w", work, "-c", config, status=None)
        assert run.status != 0
        assert f"The disk of {work} is full" in run.output
        balloon.unlink()
        assert lenient.run(*STUBS, "-w", work, "-resume").submitted["EMBED"] == 3


def test_a_full_disk_of_results_is_named(lenient):
    with small_disk(lenient.folder / "results", 2**20) as small:
        if not small:
            pytest.skip("only root may mount a small disk")
        write_input(lenient.folder)
        config = lenient.folder / "faults.config"
        config.write_text(NO_ROOM_FOR_RESULTS)
        run = lenient.run(*STUBS, "-c", config, status=None)
        assert run.status != 0
        assert f"The disk of {lenient.folder / 'results'} is full" in run.output
        assert not (lenient.folder / "results/c2s.h5ad").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", lenient.folder / "results"], check=True)
        assert not lenient.run(*STUBS, "-c", config, "-resume").submitted
        assert (lenient.folder / "results/c2s.h5ad").stat().st_size == 2_000_000
