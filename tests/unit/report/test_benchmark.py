"""The Virtual Cell Challenge's metrics in the report."""

import pandas as pd

from c2sflow.benchmark.scores import METRICS as COMPUTED
from c2sflow.report.benchmark import METRICS, benchmark, metric_rows


def test_each_metric_is_beside_its_baselines():
    rows = [
        ("pds_cosine", "model", 0.61, 0.25),
        ("pds_cosine", "mean_response", 0.5, 0.0),
        ("pds_cosine", "replicate", 0.94, 1.0),
        ("de_wilcoxon_lfc_nmae", "model", 1.2, None),
        ("expr_mse_unbiased", "model", 0.1, None),  # a part of another one
    ]
    table = pd.DataFrame(rows, columns=["metric", "predictor", "value", "scaled"])
    section = benchmark(table.assign(n_conditions=5), ["<one> note"])
    assert "means over 5 perturbations" in section.description
    assert "<li>&lt;one&gt; note</li>" in section.description
    assert section.plot is not None
    shown = metric_rows(table)
    assert list(shown) == ["Discrimination of perturbations (cosine) ↑", "Log-fold-change error ↓"]
    assert [*shown.values()] == [
        {
            "model": "0.610", "mean_response": "0.500", "no_change": "", "linear": "",
            "replicate": "0.940", "scaled": "0.250",
        },
        {
            "model": "1.200", "mean_response": "", "no_change": "", "linear": "",
            "replicate": "", "scaled": "",
        },
    ]  # fmt: skip


def test_the_metrics_are_those_that_are_computed():
    assert set(METRICS) == set(COMPUTED)
    assert {better for _, better in METRICS.values()} == {"↑", "↓"}
