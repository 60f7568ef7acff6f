"""R² from rank to expression at the depth of the answers, against scikit-learn over all genes."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from simulated_run import GENES, Run
from sklearn.metrics import r2_score

from c2sflow.data.result_tables import read_evaluation
from c2sflow.evaluation.figures import figures_table
from c2sflow.evaluation.run import Settings, write_evaluation
from c2sflow.evaluation.sentences import figures_at_depth
from c2sflow.report.ranks import at_depth
from c2sflow.sentences.rank_fit import RankFit

N_CELLS, N_GENES, DEPTH = 60, 500, 40


@pytest.fixture(scope="module")
def simulated():
    """Cells of which each gene's mean falls with its rank, and the fit of their sentences."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(30 / np.arange(1, N_GENES + 1), (N_CELLS, N_GENES))
    matrix = np.log10(1 + 1e4 * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    sentences = [np.argsort(-row, kind="stable")[: (row > 0).sum()] for row in matrix]
    fit = RankFit()
    for row, genes in zip(matrix, sentences, strict=True):
        fit.add_cells(row[genes], [len(genes)])
    return matrix, sentences, fit.solve()


def figures(simulated, lengths, samples="a"):
    matrix, sentences, fit = simulated
    samples = np.broadcast_to(samples, len(sentences))
    found = figures_at_depth(
        sparse.csr_matrix(matrix), sentences, samples, fit, np.array(lengths), seed=1
    )
    return figures_table(found).set_index(["metric", "subject", "predictor"])


def of_ranks(sentences, fit, depth):
    """Expression by the fit of sentences cut to the depth, in all genes."""
    guess = np.zeros((len(sentences), N_GENES))
    for row, genes in zip(guess, sentences, strict=True):
        own = genes[:depth]
        row[own] = fit["intercept"] + fit["slope"] * np.log10(np.arange(1, len(own) + 1))
    return np.maximum(guess, 0)


@pytest.mark.parametrize("depth", [DEPTH, 3, 10 * N_GENES])
def test_the_figures_are_those_of_cut_sentences(simulated, depth):
    matrix, sentences, fit = simulated
    table = figures(simulated, [depth] * 9)
    guess = of_ranks(sentences, fit, depth)
    mask = np.zeros(matrix.shape, dtype=bool)
    for row, genes in zip(mask, sentences, strict=True):
        row[genes[:depth]] = True
    n_cells = len(matrix)
    means = (matrix.sum(axis=0, dtype=float) - matrix) / (n_cells - 1)
    for chosen, suffix in [(mask, "named"), (np.ones_like(mask), "all_genes")]:
        pairs = matrix[chosen], guess[chosen]
        for metric, value in {
            "r_squared": r2_score(*pairs), "pearson": stats.pearsonr(*pairs).statistic
        }.items():  # fmt: skip
            row = table.loc[(f"{metric}_{suffix}", "", "model")]
            assert row["value"] == pytest.approx(value, abs=1e-4)
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
            assert (row["depth"], row["n"]) == (depth, n_cells)
    baseline = table.loc[("r_squared_all_genes", "", "gene_mean"), "value"]
    assert baseline == pytest.approx(r2_score(matrix.ravel(), means.ravel()), abs=1e-4)
    for predictor, values in {"measured": matrix, "model": guess[:1]}.items():
        total = table.loc[("median_total", "", predictor), "value"]
        if predictor == "model" and depth > len(sentences[0]):
            continue  # an answer may be longer than any cell's sentence
        assert total == pytest.approx(np.median((10 ** values.astype(float) - 1).sum(axis=1)))


def test_r_squared_of_whole_sentences_is_not_that_of_short_answers(simulated):
    """The fault: one R², that of whole sentences, stood for answers of any length."""
    whole = simulated[2]["r_squared"]
    short = figures(simulated, [10] * 5)["value"]
    assert short["r_squared_all_genes", "", "model"] < whole - 0.1
    assert short["median_total", "", "model"] < 0.8 * short["median_total", "", "measured"]


def test_the_depth_is_the_median_of_the_answers_and_samples_stand_alone(simulated):
    table = figures(simulated, [1, 30, 900], np.repeat(["a", "b"], N_CELLS // 2))
    assert set(table["depth"]) == {30}
    matrix, sentences, fit = simulated
    guess = of_ranks(sentences, fit, 30)[N_CELLS // 2 :]
    own = r2_score(matrix[N_CELLS // 2 :].ravel(), guess.ravel())
    assert table.loc[("r_squared_all_genes", "b", "model"), "value"] == pytest.approx(own, abs=1e-4)


def test_without_genes_in_the_answers_there_is_no_figure(simulated):
    assert figures(simulated, [0, 0, 4]).empty


def test_the_interval_covers_the_figure_of_many_cells(simulated):
    """95 % intervals of 20 cells, against the value of all."""
    matrix, sentences, fit = simulated
    key = ("r_squared_all_genes", "", "model")
    truth = figures(simulated, [DEPTH]).loc[key, "value"]
    rng, covered = np.random.default_rng(3), []
    for _ in range(60):
        drawn = rng.integers(N_CELLS, size=20)
        some = matrix[drawn], [sentences[n] for n in drawn], fit
        row = figures(some, [DEPTH]).loc[key]
        covered.append(row["ci_low"] <= truth <= row["ci_high"])
    assert np.mean(covered) > 0.85


@pytest.mark.parametrize("n_answers", [0, 12])
def test_evaluate_takes_the_depth_of_the_predictions(n_answers, tmp_path):
    run = Run(seed=1)
    run.add("control", 20)
    for cell in range(n_answers):
        run.answer("drug", cell, run.blocks[0][cell], n_genes=25)
    write_evaluation(run.write(tmp_path), tmp_path, Settings())
    table = read_evaluation(tmp_path / "evaluation")["reconstruction"]
    found = table[table["metric"] == "median_total"].set_index("predictor")
    if not n_answers:
        assert found.empty
        assert at_depth(table) == at_depth(None) == {}
        return
    assert at_depth(table)["depth"] == 25
    assert set(found["depth"]) == {25}
    qc = ad.read_h5ad(tmp_path / "qc" / "s.h5ad")
    assert list(qc.var_names) == list(GENES)
    expected = pd.Series((10 ** qc.X.toarray().astype(float) - 1).sum(axis=1)).median()
    assert found.loc["measured", "value"] == pytest.approx(expected, rel=1e-5)
