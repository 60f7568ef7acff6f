"""Folders for other tools hold the run's cells in the units and under the names that these take.

That the tools take them: tests/benchmarks.
"""

import pickle

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from benchmark.made_results import N_CONTROL, N_EACH, PERTURBED, make_results

from c2sflow.benchmark.compared import Settings
from c2sflow.benchmark.exports import TOOLS, write_exports
from c2sflow.common.errors import UserError
from c2sflow.inputs.parameters import parameter_groups

SETTINGS = Settings(measured_column="treatment")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The exports of a run whose X is log2, with control rows among the predicted ones."""
    folder = tmp_path_factory.mktemp("exports")
    files = make_results(folder, base=2, controls=True)
    write_exports(list(TOOLS), *files, folder, SETTINGS)
    return ad.read_h5ad(files[0]), ad.read_h5ad(files[1]), folder / "exports"


def natural(cells):
    """The cells at 10,000 each, natural logarithm, by scanpy."""
    cells = ad.AnnData(cells.layers["counts"].copy(), cells.obs, cells.var)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    return cells


@pytest.mark.parametrize(("tool", "column"), [("cell_eval", "target_gene"), ("vcc2026", "target")])
def test_a_pair_has_the_measured_and_the_predicted_cells(exported, tool, column):
    cells, predicted, folder = exported
    real = ad.read_h5ad(folder / tool / "real.h5ad")
    ours = ad.read_h5ad(folder / tool / "predicted.h5ad")
    wanted = {"non-targeting": N_CONTROL, **dict.fromkeys(PERTURBED, N_EACH)}
    assert real.obs[column].value_counts().to_dict() == wanted
    assert ours.obs[column].value_counts().to_dict() == {**wanted, **dict.fromkeys(PERTURBED, 20)}
    labels = cells.obs["treatment"].astype(str).replace("control", "non-targeting")
    assert (real.obs[column].astype(str) == labels[real.obs_names]).all()
    assert list(real.var_names) == list(ours.var_names) == list(cells.var_names)
    own = ours[ours.obs[column] != "non-targeting"]
    source = predicted[own.obs_names]
    if tool == "vcc2026":
        assert (cells[real.obs_names].layers["counts"] != real.X).nnz == 0
        assert (source.layers["counts"] != own.X).nnz == 0
    else:
        expected = natural(cells)[real.obs_names].X
        np.testing.assert_allclose(real.X.toarray(), expected.toarray(), rtol=1e-5)
        np.testing.assert_allclose(own.X.toarray(), source.X.toarray() * np.log(2), rtol=1e-5)
    readme = (folder / tool / "README.md").read_text()
    assert "-ap predicted.h5ad -ar real.h5ad" in readme
    assert "--no-target-genes" not in readme.splitlines()[4]


def test_cz_benchmarks_pairs_each_cell_with_the_control_of_its_prediction(exported):
    cells, predicted, folder = exported
    dataset = ad.read_h5ad(folder / "cz_benchmarks" / "dataset.h5ad")
    ours = ad.read_h5ad(folder / "cz_benchmarks" / "predicted.h5ad")
    assert list(ours.obs_names) == list(dataset.obs_names)
    pairs = dataset.uns["control_cells_map"]
    assert {name: len(own) for name, own in pairs.items()} == dict.fromkeys(PERTURBED, 20)
    for treated, control in pairs["G7"].items():
        name = control.removeprefix("control ")
        answer = predicted[f"{name}|G7"].X.toarray() * np.log(2)
        np.testing.assert_allclose(ours[treated].X.toarray(), answer, rtol=1e-5)
        assert (ours[control].X != dataset[control].X).nnz == 0
    table = dataset.uns["de_results_wilcoxon"]
    found = natural(cells)
    sc.tl.rank_genes_groups(found, "treatment", reference="control", method="wilcoxon")
    expected = sc.get.rank_genes_groups_df(found, "G7").set_index("names")
    own = table[table["condition"] == "G7"].set_index("gene").loc[expected.index]
    np.testing.assert_allclose(
        own["logfoldchange"], expected["logfoldchanges"], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        own["pval_adj"], expected["pvals_adj"], rtol=0.05
    )  # ties are rounded


def test_scperturbench_has_its_layout(exported):
    _, _, folder = exported
    result = folder / "scperturbench" / "hvg5000" / "c2sflow" / "savedModels1" / "result.h5ad"
    kinds = ad.read_h5ad(result).obs.value_counts().to_dict()
    assert kinds == {
        ("control", "control"): N_CONTROL,
        **{(name, "stimulated"): N_EACH for name in PERTURBED},
        **{(name, "imputed"): 20 for name in PERTURBED},
    }
    with (folder / "scperturbench" / "DEG_hvg5000.pkl").open("rb") as file:
        genes = pickle.load(file)
    assert set(genes) == set(PERTURBED)
    assert genes["G3"]["pvals_adj"].is_monotonic_increasing


def test_without_measured_cells_the_predictions_alone_are_written(tmp_path):
    files = make_results(tmp_path, ("drug a", "drug b"))
    write_exports(["vcc2026", "cell_eval"], *files, tmp_path, Settings())
    folder = tmp_path / "exports" / "vcc2026"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "predicted.h5ad"]
    kinds = ad.read_h5ad(folder / "predicted.h5ad").obs["target"].value_counts().to_dict()
    assert kinds == {"non-targeting": 20, "drug a": 20, "drug b": 20}
    assert "--no-target-genes" in (folder / "README.md").read_text()
    with pytest.raises(UserError, match="name their column with --measured_column"):
        write_exports(["cz_benchmarks"], *files, tmp_path, Settings())


def test_what_a_tool_cannot_take_is_refused(tmp_path):
    files = make_results(tmp_path, counts=False)
    with pytest.raises(UserError, match="vcc2026 needs raw counts"):
        write_exports(["vcc2026"], *files, tmp_path, SETTINGS)
    everything = Settings("treatment", training_cells="treatment == 'control'")
    with pytest.raises(UserError, match="no predicted cell starts from a control cell"):
        write_exports(["cell_eval"], *files, tmp_path, everything)
    assert not (tmp_path / "exports").exists()


def test_training_cells_are_no_ground_truth(tmp_path):
    files = make_results(tmp_path)
    write_exports(["vcc2026"], *files, tmp_path, Settings("treatment", None, "treatment == 'G3'"))
    real = ad.read_h5ad(tmp_path / "exports" / "vcc2026" / "real.h5ad")
    assert set(real.obs["target"]) == {"non-targeting", *PERTURBED[1:]}


def test_the_parameter_lists_the_tools(schema_entries):
    for name in TOOLS:
        assert name in schema_entries["export"]["pattern"]


@pytest.fixture
def schema_entries():
    from steps_in_process import SCHEMA

    return {n: e for group in parameter_groups(SCHEMA).values() for n, e in group.items()}
