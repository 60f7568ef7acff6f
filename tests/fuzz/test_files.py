"""Random files through VALIDATE, QC and SENTENCES: as scanpy has it, or refused in one line.

Never a traceback, and never a failure of a step after VALIDATE. ``FUZZ_EXAMPLES`` is the number of
files; they are other ones each time with ``FUZZ_SEED=random``: ``make test-fuzz``.
"""

import os
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_files import Truth, random_files
from random_names import TABLE
from steps_in_process import INPUT_SCHEMA, SCHEMA, log_base

from c2sflow.common.errors import UserError
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.data.views import View
from c2sflow.sentences.shards import write_shards
from c2sflow.validation.run import Staged, validate_run

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")),
    derandomize=os.environ.get("FUZZ_SEED") != "random",
    phases=[Phase.generate],  # a smaller file that fails costs minutes to find
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# Columns of obs that QC makes: the input's own give way.
OURS = {"sample", "organism", "n_genes_by_counts", "total_counts", "total_counts_mt",
        "pct_counts_mt"}  # fmt: skip


def steps(path: Path, folder: Path, truth: Truth, tie_break: str) -> tuple[dict, dict] | None:
    """Sample and summary of SENTENCES; None if VALIDATE refuses."""
    params = {"input": path.name, "min_genes": 1, "min_cells": 1, "max_pct_mt": 100}
    for name, content in truth.tables.items():
        (folder / name).write_text(content)
    table = folder / TABLE if truth.tables else None
    staged = Staged([str(path)], gene_symbols_file=table)
    try:
        _, samples = validate_run(params | truth.params, staged, SCHEMA, INPUT_SCHEMA)
    except UserError as error:
        refusal = str(error).splitlines()
    else:
        refusal = []
    assert len(refusal) <= 3, refusal  # that there are faults, and a line for each
    if refusal:
        return None
    assert not truth.refused
    sample = samples[0]
    run_qc(
        path, folder / "s.h5ad", sample=sample["sample"], organism=sample["organism"],
        state=State(sample["input_state"], log_base(sample["log_base"])),
        symbols_column=sample["gene_symbols"], symbols_table=table, extra=sample["obs"],
        filters=Filters(1, 1, 100), view=View.from_settings(sample),
        state_declared=sample["state_declared"],
    )  # fmt: skip
    with open_anndata(folder / "s.h5ad") as data:
        bounds = [(start, min(start + 7, data.n_obs)) for start in range(0, data.n_obs, 7)]
        return sample, write_shards(data, bounds, "s", folder, tie_break=tie_break)


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(
    truth=random_files(),
    kind=st.sampled_from(["h5ad", "zarr"]),
    tie_break=st.sampled_from(["random", "gene_order"]),
)
def test_as_scanpy_or_refused(truth, kind, tie_break, tmp_path_factory, outcomes):
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        outcomes[check(truth, kind, tie_break, folder)] += 1
    finally:
        shutil.rmtree(folder)


def check(truth: Truth, kind: str, tie_break: str, folder: Path) -> str:
    path = folder / f"x.{kind}"
    try:
        truth.data.write_zarr(path) if kind == "zarr" else truth.data.write_h5ad(path)
    except Exception:  # what anndata itself does not write
        return "not written by anndata"
    if (done := steps(path, folder, truth, tie_break)) is None:
        return "refused as they must be" if truth.refused else "refused"
    sample, summary = done
    assert sample["matrix"] == truth.params.get("matrix", sample["matrix"])
    matrix = truth.matrices[sample["matrix"]]
    made = ad.read_h5ad(folder / "s.h5ad")
    cells = (matrix.values > 0).any(axis=1)
    genes = (matrix.values > 0).any(axis=0)
    expected = matrix.expected[cells][:, genes]
    np.testing.assert_allclose(made.X.toarray(), expected, rtol=1e-4, atol=1e-5)
    for name in truth.data.obs.columns.difference(OURS).intersection(made.obs.columns):
        missing = truth.data.obs[name].isna().to_numpy()[cells]
        assert made.obs[name].isna().tolist() == missing.tolist(), name
    if truth.organisms is not None:
        of_cells = np.array(truth.organisms, dtype=object)[cells]
        assert made.obs["c2s_organism"].tolist() == of_cells.tolist()
    if truth.data.obs_names.is_unique:
        assert made.obs_names.tolist() == truth.data.obs_names[cells].tolist()
    shards = [pd.read_parquet(path) for path in sorted((folder / "shards").glob("*.parquet"))]
    table = pd.concat(shards)
    assert table["cell_id"].tolist() == made.obs_names.tolist()
    columns = {word: n for n, word in enumerate(summary["genes"])}
    assert len(columns) == genes.sum()
    words = [word for word, kept in zip(matrix.words, genes, strict=True) if kept]
    assert [a or b for a, b in zip(words, columns, strict=True)] == list(columns)
    stored = matrix.values[cells][:, genes]
    for values, row, sentence in zip(expected, stored, table["cell_sentence"], strict=True):
        order = np.array([columns[word] for word in sentence.split(" ")])
        assert sorted(order) == np.flatnonzero(values > 0).tolist()
        assert (np.diff(values[order]) <= 1e-5).all()
        if tie_break == "gene_order":
            tied = np.diff(row[order]) == 0
            assert (np.diff(order)[tied] > 0).all()
    return "as scanpy"
