"""The library as one object, for a notebook: what it gives, and what it refuses."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from c2sflow import Cell2Sen, Cell2SenConfig
from c2sflow.api import helical
from c2sflow.common.errors import UserError
from c2sflow.common.threads import SPIN_COUNT

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def adata(pbmc):
    cells = pbmc[:10].copy()
    cells.obs["perturbation"] = ["conversion to CD19+ B", None] * 5
    return cells


@pytest.fixture(scope="module")
def settings(demo_model):
    return {"model_path": demo_model, "device": "cpu", "max_new_tokens": 12}


def test_model_card_example(adata, settings, tmp_path):
    """That of Helical's card, with its import changed."""
    adata.write_h5ad(tmp_path / "dataset.h5ad")
    before = ad.read_h5ad(tmp_path / "dataset.h5ad")

    config = helical.Cell2SenConfig(batch_size=16, perturbation_column="perturbation", **settings)
    cell2sen = helical.Cell2Sen(configurer=config)
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
    cell2sen = helical.Cell2Sen(helical.Cell2SenConfig(**settings))
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
    cell2sen = Cell2Sen(Cell2SenConfig(embedding_prompt=template, **settings))
    dataset = cell2sen.process_data(adata)
    assert np.isfinite(cell2sen.get_embeddings(dataset)).all()
    with pytest.raises(UserError, match=r"\{bulk_labels\}"):
        cell2sen.get_embeddings(dataset.drop(columns="bulk_labels"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model_size": "3B"}, "choose 2B, 27B"),
        ({"pooling": "max"}, "choose mean, last, genes"),
        ({"quantization": "4bit"}, "choose none, nf4, int8"),
        ({"input_state": "raw"}, "choose auto, counts, normalized, lognormalized"),
        ({"temperature": -1}, "temperature -1: must be 0 or more"),
        ({"top_p": 0}, "top_p 0: must be above 0"),
        ({"num_samples": 0}, "num_samples 0: must be 1 or more"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(UserError, match=message):
        Cell2SenConfig(**wrong)


def test_helicals_names_are_ours():
    config = helical.Cell2SenConfig(
        aggregation_type="gene_pool", embedding_prompt_template="{cell_sentence}",
        use_quantization=True, use_flash_attn=True, seed=7,
    )  # fmt: skip
    assert config.pooling == "genes"
    assert config.embedding_prompt == "{cell_sentence}"
    assert (config.quantization, config.attention) == ("nf4", "flash_attention_2")
    assert config.seed == 7
    plain = helical.Cell2SenConfig()
    assert {name: getattr(plain, name) for name in vars(plain)} == vars(Cell2SenConfig())
    with pytest.raises(UserError, match="choose mean_pool, last_token, gene_pool"):
        helical.Cell2SenConfig(aggregation_type="max")


def test_predicted_cells_are_those_of_the_labels(adata, settings):
    """Each cell under its own, but control cells and those without a label."""
    labelled = adata.copy()
    labelled.obs["drug"] = ["IFN", "ctrl", None, "IL-6", "DMSO"] * 2
    cell2sen = Cell2Sen(Cell2SenConfig(perturbation_column="drug", **settings))
    dataset = cell2sen.process_data(labelled)
    made = cell2sen.get_perturbations(dataset)
    chosen = labelled.obs["drug"].isin(["IFN", "IL-6"]).to_numpy()
    assert made.obs["c2s_source_cell"].tolist() == labelled.obs_names[chosen].tolist()
    assert made.obs["c2s_perturbation"].tolist() == labelled.obs["drug"][chosen].tolist()
    assert made.obs["drug"].tolist() == labelled.obs["drug"][chosen].tolist()
    # The input's own columns, though the dataset has columns of these names.
    assert made.obs["n_genes"].tolist() == labelled.obs["n_genes"][chosen].tolist()
    assert list(made.var_names) == list(labelled.var_names)
    for row, text in zip(made.X, made.obs["c2s_sentence"], strict=True):
        assert {made.var_names[n].upper() for n in row.indices} <= set(text.split())
    labelled.obs["drug"] = ["ctrl", "DMSO"] * 5
    with pytest.raises(UserError, match=r"no cell has a perturbation.* holds: DMSO \(5\), ctrl"):
        cell2sen.get_perturbations(cell2sen.process_data(labelled))


def test_a_cell_under_several_perturbations(adata, settings):
    cell2sen = Cell2Sen(Cell2SenConfig(temperature=1, num_samples=2, **settings))
    dataset = cell2sen.process_data(adata)[:2]
    made = cell2sen.get_perturbations(pd.concat([dataset] * 2), ["IFN", "IFN", "IL-6", None])
    first, second = dataset.index
    assert list(made.obs_names) == [
        f"{first}|IFN", f"{first}|IFN|1", f"{second}|IFN", f"{second}|IFN|1", f"{first}|IL-6",
        f"{first}|IL-6|1",
    ]  # fmt: skip
    assert made.obs["c2s_sentence"].nunique() > 3
    assert made.uns["c2s"]["parameters"]["num_samples"] == 2
    with pytest.raises(UserError, match="greedy answers are all the same"):
        Cell2Sen(Cell2SenConfig(num_samples=2, **settings)).get_perturbations(dataset, ["IFN"] * 2)


def test_the_layer_is_that_of_embedding_and_maps(adata, settings):
    config = Cell2SenConfig(embedding_layer=2, max_genes=20, **settings)
    cell2sen = Cell2Sen(config)
    dataset = cell2sen.process_data(adata)[:3]
    vectors, maps = cell2sen.get_embeddings(dataset, output_attentions=True)
    again, same = cell2sen.get_embeddings(dataset, output_attentions=True, emb_layer=2)
    np.testing.assert_array_equal(vectors, again)
    np.testing.assert_array_equal(maps[0], same[0])
    n_layers = cell2sen.model.config.num_hidden_layers
    last, others = cell2sen.get_embeddings(dataset, output_attentions=True, emb_layer=n_layers)
    assert np.abs(last - vectors).max() > 1e-2
    assert np.abs(others[0] - maps[0]).max() > 1e-3
    tokens = cell2sen.get_embeddings(dataset, emb_layer=0)
    assert np.isfinite(tokens).all()
    with pytest.raises(UserError, match="0 is the token embeddings"):
        cell2sen.get_embeddings(dataset, output_attentions=True, emb_layer=0)
    with pytest.raises(UserError, match=f"--embedding_layer {n_layers + 1}: the model has layers"):
        cell2sen.get_embeddings(dataset, emb_layer=n_layers + 1)


def test_declared_state_and_symbols(adata, settings, tmp_path):
    """As --input_state and --gene_symbols: what cannot be is refused, a table is read."""
    counts = adata.copy()
    counts.X = np.round(counts.X.toarray() * 3) * 2 + (counts.X.toarray() > 0) * 0.5
    with pytest.raises(UserError, match="--input_state"):
        Cell2Sen(Cell2SenConfig(**settings)).process_data(counts)
    declared = Cell2Sen(Cell2SenConfig(input_state="counts", **settings)).process_data(counts)
    assert (declared["n_genes"] > 0).all()

    named = adata.copy()
    named.var["mine"] = named.var_names
    named.var_names = [f"ENSG{n:011}" for n in range(named.n_vars)]
    expected = Cell2Sen(Cell2SenConfig(**settings)).process_data(adata)["cell_sentence"].tolist()
    by_column = Cell2Sen(Cell2SenConfig(gene_symbols="mine", organism="human", **settings))
    assert by_column.process_data(named)["cell_sentence"].tolist() == expected
    table = tmp_path / "symbols.tsv"
    named.var["mine"].rename_axis("id").to_csv(table, sep="\t")
    del named.var["mine"]
    by_table = Cell2Sen(Cell2SenConfig(gene_symbols=str(table), organism="human", **settings))
    assert by_table.process_data(named)["cell_sentence"].tolist() == expected
    assert "c2s_gene_symbol" not in named.var


def test_given_prompts_are_used(adata, settings, tmp_path):
    prompts = {
        "annotation_prompt": "Name the {organism} cell, {phase}: {cell_sentence}",
        "perturbation_prompt": "{phase} {perturbation}: {cell_sentence}",
    }
    file = tmp_path / "prompt.txt"
    file.write_text(prompts["annotation_prompt"])
    given = {**prompts, "annotation_prompt": str(file)}
    cell2sen = Cell2Sen(Cell2SenConfig(dataset_context="Blood.", **given, **settings))
    assert cell2sen.annotation_prompt == f"Blood.\n{prompts['annotation_prompt']}"
    dataset = cell2sen.process_data(adata)[:2]
    assert cell2sen.get_annotations(dataset, ["CD19+ B", "Dendritic"]).notna().all(axis=None)
    made = cell2sen.get_perturbations(dataset, ["IFN"] * 2)
    assert made.uns["c2s"]["prompts"]["perturbation"] == cell2sen.perturbation_prompt
    for method in (cell2sen.get_annotations, lambda d: cell2sen.get_perturbations(d, ["IFN"] * 2)):
        with pytest.raises(UserError, match=r"the prompt uses \{phase\}"):
            method(dataset.drop(columns="phase"))
    with pytest.raises(UserError, match=r"lacks \{perturbation\}"):
        Cell2Sen(Cell2SenConfig(perturbation_prompt="{cell_sentence}", **settings))


def test_verbose_shows_log_and_bars_and_quiet_only_warnings(adata, settings, caplog, capsys):
    shown = {}
    for verbose in (True, False):
        caplog.clear()
        capsys.readouterr()
        cell2sen = Cell2Sen(Cell2SenConfig(verbose=verbose, max_genes=20, **settings))
        cell2sen.get_embeddings(cell2sen.process_data(adata))
        levels = {record.levelname for record in caplog.records}
        shown[verbose] = "INFO" in levels, capsys.readouterr().err
    assert shown[True][0]
    assert "cell/s" in shown[True][1]
    assert shown[False] == (False, "")
    assert logging.getLogger("c2sflow").level == logging.NOTSET


def test_unknown_column(adata, settings):
    config = Cell2SenConfig(perturbation_column="perturbatoin", **settings)
    with pytest.raises(UserError, match=r"no such column \(has .*; did you mean 'perturbation'\?"):
        Cell2Sen(config).process_data(adata)


def in_a_new_process(code):
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def test_the_package_imports_no_torch():
    code = "import sys, c2sflow, c2sflow.data.qc.qc, c2sflow.results.run\n"
    code += "import c2sflow.sentences.shards, c2sflow.validation.run\n"
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert in_a_new_process(code).returncode == 0


def test_threads_sleep_by_the_time_that_torch_is_imported():
    code = "import os, sys\nfrom c2sflow import Cell2Sen\n"
    code += "print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    assert in_a_new_process(code).stdout.split() == ["False", SPIN_COUNT]


def test_the_workflows_tasks_have_the_same_spin_count():
    config = (ROOT / "conf/base.config").read_text()
    assert re.search(r"GOMP_SPINCOUNT = '(\d+)'", config)[1] == SPIN_COUNT
