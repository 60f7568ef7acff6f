"""evaluation/benchmark.tsv has the figures of cell-eval2's own command line, and sane baselines.

In an environment with cell-eval2: `make test-benchmarks`.
"""

import json

import anndata as ad
import pandas as pd
import pytest
from benchmark.made_results import N_CONTROL, N_EACH, PERTURBED, make_results
from scipy import sparse
from tools.test_exports_in_tools import run

from c2sflow.benchmark.compared import Settings
from c2sflow.benchmark.exports import write_exports
from c2sflow.benchmark.scores import COMPONENTS, METRICS

pytest.importorskip("cell_eval2")
SETTINGS = Settings(measured_column="treatment")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    from c2sflow.benchmark.scores import write_benchmark

    folder = tmp_path_factory.mktemp("scored")
    files = make_results(folder)
    write_benchmark(*files, folder, SETTINGS)
    write_exports(["vcc2026"], *files, folder, SETTINGS)
    table = pd.read_csv(folder / "evaluation" / "benchmark.tsv", sep="\t")
    return folder, table.pivot(index="metric", columns="predictor", values="value")


def test_figures_are_those_of_the_command_line(scored):
    folder, values = scored
    given = f"'metrics=[{','.join([*METRICS, *COMPONENTS])}]'"
    preset = f"--preset vcc2026 --set {given}"
    exported = folder / "exports" / "vcc2026"
    run(f"cell-eval2 run {preset} --anchor -ap predicted.h5ad -ar real.h5ad -o scores", exported)
    run(f"cell-eval2 baseline {preset} -ar real.h5ad -o mean --allow-degenerate-baseline", exported)
    for predictor, file in (
        ("model", "scores/agg_results"),
        ("mean_response", "mean/baseline_agg"),
    ):
        found = pd.read_csv(exported / f"{file}.csv").set_index("statistic").loc["mean"]
        for metric in METRICS:
            assert values.loc[metric, predictor] == pytest.approx(found[metric], abs=1e-6)
    anchor = pd.read_parquet(exported / "scores" / "anchor_agg.parquet").set_index("metric")
    for metric in METRICS:
        expected = anchor.loc[metric, "replicate"]
        assert values.loc[metric, "replicate"] == pytest.approx(expected, abs=1e-6)


def test_every_metric_has_every_baseline(scored):
    folder, values = scored
    assert set(values.index) == set(METRICS)
    predictors = {"model", "mean_response", "no_change", "linear", "replicate"}
    assert set(values.columns) == predictors
    assert values.notna().all(axis=None)
    assert values.loc["pds_cosine", ["mean_response", "no_change"]].tolist() == [0.5, 0.5]
    assert values.loc["pds_cosine", "replicate"] > 0.9
    assert values.loc["de_wilcoxon_lfc_nmae", "no_change"] == pytest.approx(1, abs=0.1)
    notes = json.loads((folder / "evaluation" / "benchmark_notes.json").read_text())
    assert notes == {"benchmark": []}


def test_one_drug_has_what_can_be_computed_and_notes(tmp_path):
    from c2sflow.benchmark.scores import write_benchmark

    write_benchmark(*make_results(tmp_path, ("drug",)), tmp_path, SETTINGS)
    table = pd.read_csv(tmp_path / "evaluation" / "benchmark.tsv", sep="\t")
    found = table[table["predictor"] == "model"].set_index("metric")["value"]
    assert found["delta_pearson"] > 0.5
    notes = json.loads((tmp_path / "evaluation" / "benchmark_notes.json").read_text())["benchmark"]
    assert any(note.startswith("one perturbation") for note in notes)
    assert set(table["predictor"]) == {"model", "no_change", "replicate"}  # no mean of one
    assert not table["metric"].str.startswith("pds").any()
    assert table["scaled"].isna().all()
    assert any(note.startswith("linear: no baseline on gene features") for note in notes)
    assert len(PERTURBED) > 3  # so that the other tests have one


def test_perturbations_that_do_nothing_have_all_but_the_expression_error(tmp_path):
    from c2sflow.benchmark.scores import EXPRESSION_ERROR, write_benchmark

    files = make_results(tmp_path)
    cells = ad.read_h5ad(files[0])
    control = cells.layers["counts"][:N_CONTROL]
    again = [control[:N_EACH]] * len(PERTURBED)
    cells.layers["counts"] = sparse.vstack([control, *again], "csr")
    cells.write_h5ad(files[0])
    write_benchmark(*files, tmp_path, SETTINGS)
    table = pd.read_csv(tmp_path / "evaluation" / "benchmark.tsv", sep="\t")
    values = table.pivot(index="metric", columns="predictor", values="value")
    assert EXPRESSION_ERROR not in values.index  # a ratio to an effect that is not above 0
    assert {"pds_l1", "delta_pearson"} <= set(values["model"].dropna().index)
    assert values.loc["delta_pearson", ["mean_response", "no_change", "replicate"]].notna().all()
    notes = json.loads((tmp_path / "evaluation" / "benchmark_notes.json").read_text())["benchmark"]
    assert any(note.startswith(f"model: no {EXPRESSION_ERROR} by cell-eval2") for note in notes)
