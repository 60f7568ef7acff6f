"""Whole evaluations, simulated: agreement of predictions, and generated cells, with their nulls."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from simulated_run import N_GENES, Run, write_generated

from c2sflow.data.result_tables import read_evaluation
from c2sflow.evaluation.run import Settings, write_evaluation

TYPES = {"A": np.ones(N_GENES), "B": np.where(np.arange(N_GENES) % 10 == 0, 3.0, 1)}


def agreement(seed: int, n: int, folder: Path) -> Iterator[pd.DataFrame]:
    """Predicted and measured changes of 8 conditions that do nothing, and of 8 that do."""
    settings = Settings(measured_column="label", control="label == 'control'")
    effect = np.where(np.arange(N_GENES) % 12 == 0, 2.0, 1)
    for name, made in (("no effect", None), ("an effect", effect)):
        run = Run(1000 * seed + n)
        run.add("control", 100)
        for condition in map(str, range(8)):
            run.add(condition, n, made)
            for source in range(min(n, 50)):
                run.answer(condition, source, run.cells(1, made)[0])
        path = folder / f"{seed}, {n}, {name}"
        write_evaluation(run.write(path), path, settings)
        table = read_evaluation(path / "evaluation")["perturbation"]
        yield table[table["subject"] != ""].assign(group=name, truth=name)


def generation(seed: int, n: int, folder: Path) -> Iterator[pd.DataFrame]:
    """Generated cells of two types, which differ from the real ones a little."""
    run = Run(1000 * seed + n)
    for name, effect in TYPES.items():
        run.add(name, n, effect)
    shifted = np.where(np.arange(N_GENES) % 7 == 0, 1.5, 1)
    made = {name: run.cells(n, effect * shifted) for name, effect in TYPES.items()}
    path = folder / f"generated {seed}, {n}"
    files = write_generated(run.write(path), path, made)
    write_evaluation(files, path, Settings(label_column="label"))
    table = read_evaluation(path / "evaluation").get("generation")
    if table is not None:
        table = table[table["subject"] != ""]
        yield table.assign(group="generated cells", truth=table["subject"])


def evaluation_shares(seeds: int, n: int) -> Iterator[tuple[str, float]]:
    """Of each figure: intervals that hold its mean over all runs; nulls that hold a no-effect."""
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for simulate in (agreement, generation):
                tables += simulate(seed, n, Path(folder))
    table = pd.concat(tables, ignore_index=True).dropna(subset="value")
    table["space"] = table["space"].fillna("")
    table = table[~table["metric"].str.startswith("scfid_bias")]
    keys = ["group", "metric", "space", "predictor"]
    truth = table.groupby([*keys, "truth"])["value"].transform("mean")
    held = table["value"].isna().astype(float)
    held[:] = table["ci_low"].le(truth) & table["ci_high"].ge(truth)
    held = held.where(table["ci_low"].notna())
    model = table["predictor"] == "model"
    # Predictors that are what they are by definition, such as no change, have no interval.
    for who, own in (("", model), (", what the model is compared with", ~model)):
        for (group, metric, space), one in held[own].groupby([table[k] for k in keys[:3]]):
            for value in one:
                yield f"{group}: {metric}, {space}{who}", value
    null = table[model & (table["group"] == "no effect") & table["null_low"].notna()]
    inside = null["value"].between(null["null_low"], null["null_high"])
    for (metric, space), one in inside.groupby([null["metric"], null["space"]]):
        for value in one:
            yield f"null: {metric}, {space}", float(value)
