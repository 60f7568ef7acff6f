"""Shards that share a task: what it writes of each is what a task of its own writes."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from c2sflow.inputs.perturbations import Treatment
from c2sflow.perturbation.planning import plan_predictions
from c2sflow.steps import annotate, embed, perturb

SHARDS = ("a.00000", "a.00001", "b.00000")
TIMES = ("seconds", "seconds_model", "cells_per_second", "tokens_per_second", "peak_memory_bytes")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, records):
    """Shards of two samples, with different genes and lengths, and the cells to perturb."""
    folder = tmp_path_factory.mktemp("shards")
    for number, name in enumerate(SHARDS):
        cells = pd.DataFrame(records[3 * number : 3 * number + 2 + number]).assign(sample=name[0])
        cells.to_parquet(folder / f"{name}.parquet")
        plan = plan_predictions(cells.assign(shard=name), treatments=[Treatment("A", "A", "")])
        plan.to_parquet(folder / f"{name}.plan.parquet")
        words = sorted({word for text in cells["cell_sentence"] for word in text.split()})
        (folder / f"{name[0]}.sentences.json").write_text(json.dumps({"genes": words}))
    return folder


def command(step, folder, model, outdir, names):
    words = ["--model", str(model), "--device", "cpu", "--outdir", str(outdir)]
    words += [f"--shard={folder / name}.parquet" for name in names]
    if step is annotate:
        words += ["--cell-types", "B cell,T cell"]
    if step is perturb:
        words += [f"--plan={folder / name}.plan.parquet" for name in reversed(names)]
        words += [f"--genes={folder / name}.sentences.json" for name in {n[0] for n in names}]
        words += ["--max-new-tokens", "12", "--temperature", "1", "--num-samples", "2"]
    outdir.mkdir()
    done = CliRunner().invoke(step.main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("step", [embed, annotate, perturb])
def test_together_as_alone(step, folder, demo_model, tmp_path):
    command(step, folder, demo_model, tmp_path / "together", SHARDS)
    for name in SHARDS:
        command(step, folder, demo_model, tmp_path / name, [name])
    together = sorted(path.name for path in (tmp_path / "together").iterdir())
    alone = [path for name in SHARDS for path in (tmp_path / name).iterdir()]
    assert together == sorted(path.name for path in alone)
    assert len(together) == 2 * len(SHARDS)
    for path in alone:
        twin = tmp_path / "together" / path.name
        if path.suffix == ".json":
            one, other = (json.loads(file.read_text()) for file in (path, twin))
            timed = {key for key in one if key in TIMES or key.endswith("_per_second")}
            assert {k: v for k, v in one.items() if k not in timed} == {
                k: v for k, v in other.items() if k not in timed
            }
        else:
            assert path.read_bytes() == twin.read_bytes(), path.name
