"""A notebook takes what is known of a model as the workflow does: prompts, length, tasks."""

import shutil

import numpy as np
import pytest

from c2sflow.api.cell2sen import Cell2Sen, Cell2SenConfig
from c2sflow.model.trained import SEVERAL_PROMPT, Trained, read_trained
from c2sflow.sentences.wordings import WORDINGS

OWN = {
    "annotation_prompt": "{cell_sentence}. Type:",
    "generation_prompt": "{num_genes} of {cell_type}:",
    "embedding_prompt": "{cell_sentence}!",
}
SETTINGS = {
    "device": "cpu", "dtype": "float32", "organism": "human", "max_new_tokens": 2, "verbose": False,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def recorded(random_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "model"
    shutil.copytree(random_model, folder)
    Trained(tasks=("cell_type",), max_genes=7, prompts=OWN).write(folder)
    return folder


def test_prompts_and_genes_are_the_models_own(recorded, random_model, pbmc):
    model = Cell2Sen(Cell2SenConfig(model_path=recorded, **SETTINGS))
    spelled = Cell2Sen(Cell2SenConfig(model_path=random_model, max_genes=7, **OWN, **SETTINGS))
    made = []
    for cell2sen in (model, spelled):
        dataset = cell2sen.process_data(pbmc[:2].copy())
        assert dataset["n_genes"].max() == 7
        types = cell2sen.get_annotations(dataset, ["B", "T"])["c2s_cell_type_probability"]
        cells = cell2sen.generate_cells(dataset, 1, ["B"], n_genes=4)
        assert cells.uns["c2s"]["prompts"]["generation"] == OWN["generation_prompt"]
        made.append([cell2sen.get_embeddings(dataset), types, cells.obsm["X_c2s"]])
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one, other)
    # A setting goes before the model's, and a prompt that names types asks for none without them.
    changed = Cell2SenConfig(model_path=recorded, embedding_prompt="{cell_sentence}?", **SETTINGS)
    assert Cell2Sen(changed).embedding_prompt == "{cell_sentence}?"
    assert "cell_type" not in model.generate_cells(dataset, 1).uns["c2s"]["prompts"]["generation"]


def test_tasks_that_the_model_was_not_trained_for_are_warned_of(recorded, pbmc, caplog):
    model = Cell2Sen(Cell2SenConfig(model_path=recorded, **SETTINGS))
    dataset = model.process_data(pbmc[:2].copy())
    model.get_annotations(dataset, ["B", "T"])
    assert "is asked for" not in caplog.text
    model.get_perturbations(dataset, ["A", None])
    model.generate_cells(dataset, 1)
    asked = [text for text in caplog.messages if "and was trained for cell_type" in text]
    assert [text.split(" is asked for ")[1].split(",")[0] for text in asked] == [
        "perturbed cells (--perturbations)", "cells to generate (--generate)",
    ]  # fmt: skip


def test_answers_hold_only_genes_of_the_vocabulary(random_model, pbmc, tmp_path):
    few = [name.upper() for name in pbmc.var_names[:5]]
    (tmp_path / "genes.txt").write_text("\n".join(few))
    settings = SETTINGS | {"gene_vocabulary": tmp_path / "genes.txt", "max_new_tokens": 8}
    model = Cell2Sen(Cell2SenConfig(model_path=random_model, tie_break="gene_order", **settings))
    dataset = model.process_data(pbmc[:2].copy())
    assert len(dataset.attrs["genes"]) > 5
    predicted = model.get_perturbations(dataset, ["A", "A"])
    words = {word for text in predicted.obs["c2s_sentence"] for word in text.split()}
    assert words <= set(few)
    assert words


def test_the_bundled_model_is_known_by_its_name(demo_model):
    from c2sflow.model.trained import read_trained

    assert Cell2Sen(Cell2SenConfig(model_path="demo"))._trained == read_trained(demo_model)


def test_trained_on_several_cells_it_asks_for_them_in_those_words(random_model, pbmc, tmp_path):
    base = shutil.copytree(random_model, tmp_path / "base")
    Trained(tasks=("cell_type",)).write(base)
    settings = {**SETTINGS, "prompt_variant": 5}
    cells = pbmc[:80].copy()
    cells.obs["tissue"] = ["blood", "bone"] * 40
    cell2sen = Cell2Sen(Cell2SenConfig(model_path=base, max_genes=9, **settings))
    made = cell2sen.finetune(
        cell2sen.process_data(cells), "tissue,tissue_generation", tmp_path / "made",
        method="full", tissue_column="tissue", cells_per_prompt=3, cells_per_answer=2,
        max_answer_genes=4, max_steps=1,
    )  # fmt: skip
    fifth = WORDINGS["tissue_generation"][4]
    known = read_trained(made)
    assert known.tasks == ("cell_type", "tissue", "tissue_generation")
    assert known.prompts[SEVERAL_PROMPT] == fifth
    trained = Cell2Sen(Cell2SenConfig(model_path=made, max_genes=9, **SETTINGS))
    dataset = trained.process_data(cells)
    cells = trained.generate_cells(dataset, 2, tissues=["blood"], cells_per_answer=2)
    assert cells.uns["c2s"]["prompts"]["generation"] == fifth
