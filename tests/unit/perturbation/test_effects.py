"""Effects by gene, against a computation written anew with dictionaries and pandas."""

import json

import c2s_effects
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from c2sflow.common.errors import UserError
from c2sflow.perturbation.effect_files import write_effects
from c2sflow.perturbation.effects import signed_rank_test
from c2sflow.sentences.rank_fit import RankFit

GENES = [f"G{n}" for n in range(40)]
LACKING = {"a": {"G38"}, "b": {"G39"}}  # a gene that a sample does not have
N_CELLS = {"a": 12, "b": 9}
CONDITIONS = {"drug, 1": ("drug", "1"), "drug, 10": ("drug", "10"), "KO": ("KO", None)}
NO_OP = "no-op: DMSO"


def sentence(rng, sample, length, first=()):
    genes = [gene for gene in rng.permutation(GENES) if gene not in LACKING[sample]]
    return " ".join(dict.fromkeys([*first, *genes][:length]))


def make_cells(n_answers=1, seed=0, no_op=True):
    """Control cells and their predictions; "drug, 10" moves G0 to G5 to the top."""
    rng = np.random.default_rng(seed)
    controls, predictions = [], []
    for sample, n_cells in N_CELLS.items():
        for n in range(n_cells):
            cell = {"sample": sample, "cell_id": f"{sample}{n}", "type": ["B", "T", None][n % 3]}
            # One cell has no gene: only --skip_qc lets it in.
            length = 0 if cell["cell_id"] == "b3" else int(rng.integers(15, 30))
            controls.append(cell | {"cell_sentence": sentence(rng, sample, length)})
            conditions = CONDITIONS | ({NO_OP: ("DMSO", None)} if no_op else {})
            for condition, (name, dose) in conditions.items():
                if condition == "KO" and n % 2:
                    continue
                for answer in range(n_answers):
                    first = GENES[:6] if condition == "drug, 10" else ()
                    empty = (n, answer) == (5, 0) or cell["cell_id"] == "b3"
                    length = 0 if empty else int(rng.integers(8, 20))
                    predictions.append(
                        {
                            "source_cell": cell["cell_id"], "sample": sample,
                            "sample_index": answer, "condition": condition, "perturbation": name,
                            "dose": dose, "target": "t",
                            "c2s_sentence": sentence(rng, sample, length, first),
                            "c2s_no_op": condition == NO_OP,
                            "c2s_compared_with": None if condition == NO_OP else NO_OP,
                        }
                    )  # fmt: skip
    predictions = pd.DataFrame(predictions)
    if not no_op:
        predictions = predictions.drop(columns=["c2s_no_op", "c2s_compared_with"])
    return pd.DataFrame(controls), predictions


SUMS = RankFit()
for _seed in range(20):
    SUMS.add_cells(np.sort(np.random.default_rng(_seed).uniform(0, 3, 30))[::-1], [30])
FIT = SUMS.solve()


def write_run(folder, controls, predictions, size=100):
    """Files of SENTENCES and PERTURB, with `size` cells a shard."""
    for name in ("sentences", "shards", "perturbed"):
        (folder / name).mkdir(parents=True)
    for sample, cells in controls.groupby("sample"):
        words = [gene for gene in GENES if gene not in LACKING[sample]]
        shards = []
        for number, start in enumerate(range(0, len(cells), size)):
            name = f"{sample}.{number:05d}"
            rows = cells.iloc[start : start + size]
            rows.to_parquet(folder / "shards" / f"{name}.parquet")
            answers = predictions[predictions["source_cell"].isin(rows["cell_id"])]
            if len(answers):
                answers.to_parquet(folder / "perturbed" / f"{name}.perturbed.parquet")
            shards.append({"name": name})
        summary = {
            "genes": words, "symbols": [word.lower() for word in words], "shards": shards,
            "rank_fit_sums": SUMS.astuple(),
        }  # fmt: skip
        (folder / "sentences" / f"{sample}.sentences.json").write_text(json.dumps(summary))
    return {f"{name}_dir": folder / name for name in ("sentences", "shards", "perturbed")}


def expected_shifts(controls, predictions):
    """A row for each answer and gene of either list: rank shift and fold change.

    Against the answer of the same number to the no-op, or else the cell's own sentence.
    """
    own = dict(zip(controls["cell_id"], controls["cell_sentence"], strict=True))
    of_no_op = predictions[predictions["condition"] == NO_OP].set_index(
        ["source_cell", "sample_index"]
    )["c2s_sentence"]
    rows = []
    for answer in predictions[predictions["condition"] != NO_OP].to_dict("records"):
        said, control = answer["c2s_sentence"].split(), own[answer["source_cell"]].split()
        if len(of_no_op):
            control = of_no_op[answer["source_cell"], answer["sample_index"]].split()
        depth = min(len(said), len(control))
        places = [dict(zip(s[:depth], range(1, depth + 1), strict=True)) for s in (said, control)]
        value = lambda rank: max(FIT["intercept"] + FIT["slope"] * np.log10(rank), 0)  # noqa: E731
        for gene in GENES:
            if depth and gene not in LACKING[answer["sample"]]:
                new, old = (place.get(gene, depth + 1) for place in places)
                rows.append(
                    {
                        "condition": answer["condition"], "cell": answer["source_cell"],
                        "gene": gene.lower(), "shift": new - old,
                        "fold": (value(new) - value(old)) / np.log10(2),
                        "seen": gene in places[0] or gene in places[1],
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def expected_effects(controls, predictions):
    shifts = expected_shifts(controls, predictions)
    by_cell = shifts.groupby(["condition", "gene", "cell"]).agg(
        {"shift": "mean", "fold": "mean", "seen": "any"}
    )
    rows = {}
    for (condition, gene), cells in by_cell.groupby(["condition", "gene"]):
        if not cells["seen"].any():
            continue
        shift = cells["shift"].round(6)
        moved = shift[shift != 0]
        p = 1.0
        if len(moved):
            p = stats.wilcoxon(moved, method="asymptotic", correction=True).pvalue
            p = max(p, 2 ** (1 - len(moved)))
        rows[condition, gene] = {
            "mean_rank_shift": cells["shift"].mean(),
            "mean_log2_fold_change": cells["fold"].mean(),
            "n_cells": len(cells),
            "p_value": p if (predictions["condition"] == NO_OP).any() else np.nan,
        }
    table = pd.DataFrame(rows).T
    table["p_adjusted"] = table.groupby(level=0)["p_value"].transform(benjamini_hochberg)
    return table


def benjamini_hochberg(p):
    order = np.argsort(-p.to_numpy())
    scaled = p.to_numpy()[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(np.minimum(scaled, 1))
    return adjusted


def effects_of(folder):
    return pd.read_csv(folder / "perturbation" / "perturbation_effects.tsv", sep="\t")


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
    with pytest.raises(UserError, match=r"b\.00000\.perturbed\.parquet or the sentences"):
        write_effects(**options, outdir=tmp_path)
    assert not list((tmp_path / "perturbation").iterdir())


def test_script(tmp_path):
    options = write_run(tmp_path, *make_cells())
    arguments = [f"--{name.replace('_', '-')}={path}" for name, path in options.items()]
    done = CliRunner().invoke(
        c2s_effects.main, [*arguments, f"--outdir={tmp_path}"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert [path.name for path in (tmp_path / "perturbation").iterdir()] == [
        "perturbation_effects.tsv"
    ]
