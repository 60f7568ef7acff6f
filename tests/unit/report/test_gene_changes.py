"""Predicted and measured changes of the genes in the report: which are drawn, and what is named."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.data.result_tables import write_table
from c2sflow.report import gene_tables
from c2sflow.report.gene_changes import (
    MISSED,
    OTHER,
    RIGHT,
    WRONG,
    _points,
    agreement,
    measured_changes,
)
from c2sflow.report.gene_plots import N_NAMED
from c2sflow.report.run import Run
from c2sflow.report.volcano import DOWN, UP, volcano


def run_with(**more):
    """What the sections read of a run."""
    given = {name: [] for name in ("qc", "sentences", "embed", "annotate", "perturb")}
    return Run(**given, provenance={}, obs=pd.DataFrame(), cells=None, **more)


def changes(n_genes, condition="drug", seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"condition": condition, "gene": [f"G{n}" for n in range(n_genes)]})
    table["compared_with"], table["unit"] = "no-op: control", "cells"
    for side in ("measured", "predicted"):
        values = rng.normal(size=n_genes)
        table[f"{side}_log2_fold_change"] = values
        table[f"{side}_ci_low"], table[f"{side}_ci_high"] = values - 0.5, values + 0.5
    return table


def figures(**values):
    rows = [
        {"metric": "pearson_log2_fold_change", "subject": name, "predictor": predictor,
         "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "n": 20, "n_reference": 30,
         "null": 0.0, "null_low": -0.2, "null_high": 0.2}
        for name, value in values.items()
        for predictor, value in (("model", value), ("another_control", value / 10))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_genes_with_the_largest_measured_change_are_named():
    table = changes(300)
    table.loc[1, "predicted_log2_fold_change"] = 0  # in neither direction
    table.loc[1, ["measured_ci_low", "measured_ci_high"]] = 1, 2
    table.loc[0, ["measured_log2_fold_change", "measured_ci_low", "measured_ci_high"]] = 9, -1, 19
    points = _points(table)
    clear = table[(table["measured_ci_low"] > 0) | (table["measured_ci_high"] < 0)]
    expected = clear["measured_log2_fold_change"].abs().nlargest(N_NAMED).index
    assert set(points.index[points["is_named"]]) == set(expected)  # not G0, which may be 0
    product = clear["measured_log2_fold_change"] * clear["predicted_log2_fold_change"]
    assert (points["kind"] == RIGHT)[clear.index].equals(product > 0)
    assert (points["kind"] == WRONG)[clear.index].equals(product < 0)
    assert points["kind"].tolist().count(MISSED) == 1
    assert set(points["kind"].drop(clear.index)) == {OTHER}


def test_a_long_table_is_read_by_parts_and_its_largest_changes_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(gene_tables, "PART", 70)
    monkeypatch.setattr(gene_tables, "MOST_GENES", 15)
    monkeypatch.setattr(gene_tables, "MOST_CONDITIONS", 3)
    whole = pd.concat([changes(100, name, n) for n, name in enumerate(["NA", "01", "b", "c"])])
    write_table(whole, tmp_path / "genes.tsv")
    kept = gene_tables.read_changes(tmp_path / "genes.tsv")
    assert list(kept["condition"].unique()) == ["NA", "01", "b"]
    for name, own in kept.groupby("condition"):
        every = whole[whole["condition"] == name].set_index("gene")
        columns = ["measured_log2_fold_change", "predicted_log2_fold_change"]
        expected = every[columns].abs().max(axis=1).nlargest(15).index
        assert set(own["gene"]) == set(expected)
        np.testing.assert_allclose(own[columns], every.loc[own["gene"], columns], rtol=1e-5)
    assert gene_tables.read_changes(tmp_path / "none.tsv") is None


def test_the_plot_holds_the_points_and_the_names_of_each_condition():
    both = pd.concat([changes(40, "a", 1), changes(30, "b < c", 2)])
    table = figures(**{"a": 0.5, "b < c": 0.1})
    section = measured_changes(run_with(changes=both, evaluation={"perturbation": table}))[0]
    for text in ("0.50 (0.40 to 0.60)", "0.00 (-0.20 to 0.20)", "<td>0.05</td>", "b &lt; c"):
        assert text in section.description
    assert [len(dataset.layout["annotations"]) for dataset in section.plot.datasets] == [12, 12]
    for dataset, (_, own) in zip(section.plot.datasets, both.groupby("condition"), strict=True):
        drawn = {
            gene: pair
            for line in dataset.lines
            for gene, pair in zip(line.extra_trace_params["hovertext"], line.pairs, strict=True)
        }
        columns = ["measured_log2_fold_change", "predicted_log2_fold_change"]
        expected = own.set_index("gene")[columns]
        found = pd.DataFrame(drawn, index=columns).T.loc[expected.index]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert measured_changes(run_with()) == []


@pytest.mark.parametrize(
    ("values", "beyond", "within"),
    [({"a": 0.5}, 1, 0), ({"a": 0.25}, 0, 0), ({"a": 0.1, "b": 0.9, "c": 0.15}, 1, 2)],
)
def test_agreement_is_judged_by_its_null(values, beyond, within):
    found = agreement(figures(**values))
    assert found.n == len(values)
    assert found.value == pytest.approx(np.mean(list(values.values())))
    assert found.another == pytest.approx(np.mean(list(values.values())) / 10)
    assert (found.n_beyond, found.n_within) == (beyond, within)
    assert agreement(None) is None


def effects(n=50, **more):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"condition": "drug", "gene": [f"G{n}" for n in range(n)]})
    table["mean_log2_fold_change"] = np.abs(rng.normal(size=n)) * np.tile([1, -1], n // 2)
    table["p_value"] = rng.random(n)
    table["p_adjusted"] = np.linspace(0, 1, n)
    return table.assign(**more)


def test_without_measured_cells_there_is_a_volcano():
    table = effects()
    (section,) = volcano(run_with(effects=table))
    assert "over cells, exploratory" in section.description
    (dataset,) = section.plot.datasets
    lines = {line.name: line for line in dataset.lines}
    sure = table[table["p_adjusted"] < 0.05]
    for name, own in (
        (UP, sure[sure["mean_log2_fold_change"] > 0]),
        (DOWN, sure[sure["mean_log2_fold_change"] < 0]),
    ):
        assert lines[name].extra_trace_params["hovertext"] == own["gene"].tolist()
        expected = np.c_[own["mean_log2_fold_change"], -np.log10(own["p_value"])]
        np.testing.assert_allclose(lines[name].pairs, expected, atol=1e-4)
    assert {note["text"] for note in dataset.layout["annotations"]} == set(sure["gene"])
    donors = effects(
        replicate_log2_fold_change=1.0, replicate_p_value=0.01, replicate_p_adjusted=0.04
    )
    (section,) = volcano(run_with(effects=donors))
    assert "over replicates" in section.description
    assert volcano(run_with(effects=effects(p_value=np.nan))) == []
    assert volcano(run_with()) == []
