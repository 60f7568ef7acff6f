"""Cell types from embeddings: a baseline is given what the model was given, and fold noise counts.

Simulated cells: genes of a mean that depends on the type, and noise.
"""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from c2sflow.evaluation.accuracy import (
    LEARNING,
    View,
    classifiers,
    gain_figures,
    held_out_labels,
    repeated_share_interval,
)
from c2sflow.evaluation.cell_types import Components, VariableGenes, baselines

TYPES = np.array(["B", "T", "NK", "monocyte"], dtype=object)


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """A process for each of many small folds would take longer than they do."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def read(vectors, labels, classifier, seed, n_repeats=None):
    """Labels by one classifier: (n_repeats, n)."""
    views = {"": View(vectors, {"": classifier})}
    return held_out_labels(views, labels, seed, n_repeats)["", ""]


def draw(rng, means, n):
    """Expression (n, genes) and labels of n cells."""
    codes = np.arange(n) % len(means)
    return means[codes] + rng.normal(size=(n, means.shape[1])), TYPES[codes]


def test_an_embedding_that_only_knows_the_training_cells_does_not_beat_expression():
    """All that it knows is in their expression and labels, which the baseline has, too."""
    rng = np.random.default_rng(0)
    gains, gains_without = [], []
    for seed in range(10):
        means = 0.2 * rng.normal(size=(4, 300))
        (seen, names), (cells, labels) = draw(rng, means, 1000), draw(rng, means, 60)
        model = LogisticRegression(max_iter=100, tol=1e-3).fit(seen, names)
        embedding = model.decision_function(cells)
        found = read(embedding, labels, classifiers()["linear_probe"], seed, 1)
        cells, seen = sparse.csr_matrix(cells), sparse.csr_matrix(seen)
        for more, found_gains in (((seen, names), gains), (None, gains_without)):
            genes = {"genes": baselines(cells, more)["genes"]}
            base = held_out_labels(genes, labels, seed, 1)["linear_probe", "genes"]
            found_gains.append(gain_figures(labels, found, base, "", "genes")[0])
    assert np.mean([gain.ci_low > 0 for gain in gains]) <= 0.1
    assert np.mean([gain.value for gain in gains]) < 0.01
    # The fault: a baseline that knows the 60 cells alone.
    assert np.mean([gain.value for gain in gains_without]) > 0.1


def test_an_embedding_that_knows_more_beats_expression():
    rng = np.random.default_rng(1)
    means = 0.15 * rng.normal(size=(4, 60))
    cells, labels = draw(rng, means, 120)
    known = (labels[:, None] == TYPES) + rng.normal(0, 0.25, size=(120, 4))
    found = read(known, labels, classifiers()["linear_probe"], 0, 1)
    seen, names = draw(rng, means, 200)
    cells, seen = (sparse.csr_matrix(np.exp(some)) for some in (cells, seen))
    views = baselines(cells, (seen, names))
    for (name, space), base in held_out_labels(views, labels, 0, 1).items():
        for gain in gain_figures(labels, found, base, name, space):
            assert gain.ci_low > 0


@pytest.mark.parametrize("n", [40, 100])
def test_the_interval_of_an_accuracy_covers_that_of_new_cells(n):
    """The truth: how often classifiers of as many cells are right about new ones, in the mean."""
    rng = np.random.default_rng(n)
    means = np.array([[0.0, 0], [1.2, 0], [0, 1.2], [1.2, 1.2]])
    classifier = KNeighborsClassifier(5)
    right = []
    for _ in range(40):
        (known, names), (new, labels) = draw(rng, means, n * 4 // 5), draw(rng, means, 400)
        right.append((classifier.fit(known, names).predict(new) == labels).mean())
    truth, covered, widths = np.mean(right), [], []
    for seed in range(80):
        cells, labels = draw(rng, means, n)
        found = read(cells, labels, classifier, seed)
        assert len(found) == 5
        low, high = repeated_share_interval(found == labels, LEARNING)
        covered.append(low <= truth <= high)
        once = repeated_share_interval((found == labels)[:1], LEARNING)
        widths.append((high - low) / (once[1] - once[0]))
    assert binomtest(sum(covered), len(covered), 0.95, alternative="less").pvalue > 0.01
    assert np.mean(widths) > 1.02  # folds are in it


def test_interval_without_folds_is_wilsons():
    for hits, n in ((0, 7), (3, 10), (133, 133)):
        right = np.arange(n)[None] < hits
        expected = binomtest(hits, n).proportion_ci(method="wilson")
        assert repeated_share_interval(right) == pytest.approx(tuple(expected))
        repeated = repeated_share_interval(np.repeat(right, 5, axis=0))
        assert repeated == pytest.approx(tuple(expected))


def test_components_are_not_whitened_and_no_more_than_the_cells_tell():
    """What parts the types lies in one of 60 genes, the one that varies most."""
    rng = np.random.default_rng(3)
    cells = np.where(np.arange(60) < 2, 3.0, 0.5) * rng.normal(size=(100, 60))
    labels = TYPES[(cells[:, 0] > 0).astype(int)]
    cells = sparse.csr_matrix(cells)
    pcs = {"pcs": baselines(cells)["expression_pcs"]}
    own = held_out_labels(pcs, labels, 0, 1)["linear_probe", "pcs"]
    components = Components().fit(cells).transform(cells)
    assert components.shape == (100, 10)
    assert components.std(axis=0)[0] > 3 * components.std(axis=0)[-1]
    assert (own == labels).mean() > 0.9


def test_variable_genes_are_scanpys():
    import scanpy as sc
    from anndata import AnnData

    rng = np.random.default_rng(4)
    counts = rng.poisson(rng.gamma(0.5, 2, size=(80, 50)))
    log10 = sparse.csr_matrix(np.log10(1 + counts))
    natural = AnnData(sparse.csr_matrix(np.log1p(counts)))
    sc.pp.highly_variable_genes(natural, n_top_genes=25)
    chosen = VariableGenes().fit(log10).chosen_
    assert chosen.tolist() == np.flatnonzero(natural.var["highly_variable"]).tolist()
