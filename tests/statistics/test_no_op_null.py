"""Effects and the screen find nothing where nothing was done, and find what was done.

Answers are made as a model makes them: a sentence orders the genes by a cell's expected expression
(the likeliest answer, temperature 0), or by one noisy draw of it (temperature 1); the cell's own
sentence is always a noisy draw. A no-op changes nothing, a drug moves 12 of 150 genes.
"""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from c2sflow.perturbation.effect_files import write_effects
from c2sflow.perturbation.screen import rank_screen, screen_rows
from c2sflow.perturbation.shifts import Shifts
from c2sflow.sentences.rank_fit import RankFit

N_GENES, N_CELLS, SAID = 150, 60, 60
GENES = np.array([f"G{n:03d}" for n in range(N_GENES)])
RAISED = np.arange(60, 72)
SETS = {f"S{k}": GENES[k * 12 : k * 12 + 12] for k in range(12)}  # S5 is what the drug moves


def sentence(levels, length):
    return " ".join(GENES[np.argsort(-levels, kind="stable")[:length]])


def simulate(folder, temperature, n_no_effect, seed, no_op=True):
    """Files of SENTENCES and PERTURB: `n_no_effect` conditions that do nothing, and a drug."""
    rng = np.random.default_rng(seed)
    typical = np.linspace(2.5, 0, N_GENES)
    sums = RankFit()
    controls, answers = [], []
    for cell in range(N_CELLS):
        own = typical + rng.normal(0, 0.25, N_GENES)
        noisy = own + rng.gumbel(0, 0.5, N_GENES)
        sums.add_cells(np.sort(noisy + 3)[::-1], [N_GENES])
        controls.append({"cell_id": f"c{cell}", "sample": "s", "lane": "AB"[cell % 2]})
        controls[-1]["cell_sentence"] = sentence(noisy, N_GENES)
        conditions = [f"nothing {n}" for n in range(n_no_effect)] + ["drug"]
        for condition in conditions + ["no-op: DMSO"] * no_op:
            levels = own + (condition == "drug") * np.isin(np.arange(N_GENES), RAISED) * 1.0
            levels = levels + temperature * rng.gumbel(0, 0.5, N_GENES)
            is_no_op = condition.startswith("no-op")
            answers.append(
                {
                    "source_cell": f"c{cell}", "condition": condition, "perturbation": condition,
                    "sample": "s", "sample_index": 0, "c2s_sentence": sentence(levels, SAID),
                    "c2s_no_op": is_no_op,
                    "c2s_compared_with": None if is_no_op or not no_op else "no-op: DMSO",
                }
            )  # fmt: skip
    for name in ("sentences", "shards", "perturbed"):
        (folder / name).mkdir(parents=True)
    pd.DataFrame(controls).to_parquet(folder / "shards" / "s.00000.parquet")
    pd.DataFrame(answers).to_parquet(folder / "perturbed" / "s.00000.perturbed.parquet")
    summary = {
        "genes": GENES.tolist(), "symbols": GENES.tolist(), "shards": [{"name": "s.00000"}],
        "rank_fit_sums": sums.astuple(),
    }  # fmt: skip
    (folder / "sentences" / "s.sentences.json").write_text(json.dumps(summary))
    (folder / "s.gmt").write_text("\n".join("\t".join([k, "x", *v]) for k, v in SETS.items()))
    write_effects(
        folder / "sentences", folder / "shards", folder / "perturbed", folder,
        gene_sets_file=folder / "s.gmt", context="lane",
    )  # fmt: skip
    tables = [
        pd.read_csv(folder / "perturbation" / f"{name}.tsv", sep="\t")
        for name in ("perturbation_effects", "screen")
    ]
    return *tables, json.loads((folder / "effects.json").read_text())


@pytest.mark.parametrize("temperature", [0, 1])
def test_nothing_is_found_where_nothing_was_done_and_a_drug_is(tmp_path, temperature):
    effects, screen, _ = simulate(tmp_path, temperature, n_no_effect=8, seed=temperature)
    still = effects[effects["condition"] != "drug"]
    assert (still["p_value"] < 0.05).mean() <= 0.055  # nominal, and 0 at temperature 0
    assert (still["p_adjusted"] < 0.05).sum() <= 1
    moved = effects[effects["condition"] == "drug"].set_index("gene")
    raised = moved.loc[GENES[RAISED]]
    assert (raised["p_adjusted"] < 0.05).mean() > 0.9
    assert (raised["mean_log2_fold_change"] > 0).all()
    # 9 conditions x 12 sets x 4 comparisons: intervals of what did nothing hold 0.
    excludes = (screen["ci_low"] > 0) | (screen["ci_high"] < 0)
    assert excludes[screen["condition"] != "drug"].sum() <= 2
    whole = screen[screen["context"].isna() & (screen["gene_set"] == "S5")].set_index("condition")
    assert whole["rank"].idxmin() == "drug"
    assert whole.loc["drug", "ci_low"] > 0


def test_the_answers_of_a_greedy_model_are_no_draws_of_the_cell(tmp_path):
    """Against the cells' own sentences, nothing done moves most genes: so there is no p-value."""
    effects, screen, notes = simulate(tmp_path, 0, n_no_effect=1, seed=0, no_op=False)
    strength = effects[effects["condition"] == "nothing 0"]["mean_log2_fold_change"].abs()
    assert strength.max() > 0.5
    assert effects[["p_value", "p_adjusted"]].isna().all(axis=None)
    assert screen[["p_value", "ci_low", "ci_high", "rank"]].isna().all(axis=None)
    assert "no no-op was predicted" in notes["effects"][0]
    assert "there are no p-values, since an answer differs from one cell" in notes["effects"][0]


def test_false_positives_of_whole_screens():
    """Of screens of 3 conditions, 12 sets and 4 comparisons in which nothing was done, 5 % err."""
    rng = np.random.default_rng(0)
    sets = {f"s{n}": [[n]] for n in range(12)}
    cells = pd.DataFrame({"sample": 0, "context": ["A", "B"] * 15})
    n_wrong, n_plain = 0, 0
    for _ in range(60):
        rows = []
        for name in "abc":
            folds = sparse.csc_matrix(rng.normal(size=(30, 12)).astype(np.float32))
            shifts = Shifts({"condition": name}, cells, folds, folds, compared_with="no-op: DMSO")
            rows += screen_rows(shifts, sets)
        table = rank_screen(rows)
        n_wrong += bool(((table["ci_low"] > 0) | (table["ci_high"] < 0)).any())
        n_plain += bool((table["p_value"] < 0.05).any())
    assert n_plain > 55  # what each interval alone would find
    assert stats.binomtest(n_wrong, 60, 0.05, alternative="greater").pvalue > 0.005
