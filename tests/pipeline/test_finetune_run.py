"""Training in a run: killed in its middle it goes on, held-out cells judge it, --model takes it."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from driving import INJECT, ROOT

from c2sflow.data.demo import demo_samples

pytestmark = pytest.mark.pipeline

CONTROL = "CD14+ Monocyte"
CELLS = ("--input", "cells.h5ad", "--min_genes", "10", "--max_genes", "40")
CELLS += ("--label_column", "bulk_labels")
TRAINING = (
    *("--finetune", "cell_type,perturbation:2", "--perturbation_column", "bulk_labels"),
    *("--control", f'bulk_labels == "{CONTROL}"', "--max_cells_per_perturbation", "4"),
    *("--max_new_tokens", "8", "--held_out", "0.3", "--max_steps", "10", "--evaluate_every", "5"),
    *("--checkpoint_every", "1", "--finetune_batch_tokens", "1024"),
)
# At the third checkpoint: first the power fails, then the task alone is killed.
FAULTS = """
process {
    withLabel: process_gpu { cpus = 1; memory = 3.GB }
    withLabel: process_low { cpus = 1; memory = 3.GB }
    withName: FINETUNE {
        beforeScript = "%s; mkdir '%s' && FAULT=power-3 || { mkdir '%s' && FAULT=kill-3; } || true"
    }
}
"""


def test_killed_resumed_evaluated_and_used_again(nextflow):
    folder = nextflow.folder
    nextflow.project = ROOT  # whose trace has the killed tasks
    demo_samples()["lane_1"][:240].copy().write_h5ad(folder / "cells.h5ad")
    (folder / "faults.config").write_text(FAULTS % (INJECT, folder / "first", folder / "second"))
    arguments = (*CELLS, "--model", "demo", *TRAINING, "-c", folder / "faults.config")
    assert nextflow.run(*arguments, status=None).status != 0
    run = nextflow.run(*arguments, "-resume")
    assert run.cached["SENTENCES"] == 1
    outdir = folder / "results"
    trace = pd.read_csv(outdir / "pipeline_info/execution_trace.tsv", sep="\t")
    tries = trace[trace["process"] == "FINETUNING:FINETUNE"].sort_values("attempt")
    assert tries["exit"].tolist() == [137, 0]
    trained = outdir / "finetuned"
    record = json.loads((trained / "finetune.json").read_text())
    assert record["steps"] == 10
    assert record["resumed_from"] == 4  # two checkpoints before each of the faults
    losses = pd.read_csv(trained / "loss.tsv", sep="\t")
    assert losses["step"].tolist() == list(range(11))
    assert record["base"]["id"] == "demo"

    # Only held-out control cells are predicted, and only held-out cells judge.
    cells, predicted = (ad.read_h5ad(outdir / f"c2s{name}.h5ad") for name in ("", "_perturbed"))
    counts = cells.obs["c2s_split"].value_counts()
    assert record["n_cells"] == {name: counts[name] for name in ("train", "validation", "test")}
    splits = pd.read_csv(trained / "splits.tsv", sep="\t")
    assert splits["split"].tolist() == cells.obs["c2s_split"].tolist()
    source = cells.obs.loc[predicted.obs["c2s_source_cell"]]
    assert set(source["c2s_split"]) == {"test"}
    assert set(source["bulk_labels"]) == {CONTROL}
    measured = pd.read_csv(outdir / "evaluation/perturbation.tsv", sep="\t")
    held_out = cells.obs[cells.obs["c2s_split"] == "test"]
    sizes = held_out["bulk_labels"].value_counts()
    named = measured.dropna(subset=["subject", "n_reference"])
    assert {"training_mean", "model"} <= set(named["predictor"])
    of_label = named[named["metric"] == "pearson_change"].groupby("subject")["n_reference"].first()
    assert (of_label == sizes[of_label.index]).all()
    accuracy = pd.read_csv(outdir / "evaluation/accuracy.tsv", sep="\t")
    assert accuracy.query("predictor != 'annotation'")["n"].max() == sizes[sizes >= 5].sum()
    page = (outdir / "report.html").read_text()
    assert "Fine-tuning" in page
    assert "finetuned/model" in page

    again = nextflow.run(
        *CELLS, "--model", "results/finetuned/model", "--outdir", "again", "--evaluate", "false",
        "-c", folder / "faults.config", "-resume",
    )  # fmt: skip
    assert "FINETUNE" not in again.submitted
    used = ad.read_h5ad(folder / "again/c2s.h5ad")
    np.testing.assert_array_equal(used.obsm["X_c2s"], cells.obsm["X_c2s"])
    digests = [data.uns["c2s"]["model"]["digest"] for data in (used, cells)]
    assert digests[0] == digests[1]
