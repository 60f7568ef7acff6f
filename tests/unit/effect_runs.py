"""Predicted perturbations of a few cells, as files, and their effects computed anew."""

import json

import numpy as np
import pandas as pd
from scipy import stats

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
