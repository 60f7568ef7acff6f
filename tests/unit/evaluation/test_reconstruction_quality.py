"""Reconstruction figures on real cells, against scipy and scikit-learn over all pairs."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from c2sflow.evaluation.figures import figures_table
from c2sflow.evaluation.sentences import reconstruction_figures
from c2sflow.sentences.rank_fit import RankFit
from c2sflow.sentences.ranking import cell_sentences, gene_words


@pytest.fixture(scope="module")
def run(pbmc):
    cells = pbmc[:60]
    words = gene_words(cells.var_names)
    column = {word: n for n, word in enumerate(words)}
    fit, sentences = RankFit(), []
    for text, values in cell_sentences(cells.X, cells.obs_names, words):
        fit.add_cells(values, [values.size])
        sentences.append(np.array([column[word] for word in text.split()]))
    samples = ["a"] * 40 + ["b"] * 20
    found = reconstruction_figures(cells.X.tocsr(), sentences, samples, fit.solve(), seed=1)
    pairs = pd.DataFrame(
        {
            "sample": np.repeat(samples, [len(genes) for genes in sentences]),
            "gene": np.concatenate(sentences),
            "rank": np.concatenate([np.arange(1, len(genes) + 1) for genes in sentences]),
            "true": np.concatenate(
                [row[genes] for row, genes in zip(cells.X.toarray(), sentences, strict=True)]
            ),
        }
    )
    return figures_table(found).set_index(["metric", "subject", "predictor"]), pairs, fit.solve()


def expected(true, guess):
    return {
        "r_squared": r2_score(true, guess),
        "pearson": stats.pearsonr(true, guess).statistic,
        "spearman": stats.spearmanr(true, guess).statistic,
    }


def test_all_cells(run):
    table, pairs, fit = run
    guess = np.maximum(fit["intercept"] + fit["slope"] * np.log10(pairs["rank"]), 0)
    for metric, value in expected(pairs["true"], guess).items():
        row = table.loc[(metric, "", "model")]
        assert row["value"] == pytest.approx(value, rel=1e-4)
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["n"] == 60
    # Values are above 0 here, so that the figure is that of the fit itself.
    assert table.loc[("r_squared", "", "model"), "value"] == pytest.approx(
        fit["r_squared"], rel=1e-3
    )


def test_each_sample(run):
    table, pairs, fit = run
    own = pairs[pairs["sample"] == "b"]
    guess = np.maximum(fit["intercept"] + fit["slope"] * np.log10(own["rank"]), 0)
    found = expected(own["true"], guess)
    for metric in ("r_squared", "pearson"):  # the ranks of spearman are those of all pairs
        assert table.loc[(metric, "b", "model"), "value"] == pytest.approx(found[metric], rel=1e-4)
    assert table.loc[("pearson", "b", "model"), "n"] == 20


def test_baseline_is_the_mean_of_the_other_cells(run):
    table, pairs, _ = run
    genes = pairs.groupby("gene")["true"]
    others = (genes.transform("sum") - pairs["true"]) / (genes.transform("count") - 1)
    guess = others.where(genes.transform("count") > 1, pairs["true"].mean())
    for metric, value in expected(pairs["true"], guess).items():
        assert table.loc[(metric, "", "gene_mean"), "value"] == pytest.approx(value, rel=1e-3)


def test_interval_is_that_of_resampled_cells(run):
    table, pairs, fit = run
    cells = np.cumsum(pairs["rank"] == 1) - 1
    guess = np.maximum(fit["intercept"] + fit["slope"] * np.log10(pairs["rank"]), 0)
    parts = [
        (pairs["true"][cells == n].to_numpy(), guess[cells == n].to_numpy()) for n in range(60)
    ]
    rng = np.random.default_rng(0)
    values = []
    for _ in range(300):
        drawn = [parts[n] for n in rng.integers(60, size=60)]
        true, made = (np.concatenate(side) for side in zip(*drawn, strict=True))
        values.append(np.corrcoef(true, made)[0, 1])
    row = table.loc[("pearson", "", "model")]
    width = np.subtract(*np.quantile(values, [0.975, 0.025]))
    assert row["ci_high"] - row["ci_low"] == pytest.approx(width, rel=0.3)
