"""The library as one object: the model card's example, with its import changed."""

import sys

import anndata as ad
import numpy as np
import pytest

from c2sflow import Cell2Sen, Cell2SenConfig
from c2sflow.common.errors import UserError


@pytest.fixture(scope="module")
def adata(pbmc):
    cells = pbmc[:10].copy()
    cells.obs["perturbation"] = ["conversion to CD19+ B", None] * 5
    return cells


@pytest.fixture(scope="module")
def settings(demo_model):
    return {"model_path": demo_model, "device": "cpu", "max_new_tokens": 12}


def test_model_card_example(adata, settings, tmp_path):
    adata.write_h5ad(tmp_path / "dataset.h5ad")
    before = ad.read_h5ad(tmp_path / "dataset.h5ad")

    config = Cell2SenConfig(batch_size=16, perturbation_column="perturbation", **settings)
    cell2sen = Cell2Sen(configurer=config)
    adata = ad.read_h5ad(tmp_path / "dataset.h5ad")
    processed_dataset = cell2sen.process_data(adata)
    embeddings, attention_maps = cell2sen.get_embeddings(processed_dataset, output_attentions=True)
    perturbed_dataset, perturbed_sentences = cell2sen.get_perturbations(processed_dataset)

    assert embeddings.shape == (10, cell2sen.model.config.hidden_size)
    assert np.isfinite(embeddings).all()
    for sentence, attention in zip(processed_dataset["cell_sentence"], attention_maps, strict=True):
        n_genes = len(sentence.split())
        assert attention.shape[1:] == (n_genes, n_genes)
    assert [sentence is None for sentence in perturbed_sentences] == [False, True] * 5
    genes = set(adata.var_names.str.upper())
    assert set(perturbed_sentences[0].split()) <= genes
    assert perturbed_dataset["perturbed_cell_sentence"].tolist() == perturbed_sentences
    assert (adata.X != before.X).nnz == 0
    assert list(adata.obs) == list(before.obs)


def test_counts_are_normalised_and_logged_ones_are_not(adata, settings):
    cell2sen = Cell2Sen(Cell2SenConfig(return_fit=True, **settings))
    logged = cell2sen.process_data(adata)
    counts = adata.copy()
    linear = np.expm1(adata.X.toarray())
    one = np.min(linear, axis=1, where=linear > 0, initial=np.inf, keepdims=True)
    counts.X = np.round(linear / one)
    counted = cell2sen.process_data(counts)
    assert (logged["n_genes"] >= counted["n_genes"]).all()
    for dataset in (logged, counted):
        fit = dataset["fit_parameters"].iloc[0]
        assert fit["slope"] < 0
        assert fit["r_squared"] > 0.5


def test_batch_size_changes_nothing(adata, settings):
    made = []
    for batch_size in (1, None):
        cell2sen = Cell2Sen(Cell2SenConfig(batch_size=batch_size, max_genes=60, **settings))
        made.append(cell2sen.get_embeddings(cell2sen.process_data(adata)))
    np.testing.assert_allclose(made[0], made[1], atol=1e-4)


def test_list_of_perturbations(adata, settings):
    cell2sen = Cell2Sen(Cell2SenConfig(**settings))
    dataset = cell2sen.process_data(adata)
    made, sentences = cell2sen.get_perturbations(dataset, [None] * 9 + ["no change"])
    assert sentences[:9] == [None] * 9
    assert isinstance(sentences[9], str)
    assert made["c2s_finish_reason"].notna().tolist() == [False] * 9 + [True]
    with pytest.raises(UserError, match="2 entries for 10 cells"):
        cell2sen.get_perturbations(dataset, ["a", "b"])
    with pytest.raises(UserError, match="no cell has a perturbation"):
        cell2sen.get_perturbations(dataset)


def test_prompt_with_a_column_of_obs(adata, settings):
    template = "{bulk_labels} {organism}: {cell_sentence}"
    cell2sen = Cell2Sen(Cell2SenConfig(embedding_prompt_template=template, **settings))
    dataset = cell2sen.process_data(adata)
    assert np.isfinite(cell2sen.get_embeddings(dataset)).all()
    with pytest.raises(UserError, match=r"\{bulk_labels\}"):
        cell2sen.get_embeddings(dataset.drop(columns="bulk_labels"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model_size": "3B"}, "choose 2B or 27B"),
        ({"aggregation_type": "max"}, "choose mean_pool, last_token, gene_pool"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(UserError, match=message):
        Cell2SenConfig(**wrong)


def test_unknown_column(adata, settings):
    with pytest.raises(UserError, match="no such column"):
        Cell2Sen(Cell2SenConfig(perturbation_column="drug", **settings)).process_data(adata)


def test_the_package_imports_no_torch():
    import subprocess

    code = "import sys, c2sflow, c2sflow.data.qc.qc, c2sflow.results.run\n"
    code += "import c2sflow.sentences.shards, c2sflow.validation.run\n"
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
