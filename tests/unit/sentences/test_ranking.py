"""Cell sentences against a plain numpy reference; nothing but cell, seed and values decides."""

from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import kendalltau

from c2sflow.sentences.ranking import cell_sentences, gene_words, rank_cells


def sentences(matrix, ids, names, **options):
    return [text for text, _ in cell_sentences(matrix, ids, gene_words(names), **options)]


def reference_sets(matrix, names):
    """For each cell, its genes grouped by value, highest first: the order of groups is fixed."""
    groups = []
    for row in matrix.toarray():
        values = sorted({v for v in row if v > 0}, reverse=True)
        groups.append([{names[i] for i in np.flatnonzero(row == v)} for v in values])
    return groups


def test_genes_stand_in_descending_order_of_expression(pbmc):
    cells = pbmc[:50]
    for text, groups in zip(
        sentences(cells.X, cells.obs_names, cells.var_names),
        reference_sets(cells.X, [name.upper() for name in cells.var_names]),
        strict=True,
    ):
        genes = text.split(" ")
        for group in groups:
            assert set(genes[: len(group)]) == group
            genes = genes[len(group) :]
        assert genes == []


def splitmix64(key):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        key = (key ^ key >> shift) * factor % 2**64
    return key


def test_ties_stand_in_the_order_of_a_hash_of_seed_cell_and_gene(pbmc):
    def hash64(text):
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    cells = pbmc[:80]
    words = cells.var_names.str.upper()
    made = sentences(cells.X, cells.obs_names, cells.var_names, seed=7)
    for text, name, row in zip(made, cells.obs_names, cells.X.toarray(), strict=True):
        tie = {gene: splitmix64(hash64(gene) ^ hash64(f"7:{name}")) for gene in words}
        value = dict(zip(words, row, strict=True))
        expressed = [gene for gene in words if value[gene] > 0]
        assert text.split() == sorted(expressed, key=lambda gene: (-value[gene], tie[gene]))


def test_gene_order_is_a_stable_sort(pbmc):
    cells = pbmc[:50]
    made = sentences(cells.X, cells.obs_names, cells.var_names, tie_break="gene_order")
    names = cells.var_names.str.upper().to_numpy()
    for text, row in zip(made, cells.X.toarray(), strict=True):
        order = np.argsort(-row, kind="stable")[: (row > 0).sum()]
        assert text == " ".join(names[order])


@given(seed=st.integers(0, 2**32), data=st.data())
def test_order_of_genes_cells_and_blocks_changes_nothing(pbmc, seed, data):
    cells = pbmc[:20]
    ids = cells.obs_names.to_numpy()
    whole = dict(zip(ids, sentences(cells.X, ids, cells.var_names, seed=seed), strict=True))
    rng = np.random.default_rng(seed)
    genes, rows = (
        rng.permutation(cells.n_vars),
        rng.permutation(20)[: data.draw(st.integers(1, 20))],
    )
    moved = cells.X[rows][:, genes]
    assert sentences(moved, ids[rows], cells.var_names[genes], seed=seed) == [
        whole[name] for name in ids[rows]
    ]


def test_another_seed_is_another_order_of_ties(pbmc):
    cells = pbmc[:20]
    one, two = (sentences(cells.X, cells.obs_names, cells.var_names, seed=seed) for seed in (1, 2))
    assert not any(a == b for a, b in zip(one, two, strict=True))


def test_ties_are_broken_evenly():
    # 40 genes of one value in 2,000 cells: each gene's mean rank is near the middle, and the
    # orders of two cells are not correlated.
    matrix = sparse.csr_matrix(np.ones((2000, 40), np.float32))
    names = [f"GENE{n}" for n in range(40)]
    made = sentences(matrix, [f"cell{n}" for n in range(2000)], names)
    ranks = np.array([[text.split().index(name) for name in names] for text in made])
    assert np.abs(ranks.mean(axis=0) - 19.5).max() < 5 * ranks.std() / np.sqrt(2000)
    taus = [kendalltau(ranks[n], ranks[n + 1]).statistic for n in range(0, 400, 2)]
    assert abs(np.mean(taus)) < 0.05


def test_keys_that_collide_are_told_apart(monkeypatch):
    monkeypatch.setattr("c2sflow.sentences.ranking._mix", lambda keys: keys)
    values = np.ones(7, np.float32)
    # Of the first cell the upper halves are equal: every key collides. The second's are not.
    hashes = np.array([4, 3, 2, 1, 3 << 32, 1 << 32, 2 << 32], np.uint64)
    order, pointers = rank_cells(values, np.arange(7), np.array([0, 4, 7]), hashes, [0, 0])
    assert order.tolist() == [3, 2, 1, 0, 5, 6, 4]
    assert pointers.tolist() == [0, 4, 7]


@given(max_genes=st.integers(1, 300), group=st.integers(1, 6))
def test_max_genes_keeps_the_first(pbmc, max_genes, group):
    cells = pbmc[:5]
    whole = sentences(cells.X, cells.obs_names, cells.var_names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("c2sflow.sentences.ranking.GROUP", group)
        cut = sentences(cells.X, cells.obs_names, cells.var_names, max_genes=max_genes)
    assert cut == [" ".join(text.split()[:max_genes]) for text in whole]


def test_zeros_and_negative_values_are_no_genes():
    rows = [[0.5, -1.0, 2.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 3.0, -2.0]]
    matrix = sparse.csr_matrix(np.array(rows, np.float32))
    matrix.data[0] = 0.0  # an explicit zero
    assert sentences(matrix, list("abcd"), ["X", "Y", "Z"]) == ["Z", "", "", "Y X"]
    assert sentences(matrix[1:3], ["b", "c"], ["X", "Y", "Z"]) == ["", ""]


def test_values_come_in_the_order_of_the_sentence(pbmc):
    cells = pbmc[:5]
    for (text, values), row in zip(
        cell_sentences(cells.X, cells.obs_names, gene_words(cells.var_names)),
        cells.X.toarray(),
        strict=True,
    ):
        by_name = dict(zip(cells.var_names.str.upper(), row, strict=True))
        assert [by_name[gene] for gene in text.split()] == pytest.approx(values.tolist())


def test_words_are_upper_case_unique_and_without_spaces():
    assert list(gene_words(["Actb", "ACTB", "a b", "HLA-A", "MT-ND1"])) == [
        "ACTB",
        "ACTB-1",
        "A_B",
        "HLA-A",
        "MT-ND1",
    ]
