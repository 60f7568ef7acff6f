"""cell-load's data module, which STATE trains by, takes splits.toml and has the cells of our split.

In an environment with cell-load: `make test-benchmarks`.
"""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from c2sflow.data.splits.splits import TEST, TRAIN, VALIDATION, Rule
from c2sflow.data.splits.written_state import RESULT, state_text

PERTURBATION, CONTEXT, CONTROL = "drug", "bulk_labels", "control"
LAYOUT = {
    "pert_col": PERTURBATION, "cell_type_key": CONTEXT, "batch_col": "sample",
    "control_pert": CONTROL,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a run, as far as cell-load reads them: real cells, of which two thirds are drugs'.

    Held out are a whole type, two drugs in another one, and for validation one drug in a third.
    """
    folder = tmp_path_factory.mktemp("results")
    pbmc = sc.datasets.pbmc68k_reduced().raw.to_adata()
    cells = ad.AnnData(pbmc.X, obs=pbmc.obs[[CONTEXT]].copy(), var=pbmc.var[[]].copy())
    drugs = np.array([CONTROL, "A", "B", "C", "A+B", CONTROL])
    cells.obs[PERTURBATION] = pd.Categorical(drugs[np.arange(cells.n_obs) % drugs.size])
    cells.obs["sample"] = pd.Categorical(["pbmc"] * cells.n_obs)
    whole, drugged, stopping = cells.obs[CONTEXT].value_counts().index[:3]
    column = np.full(cells.n_obs, TRAIN, dtype=object)
    context, drug = cells.obs[CONTEXT].to_numpy(), cells.obs[PERTURBATION].to_numpy()
    column[context == whole] = TEST
    column[(context == drugged) & np.isin(drug, ["A", "A+B"])] = TEST
    column[(context == stopping) & (drug == "C")] = VALIDATION
    rule = Rule(perturbation_column=PERTURBATION, context_column=CONTEXT, column="split")
    cells.obs["split"] = column
    splits = pd.Series(rule.apply(cells.obs), cells.obs_names)
    text, _ = state_text(cells.obs, splits, rule)
    (folder / "splits.toml").write_text(text)
    cells.obs_names.name = None  # as in results: the names are obs/_index
    cells.write_h5ad(folder / RESULT)
    return folder


@pytest.fixture(scope="module")
def module(folder):
    modules = pytest.importorskip("cell_load.data_modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # the path in the file is relative to the results
        made = modules.PerturbationDataModule(
            "splits.toml", num_workers=0, batch_size=2, cell_sentence_len=4, barcode=True, **LAYOUT
        )
        made.setup()
        yield made


def perturbed(obs):
    return (obs[PERTURBATION] != CONTROL).to_numpy()


def test_it_has_the_perturbed_cells_of_our_split(folder, module):
    obs = ad.read_h5ad(folder / RESULT).obs
    of_ours = {TRAIN: module.train_datasets, VALIDATION: module.val_datasets}
    of_ours |= {TEST: module.test_datasets}
    for split, subsets in of_ours.items():
        rows = np.unique(np.concatenate([subset.indices for subset in subsets]))
        own = rows[perturbed(obs)[rows]]
        expected = np.flatnonzero((obs["split"] == split).to_numpy() & perturbed(obs))
        assert own.size > 5
        assert own.tolist() == expected.tolist(), split


def test_its_batches_are_these_cells(folder, module):
    """What a model of STATE gets: values, names and perturbations of all held-out cells."""
    cells = ad.read_h5ad(folder / RESULT)
    seen = set()
    for batch in module.test_dataloader():
        names, labels = batch["pert_cell_barcode"], batch["pert_name"]
        expected = cells[names]
        np.testing.assert_allclose(batch["pert_cell_emb"], expected.X.toarray(), rtol=1e-6)
        assert expected.obs[PERTURBATION].tolist() == list(labels)
        seen |= {name for name, label in zip(names, labels, strict=True) if label != CONTROL}
    held = (cells.obs["split"] == TEST).to_numpy() & perturbed(cells.obs)
    assert seen == {*cells.obs_names[held]}
    train = next(iter(module.train_dataloader()))
    assert train["pert_cell_emb"].shape[1] == cells.n_vars
