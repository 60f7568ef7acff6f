"""Pairs of genes against what their positions alone make of attention."""

import numpy as np
import pytest

from c2sflow.model.attention_files import read_cells, write_attention
from c2sflow.results.gene_pairs import pair_table

N_HEADS, N_GENES = 2, 40
GENES = np.array([f"G{n:02d}" for n in range(N_GENES)])


def attention_of(order, rng, planted):
    """A softmax over the keys before each query: the first positions take most of it.

    A planted pair (query gene, key gene, size) adds to the logit wherever the two stand.
    """
    logits = -0.8 * np.log1p(np.arange(N_GENES)) + 0.3 * rng.normal(
        size=(N_HEADS, N_GENES, N_GENES)
    )
    for query, key, size in planted:
        place = {gene: n for n, gene in enumerate(order)}
        logits[:, place[query], place[key]] += size
    weights = np.exp(logits) * np.tril(np.ones((N_GENES, N_GENES)))
    return (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)


def table_of(folder, n_cells, planted=(), seed=0):
    """Cells of one type: its markers stand first in nearly the same order."""
    rng = np.random.default_rng(seed)
    cells = []
    for number in range(n_cells):
        order = GENES[np.argsort(np.arange(N_GENES) + rng.normal(scale=2, size=N_GENES))]
        mixed = [rng.permutation(GENES) for _ in range(3)]
        cell = {
            "cell_id": f"c{number}",
            "sample": "s",
            "label": "x",
            "cell_sentence": " ".join(order),
        }
        shuffled = np.mean([attention_of(genes, rng, planted) for genes in mixed], axis=0)
        cells.append((cell, attention_of(order, rng, planted), shuffled))
    path = folder / "s.attention.h5"
    write_attention(path, cells, layer=1, n_heads=N_HEADS)
    return pair_table(read_cells(path))


@pytest.mark.parametrize("seed", [0, 1])
def test_position_alone_makes_no_pair(tmp_path, seed):
    """By attention alone, nearly all pairs have one of the first three genes as key."""
    table = table_of(tmp_path, 40, seed=seed)
    assert table["key_gene"].isin(GENES[:3]).mean() < 0.75
    # The 100 largest of 1,560 differences that are chance: of a normal one, z is 2.5 on average.
    z = table["excess"] / table["excess_se"]
    assert z.median() < 2.5
    assert (table["excess"] > 0.25 * table["attention"].max()).sum() == 0


def test_a_pair_that_attends_wherever_it_stands_is_first(tmp_path):
    planted = [("G30", "G20", 3.0)]
    table = table_of(tmp_path, 40, planted)
    first = table.iloc[0]
    assert (first["query_gene"], first["key_gene"]) == ("G30", "G20")
    assert first["excess"] > 10 * first["excess_se"]
    by_attention = table.sort_values("attention", ascending=False)
    assert by_attention.iloc[0]["key_gene"] != "G20"  # position makes more of it


def test_the_baseline_is_met_on_average(tmp_path):
    """Summed over all cells that hold both genes, position explains what there is."""
    table = table_of(tmp_path, 60)
    ratio = table["attention"].sum() / table["shuffled_attention"].sum()
    assert 1.0 < ratio < 1.25
