"""The data side of the pipeline on one file, in this process: VALIDATE, QC, SENTENCES."""

import json
from pathlib import Path

import pandas as pd

from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.data.views import View
from c2sflow.sentences.shards import genes_per_cell, shard_bounds, write_shards
from c2sflow.validation.run import Staged, validate_run

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "nextflow_schema.json").read_text())
INPUT_SCHEMA = json.loads((ROOT / "assets" / "schema_input.json").read_text())


def data_side(path: Path, outdir: Path, **params) -> list[str]:
    """The sentences of one file, by the three steps of the data side."""
    staged = Staged([str(path)])
    params = {"input": path.name, "min_genes": 1, "min_cells": 1, "max_pct_mt": 100, **params}
    options, samples = validate_run(params, staged, SCHEMA, INPUT_SCHEMA)
    sample = samples[0]
    state = State(sample["input_state"], log_base(sample["log_base"]))
    keys = ("min_genes", "min_cells", "max_pct_mt", "skip_qc")
    run_qc(
        path, outdir / "s.h5ad", sample=sample["sample"], organism=sample["organism"], state=state,
        symbols_column=sample["gene_symbols"], extra=sample["obs"],
        filters=Filters(*(options["qc"][key] for key in keys)),
        view=View.from_settings(sample),
    )  # fmt: skip
    bounds = shard_bounds(genes_per_cell(outdir / "s.h5ad"), 16)
    with open_anndata(outdir / "s.h5ad") as data:
        write_shards(data, bounds, "s", outdir)
    shards = sorted((outdir / "shards").glob("*.parquet"))
    return [text for shard in shards for text in pd.read_parquet(shard)["cell_sentence"]]


def log_base(name):
    return name if name in (None, "e") else int(name)
