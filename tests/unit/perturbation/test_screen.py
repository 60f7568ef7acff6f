"""The screen: shifts of gene sets, differences between contexts, their intervals and ranks."""

import numpy as np
import pandas as pd
import pytest
from effect_runs import GENES, LACKING, NO_OP, expected_shifts, make_cells, write_run
from scipy import sparse, stats

from c2sflow.perturbation.effect_files import write_effects
from c2sflow.perturbation.screen import rank_screen, screen_rows, set_means
from c2sflow.perturbation.shifts import Shifts

SETS = {"top": GENES[:6], "other": [*GENES[10:17], "NONE"], "small": GENES[:4]}


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    controls, predictions = make_cells(2)
    lines = ["\t".join([name, "x", *genes]) for name, genes in SETS.items()]
    (folder / "s.gmt").write_text("\n".join(lines))
    options = write_run(folder, controls, predictions)
    write_effects(**options, outdir=folder, gene_sets_file=folder / "s.gmt", context="type")
    table = pd.read_csv(folder / "perturbation" / "screen.tsv", sep="\t")
    shifts = expected_shifts(controls, predictions)
    by_cell = shifts.groupby(["condition", "cell", "gene"])["fold"].mean().unstack()
    return folder, table, controls.set_index("cell_id"), by_cell


def scores(by_cell, name):
    """Signature shift of each cell: mean over the set's genes that both samples have."""
    genes = [gene.lower() for gene in SETS[name] if gene in GENES]
    return by_cell[genes].mean(axis=1)


def test_shifts_of_all_cells_and_contexts(screened):
    _, table, controls, by_cell = screened
    assert set(table["gene_set"]) == {"top", "other"}  # of "small" only 4 genes
    for row in table[table["versus"].isna()].to_dict("records"):
        cells = scores(by_cell, row["gene_set"])[row["condition"]]
        if isinstance(row["context"], str):
            cells = cells[controls.loc[cells.index, "type"] == row["context"]]
        assert row["n_cells"] == len(cells)
        assert row["shift"] == pytest.approx(cells.mean(), rel=1e-4, abs=1e-6)
        assert row["ci_low"] <= row["shift"] <= row["ci_high"]


def test_difference_of_two_contexts(screened):
    _, table, controls, by_cell = screened
    between = table[table["versus"].notna()]
    assert set(between["context"]) == {"B"}
    assert set(between["versus"]) == {"T"}
    for row in between.to_dict("records"):
        cells = scores(by_cell, row["gene_set"])[row["condition"]]
        kinds = controls.loc[cells.index, "type"]
        one, other = cells[kinds == "B"], cells[kinds == "T"]
        assert (row["n_cells"], row["n_versus"]) == (len(one), len(other))
        assert row["shift"] == pytest.approx(one.mean() - other.mean(), rel=1e-4, abs=1e-6)
        assert row["ci_low"] < row["shift"] < row["ci_high"]


def test_ranks_are_by_absolute_shift_within_set_and_comparison(screened):
    _, table, _, _ = screened
    for _, rows in table.fillna("").groupby(["gene_set", "context", "versus"]):
        assert rows["rank"].tolist() == [1, 2, 3]
        assert rows["shift"].abs().is_monotonic_decreasing
    whole = table[(table["gene_set"] == "top") & table["context"].isna()]
    assert whole["condition"].iloc[0] == "drug, 10"
    assert whole["shift"].iloc[0] > 0.5
    # Differences stand first in each set.
    for _, rows in table.groupby("gene_set"):
        assert rows["versus"].isna().is_monotonic_increasing


def test_cells_without_a_context_are_said(screened):
    notes = (screened[0] / "effects.json").read_text()
    assert "predictions have no type: they count in no context" in notes
    assert "left out: small (4 of 4)" in notes


def test_p_values_are_those_of_scipy_and_intervals_agree_with_them(screened):
    _, table, controls, by_cell = screened
    for row in table.to_dict("records"):
        cells = scores(by_cell, row["gene_set"])[row["condition"]]
        kinds = controls.loc[cells.index, "type"]
        if isinstance(row["versus"], str):
            sides = cells[kinds == row["context"]], cells[kinds == row["versus"]]
            expected = stats.ttest_ind(*sides, equal_var=False).pvalue
        else:
            own = cells[kinds == row["context"]] if isinstance(row["context"], str) else cells
            expected = stats.ttest_1samp(own, 0).pvalue
        assert row["p_value"] == pytest.approx(expected, rel=1e-3)
    assert table["p_adjusted"].to_numpy() == pytest.approx(
        stats.false_discovery_control(table["p_value"]), rel=1e-4
    )
    excludes = (table["ci_low"] > 0) | (table["ci_high"] < 0)
    assert (excludes == (table["p_adjusted"] <= 0.05)).all()
    assert excludes.any()
    assert not excludes.all()
    assert (table["shrunken_shift"].abs() <= table["shift"].abs()).all()
    assert set(table["unit"]) == {"cells"}


def test_without_no_ops_there_is_no_interval_and_no_rank(tmp_path):
    controls, predictions = make_cells(no_op=False)
    (tmp_path / "s.gmt").write_text("top\tx\t" + "\t".join(GENES[:6]))
    options = write_run(tmp_path, controls, predictions)
    write_effects(**options, outdir=tmp_path, gene_sets_file=tmp_path / "s.gmt")
    table = pd.read_csv(tmp_path / "perturbation" / "screen.tsv", sep="\t")
    assert table["shift"].notna().all()
    figures = ["rank", "shrunken_shift", "ci_low", "ci_high", "p_value", "p_adjusted"]
    assert table[figures].isna().all(axis=None)


def test_more_contexts_are_each_compared_with_the_others():
    folds = sparse.csc_matrix(np.repeat([[4.0], [0], [1], [1], [3], [3]], 5, axis=1))
    cells = pd.DataFrame({"sample": 0, "context": [2, 2, "x", "x", "others", "others"]})
    names = {"condition": "c", "perturbation": "c"}
    shifts = Shifts(names, cells, folds, folds, compared_with=NO_OP)
    table = rank_screen(list(screen_rows(shifts, {"s": [[n] for n in range(5)]})))
    between = table[table["versus"].notna()].set_index("context")["shift"]
    assert between.to_dict() == pytest.approx({"2": 0, "others": 1.5, "x": -1.5})
    assert set(table["versus"].dropna()) == {"others"}
    alone = table[table["versus"].isna()].fillna({"context": ""}).set_index("context")["shift"]
    assert alone.to_dict() == pytest.approx({"": 2, "2": 2, "x": 1, "others": 3})


def test_a_gene_may_stand_in_a_column_for_each_spelling():
    means = set_means({"s": [[0], [1, 3]], "t": [[2]]}, 4)
    assert means.toarray().tolist() == [[0.5, 0], [0.5, 0], [0, 1], [0.5, 0]]


def test_nothing_to_screen_is_an_empty_table():
    assert rank_screen([]).empty
    assert "G38" in LACKING["a"]  # a set with it would lose it: test_gene_sets
