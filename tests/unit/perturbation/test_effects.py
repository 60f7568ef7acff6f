"""Effects by gene, against a computation written anew with dictionaries and pandas."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from effect_runs import (
    GENES,
    N_CELLS,
    NO_OP,
    effects_of,
    expected_effects,
    make_cells,
    write_run,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from c2sflow.common.errors import UserError
from c2sflow.perturbation.effect_files import write_effects
from c2sflow.perturbation.effects import signed_rank_test
from c2sflow.steps.effects import main


@pytest.mark.parametrize("no_op", [True, False])
@pytest.mark.parametrize("n_answers", [1, 3])
def test_effects(tmp_path, n_answers, no_op):
    controls, predictions = make_cells(n_answers, no_op=no_op)
    write_effects(**write_run(tmp_path, controls, predictions), outdir=tmp_path)
    found = effects_of(tmp_path)
    assert list(found.columns[:4]) == ["condition", "perturbation", "dose", "gene"]
    expected = expected_effects(controls, predictions)
    figures = found.set_index(["condition", "gene"])[expected.columns]
    pd.testing.assert_frame_equal(
        figures.sort_index(),
        expected.sort_index(),
        check_dtype=False,
        rtol=1e-4,
        atol=1e-6,
        check_names=False,
    )
    assert found["n_cells"].max() < sum(N_CELLS.values())  # a cell without genes says nothing
    moved = found[found["condition"] == "drug, 10"]
    strong = moved[moved["gene"].isin([gene.lower() for gene in GENES[:6]])]
    assert moved["gene"].iloc[0] in set(strong["gene"])
    assert (strong["mean_log2_fold_change"] > 0).all()
    assert (strong["mean_rank_shift"] < 0).all()
    if no_op:
        assert (strong["p_adjusted"] < 0.05).all()
    else:
        assert found[["p_value", "p_adjusted"]].isna().all(axis=None)
    assert (found["compared_with"] == (NO_OP if no_op else "own sentence")).all()
    for _, rows in found.groupby("condition"):
        assert rows["mean_log2_fold_change"].abs().is_monotonic_decreasing
    notes = json.loads((tmp_path / "effects.json").read_text())
    first, second = notes["effects"]
    if no_op:
        assert first.startswith(f"effects are differences from the answers to {NO_OP!r} of the ")
    else:
        assert first.startswith("no no-op was predicted: the differences are from each cell's own")
    # b3 has no gene; the only answer of two cells has none either.
    left_out = 2 if n_answers > 1 else 6
    assert second.startswith(f"{left_out} predictions could not be compared")


def test_cells_without_a_no_op_are_left_out_and_counted(tmp_path):
    """Of one condition half of the cells have none, of another all: these have no p-values."""
    controls, predictions = make_cells()
    lacks = (predictions["condition"] == "drug, 1") & (predictions["sample"] == "b")
    lacks |= predictions["condition"] == "KO"
    predictions.loc[lacks, "c2s_compared_with"] = None
    write_effects(**write_run(tmp_path, controls, predictions), outdir=tmp_path)
    table = effects_of(tmp_path).set_index("condition")
    assert table.loc["KO", "p_value"].isna().all()
    assert (table.loc["KO", "compared_with"] == "own sentence").all()
    assert table.loc["drug, 1", "n_cells"].max() == N_CELLS["a"] - 1  # one answer holds no gene
    assert table.loc["drug, 10", "n_cells"].max() > N_CELLS["a"]
    notes = json.loads((tmp_path / "effects.json").read_text())["effects"]
    assert any(note.startswith("KO without a no-op: the differences are from ") for note in notes)
    # Of the nine cells of b one has no genes, and one no answer.
    assert "7 predictions have no no-op: they are left out" in notes


@settings(max_examples=8)
@given(size=st.integers(1, 15))
def test_shards_change_nothing(tmp_path_factory, size):
    cells, written = make_cells(2), []
    for shard_size in (100, size):
        folder = tmp_path_factory.mktemp("run")
        (folder / "s.gmt").write_text("one\tx\t" + "\t".join(GENES[:6]) + "\n")
        options = write_run(folder, *cells, size=shard_size)
        write_effects(**options, outdir=folder, gene_sets_file=folder / "s.gmt", context="type")
        written.append([path.read_bytes() for path in sorted((folder / "perturbation").iterdir())])
    assert written[0] == written[1]


@given(seed=st.integers(0, 10**6), n=st.integers(1, 60))
def test_padded_blocks_change_no_p_value(seed, n):
    rng = np.random.default_rng(seed)
    dense = rng.integers(-3, 4, (n, 12)) * (rng.random((n, 12)) < rng.random(12))
    found = signed_rank_test(sparse.csc_matrix(dense.astype(np.float32)))
    for column, p in zip(dense.T, found, strict=True):
        moved = column[column != 0]
        if moved.size == 0:
            assert p == 1
            continue
        plain = stats.wilcoxon(moved, method="asymptotic", correction=True).pvalue
        assert p == pytest.approx(max(plain, 2.0 ** (1 - moved.size)))


def test_blocks_are_bounded(monkeypatch):
    rng = np.random.default_rng(0)
    matrix = sparse.csc_matrix(rng.normal(size=(30, 50)) * (rng.random((30, 50)) < 0.5))
    whole = signed_rank_test(matrix)
    monkeypatch.setattr("c2sflow.perturbation.effects.BLOCK_ELEMENTS", 64)
    assert np.array_equal(signed_rank_test(matrix), whole)


@pytest.mark.parametrize("n", [3, 5, 8, 12])
def test_no_p_value_is_below_the_exact_test(n):
    """All cells shift the same way: the exact test says 2^(1 - n)."""
    exact = stats.wilcoxon(np.arange(1, n + 1), method="exact").pvalue
    found = signed_rank_test(sparse.csc_matrix(np.full((n, 1), -4.0)))[0]
    assert found >= exact == 2.0 ** (1 - n)


def test_missing_shard_is_named(tmp_path):
    options = write_run(tmp_path, *make_cells())
    (tmp_path / "shards" / "b.00000.parquet").unlink()
    with pytest.raises(UserError, match=r"^b\.00000\.parquet is missing or broken"):
        write_effects(**options, outdir=tmp_path)
    assert not list((tmp_path / "perturbation").iterdir())


def test_script(tmp_path):
    options = write_run(tmp_path, *make_cells())
    arguments = [f"--{name.replace('_', '-')}={path}" for name, path in options.items()]
    done = CliRunner().invoke(main, [*arguments, f"--outdir={tmp_path}"], catch_exceptions=False)
    assert done.exit_code == 0
    assert [path.name for path in (tmp_path / "perturbation").iterdir()] == [
        "perturbation_effects.tsv"
    ]
