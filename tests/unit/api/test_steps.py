"""The library's one object against the workflow's steps: same cells, same text, same answers."""

import json
import os
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from c2sflow import Cell2Sen, Cell2SenConfig
from c2sflow.common.errors import UserError
from c2sflow.common.files import read_json, write_json
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.splits.splits import Rule
from c2sflow.data.splits.state_form import read_state_form
from c2sflow.data.state.decision import detect_state
from c2sflow.generation.annotate_shards import annotate_shards
from c2sflow.generation.annotation_questions import Asking
from c2sflow.generation.generate_task import generate_task
from c2sflow.generation.perturb_shards import perturb_shards
from c2sflow.generation.perturbation import predict
from c2sflow.generation.plan import GenerationPlan
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.embed_shards import embed_shards
from c2sflow.results.generated import merge_generated
from c2sflow.results.predictions import Predicted, merge_predictions
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    GENERATION_PROMPT,
    PERTURBATION_PROMPT,
    UNCONDITIONAL_PROMPT,
)
from c2sflow.sentences.shards import write_shards
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.training.finetuning import finetune
from c2sflow.training.options import TrainingOptions

CONTEXT = "Peripheral blood of healthy adults, 10x 3′ {v3}."
TYPES = ["CD19+ B", "CD14+ Monocyte, classical"]
ENGINE = {"device": "cpu", "dtype": "float32", "attention": "auto", "quantization": "none"}
TRAINING = {
    "label_column": "bulk_labels", "max_steps": 2, "batch_tokens": 600, "max_answer_genes": 10,
    "learning_rate": 0.003, "evaluate_every": 1,
}  # fmt: skip
SPLIT = {"held_out": 0.2, "validation": 0.2}
N_CELLS, N_GENES = 60, 40
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def adata(pbmc):
    """Real cells; some genes have lower-case names, which sentences do not show."""
    cells = pbmc[:N_CELLS].copy()
    cells.var_names = [name.title() if n % 3 else name for n, name in enumerate(cells.var_names)]
    cells.obs["perturbation"] = pd.Categorical(["none", "LPS"] * (N_CELLS // 2))
    cells.obs["condition"] = pd.Categorical(["ctrl", "stim"] * (N_CELLS // 2))
    return cells


@pytest.fixture(scope="module")
def cell2sen(random_model):
    config = Cell2SenConfig(
        model_path=random_model, device="cpu", dtype="float32", organism="human",
        max_genes=N_GENES, max_new_tokens=12, dataset_context=CONTEXT,
    )  # fmt: skip
    return Cell2Sen(config)


@pytest.fixture(scope="module")
def dataset(cell2sen, adata):
    return cell2sen.process_data(adata)


@pytest.fixture(scope="module")
def steps(adata, tmp_path_factory):
    """Folder of what QC and SENTENCES make of the same cells, in two shards."""
    folder = tmp_path_factory.mktemp("steps")
    with open_anndata(adata) as data:
        state = detect_state(data.sample_rows(), "adata")
    run_qc(
        adata, folder / "s.h5ad", sample="adata", organism="human", state=state,
        filters=Filters(skip=True), split=Rule(**SPLIT),
    )  # fmt: skip
    with open_anndata(folder / "s.h5ad") as data:
        bounds = [(0, 25), (25, N_CELLS)]
        summary = write_shards(data, bounds, "s", folder, max_genes=N_GENES)
    write_json(folder / "s.sentences.json", summary)
    write_json(folder / "samples.json", [{"id": "s", "organism": "human"}])
    return folder


def said(prompt):
    """The prompt as the workflow hands it to its steps."""
    return CONTEXT.replace("{", "{{").replace("}", "}}") + "\n" + prompt


def shard(steps, number=0):
    return steps / "shards" / f"s.{number:05d}.parquet"


def test_sentences_are_those_of_the_shards(dataset, steps):
    cells = pd.concat([pd.read_parquet(shard(steps, n)) for n in (0, 1)], ignore_index=True)
    for column in ("cell_id", "sample", "organism", "cell_sentence", "n_genes"):
        assert dataset[column].tolist() == cells[column].tolist()
    summary = read_json(steps / "s.sentences.json")
    assert dataset.attrs["rank_fit"] == pytest.approx(summary["rank_fit"])
    assert list(dataset.attrs["genes"]) == summary["genes"]
    assert list(dataset.attrs["genes"].values()) == summary["symbols"]


def test_the_context_is_in_every_prompt(cell2sen, dataset, steps, random_model, tmp_path):
    options = {"model": str(random_model), **ENGINE}
    embed_shards([shard(steps)], tmp_path, options, embedding_prompt=said(EMBEDDING_PROMPT))
    expected = ad.read_h5ad(tmp_path / "s.00000.embedding.h5ad").obsm["X_c2s"]
    vectors = cell2sen.get_embeddings(dataset[:25])
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    plain = Cell2Sen(Cell2SenConfig(model_path=random_model, device="cpu", dtype="float32"))
    assert np.abs(plain.get_embeddings(dataset[:25]) - vectors).max() > 1e-2

    asking = Asking("\n".join(TYPES), said(ANNOTATION_PROMPT))
    annotate_shards([shard(steps)], tmp_path, options, asking)
    expected = pd.read_parquet(tmp_path / "s.00000.annotation.parquet").set_index("cell_id")
    expected = expected.drop(columns="c2s_cell_type_scores")  # of the shard's file alone
    types = cell2sen.get_annotations(dataset[:25], TYPES)
    pd.testing.assert_frame_equal(types, expected, check_names=False, rtol=1e-4)

    cells = pd.read_parquet(shard(steps)).assign(perturbation="IFN")[:5]
    genes = read_json(steps / "s.sentences.json")["genes"]
    expected, _ = predict(
        cell2sen.model, cell2sen.tokenizer, cells, genes, said(PERTURBATION_PROMPT),
        length=AnswerLength(n_tokens=12),
    )  # fmt: skip
    predicted = cell2sen.get_perturbations(dataset[:5], ["IFN"] * 5)
    assert predicted.obs["c2s_sentence"].tolist() == expected["c2s_sentence"].tolist()
    assert any(predicted.obs["c2s_sentence"])


@pytest.mark.parametrize("sampled", [False, True])
def test_predicted_cells_are_those_of_the_workflow(
    dataset, steps, adata, random_model, tmp_path, sampled
):
    """Expression, embeddings and obs of c2s_perturbed.h5ad, of cells in two shards."""
    decoding = {"max_new_tokens": 12, "seed": 42}
    decoding |= (
        {"temperature": 0.9, "top_p": 0.95, "num_samples": 2}
        if sampled
        else {"temperature": 0.0, "top_p": 1.0, "num_samples": 1}
    )
    given = {"pooling": "genes", "embedding_layer": 2, "dataset_context": CONTEXT, **decoding}
    own = Cell2Sen(Cell2SenConfig(model_path=random_model, device="cpu", dtype="float32", **given))
    labels = pd.Series([None, "IFN", "IL-6"] * 20, index=dataset.index)
    made = own.get_perturbations(dataset, labels.tolist())

    options = {
        **ENGINE, "model": str(random_model), "max_batch_tokens": "auto", "pooling": "genes",
        "embedding_layer": 2, "embedding_prompt": said(EMBEDDING_PROMPT), **decoding,
        "perturbation_prompt": said(PERTURBATION_PROMPT),
    }  # fmt: skip
    summary = read_json(steps / "s.sentences.json")
    columns = {word: place for place, word in enumerate(summary["genes"])}
    shards = []
    for number, rows in enumerate((slice(0, 25), slice(25, N_CELLS))):
        plan = tmp_path / f"{number}.plan.parquet"
        planned = labels[rows].dropna()
        pd.DataFrame(
            {
                "shard": f"s.{number:05d}", "cell_id": planned.index, "condition": planned.array,
                "perturbation": planned.array,
            }
        ).to_parquet(plan)  # fmt: skip
        genes = steps / "s.sentences.json"
        perturb_shards([shard(steps, number)], [plan], [genes], tmp_path, options)
        answers = tmp_path / f"s.{number:05d}.perturbed.parquet"
        shards.append(Predicted(answers, len(planned), columns, dataset.index))
    target = tmp_path / "c2s_perturbed.h5ad"
    merge_predictions(
        shards, ad.read_h5ad(steps / "s.h5ad").obs, pd.DataFrame(index=summary["symbols"]),
        summary["rank_fit"], target, {}, decoding["num_samples"],
    )  # fmt: skip
    expected = ad.read_h5ad(target)
    assert len(made) == 40 * decoding["num_samples"]
    assert made.obs["c2s_sentence"].nunique() > 10
    pd.testing.assert_index_equal(made.obs_names, expected.obs_names)
    measured = {
        "n_genes_by_counts",
        "total_counts",
        "total_counts_mt",
        "pct_counts_mt",
        "c2s_split",
    }
    assert set(expected.obs) - set(made.obs) <= measured  # of QC and training
    assert set(made.obs) <= set(expected.obs)
    pd.testing.assert_frame_equal(
        made.obs, expected.obs[list(made.obs)], check_categorical=False, rtol=1e-4
    )
    assert set(adata.obs) <= set(made.obs)
    pd.testing.assert_frame_equal(made.var, expected.var)
    np.testing.assert_allclose(made.X.toarray(), expected.X.toarray(), rtol=1e-6)
    np.testing.assert_allclose(made.obsm["X_c2s"], expected.obsm["X_c2s"], rtol=1e-4, atol=1e-5)
    assert made.uns["log1p"] == expected.uns["log1p"]


def test_annotations_warn_as_the_workflow_does(
    cell2sen, dataset, steps, random_model, tmp_path, caplog
):
    options = {"model": str(random_model), **ENGINE}
    asking = Asking("\n".join(TYPES), said(ANNOTATION_PROMPT))
    annotate_shards([shard(steps)], tmp_path, options, asking)
    expected = read_json(tmp_path / "s.00000.annotate.json")["warnings"]
    assert any("of the model's probability together" in line for line in expected)
    caplog.clear()
    cell2sen.get_annotations(dataset[:25], TYPES)
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [line for line in warned if "are predicted to be" not in line] == expected


def test_the_context_stands_where_the_prompt_has_it(random_model):
    config = Cell2SenConfig(
        model_path=random_model, embedding_prompt="({dataset_context}) {cell_sentence}",
        dataset_context="Blood.",
    )  # fmt: skip
    assert Cell2Sen(config).embedding_prompt == "(Blood.) {cell_sentence}"


@pytest.mark.parametrize(
    ("types", "together"), [(TYPES, {}), (None, {}), (None, {"tissues": ["blood", "bone marrow"]})]
)
def test_generated_cells_are_those_of_the_workflow(
    cell2sen, dataset, steps, random_model, tmp_path, types, together
):
    several = {**together, "cells_per_answer": 2} if together else {}
    made = cell2sen.generate_cells(
        dataset, 3, types, n_genes=10, temperature=0.8, top_p=0.9, **several
    )

    names = together.get("tissues") or types or [""]
    kind = "tissue" if together else "cell_type"
    plan = GenerationPlan(3, ["human"], names, 4, 2 if together else 1, kind)  # 4 cells a task
    template = GENERATION_PROMPT if types else UNCONDITIONAL_PROMPT
    template = WORDINGS["tissue_generation"][0] if together else template
    options = {
        **ENGINE, "model": str(random_model), "max_batch_tokens": "auto", "pooling": "mean",
        "embedding_layer": -1, "embedding_prompt": said(EMBEDDING_PROMPT), "max_new_tokens": 12,
        "temperature": 0.8, "top_p": 0.9, "seed": 42, "generated_genes": 10,
        "generation_prompt": said(template),
    }  # fmt: skip
    for task in range(plan.n_tasks):
        generate_task(plan, task, steps / "samples.json", steps, tmp_path, options)
    summary = read_json(steps / "s.sentences.json")
    merge_generated(
        [
            (tmp_path / f"{plan.task_name(task)}.generated.parquet", len(plan.cells(task)))
            for task in range(plan.n_tasks)
        ],
        {"human": {word: place for place, word in enumerate(summary["genes"])}},
        pd.DataFrame(index=summary["symbols"]),
        summary["rank_fit"],
        tmp_path / "c2s_generated.h5ad",
        {},
    )
    expected = ad.read_h5ad(tmp_path / "c2s_generated.h5ad")
    pd.testing.assert_frame_equal(made.obs, expected.obs, rtol=1e-4)
    pd.testing.assert_frame_equal(made.var, expected.var)
    np.testing.assert_allclose(made.X.toarray(), expected.X.toarray(), rtol=1e-6)
    np.testing.assert_allclose(made.obsm["X_c2s"], expected.obsm["X_c2s"], rtol=1e-4, atol=1e-5)
    assert made.uns["log1p"] == expected.uns["log1p"]


def test_what_generated_cells_hold(cell2sen, dataset, adata):
    made = cell2sen.generate_cells(dataset, 2, TYPES)
    assert made.obs["c2s_cell_type"].value_counts().to_dict() == dict.fromkeys(TYPES, 2)
    assert list(made.var_names) == list(adata.var_names)
    words = {name.upper() for name in adata.var_names}
    for row, text in zip(made.X, made.obs["c2s_sentence"], strict=True):
        genes = text.split()
        assert 0 < len(genes) == len(set(genes))
        assert set(genes) <= words
        assert {made.var_names[n].upper() for n in row.indices} <= set(genes)
    assert (made.obs[["c2s_invalid_genes", "c2s_duplicate_genes"]] == 0).all(axis=None)
    c2s = made.uns["c2s"]
    assert c2s["model"]["id"] == cell2sen.model_name
    assert len(c2s["model"]["digest"]) == 64
    assert c2s["prompts"]["generation"].endswith("{cell_type}.\nCell sentence:")
    assert c2s["parameters"]["temperature"] == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_cells": 0}, "n_cells 0: must be 1 or more"),
        ({"temperature": 0}, "greedy cells of one type are all the same"),
        ({"cell_types": []}, "at least one"),
        ({"prompt": "{tissue} {cell_type}"}, r"uses \{tissue\}"),
        ({"cell_types": None, "prompt": "{cell_type}:"}, r"uses \{cell_type\}"),
    ],
)
def test_what_cannot_be_generated(cell2sen, dataset, wrong, message):
    with pytest.raises(UserError, match=message):
        cell2sen.generate_cells(dataset, **({"n_cells": 2, "cell_types": TYPES} | wrong))


def test_a_table_of_other_origin_generates_nothing(cell2sen, dataset):
    other = pd.DataFrame(dataset.to_dict("records"))
    with pytest.raises(UserError, match="give what process_data made"):
        cell2sen.generate_cells(other, 2)


@pytest.fixture(scope="module")
def trained(cell2sen, dataset, tmp_path_factory):
    """Folder of an adapter that the object has trained."""
    outdir = tmp_path_factory.mktemp("trained") / "new"
    made = cell2sen.finetune(dataset, ["cell_type:2", "generation"], outdir, **SPLIT, **TRAINING)
    assert made == outdir / "model"
    return outdir


def test_training_is_that_of_the_workflow(trained, steps, random_model, tmp_path):
    options = TrainingOptions(
        "cell_type:2,generation", annotation_prompt=said(ANNOTATION_PROMPT),
        generation_prompt=said(GENERATION_PROMPT), device="cpu", dtype="float32", **TRAINING,
    )  # fmt: skip
    shards = [shard(steps, 0), shard(steps, 1)]
    finetune(shards, [steps / "s.sentences.json"], tmp_path, options, random_model)
    one, other = (load_file(f / "model" / "adapter_model.safetensors") for f in (trained, tmp_path))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert any(weights.any() for key, weights in one.items() if "lora_B" in key)
    assert (trained / "splits.tsv").read_text() == (tmp_path / "splits.tsv").read_text()
    card = (trained / "model" / "README.md").read_text()
    assert said(ANNOTATION_PROMPT).splitlines()[0] in card


def beside(adapter, base, folder):
    """The adapter's files and the base's, as the workflow stages them."""
    shutil.copytree(base, folder)
    for path in (adapter / "model").glob("adapter_*"):
        shutil.copyfile(path, folder / path.name)
    return folder


def test_an_adapter_is_taken_with_its_base(cell2sen, dataset, trained, random_model, tmp_path):
    settings = {"device": "cpu", "dtype": "float32", "dataset_context": CONTEXT}
    adapted = Cell2Sen(Cell2SenConfig(model_path=trained / "model", **settings))
    vectors = adapted.get_embeddings(dataset[:25])
    whole = beside(trained, random_model, tmp_path / "whole")
    expected = Cell2Sen(Cell2SenConfig(model_path=whole, **settings)).get_embeddings(dataset[:25])
    np.testing.assert_allclose(vectors, expected, rtol=1e-5)
    assert np.abs(vectors - cell2sen.get_embeddings(dataset[:25])).max() > 1e-3
    made = adapted.generate_cells(dataset, 1)
    assert made.uns["c2s"]["model"]["id"] == str(trained / "model")
    assert made.uns["c2s"]["model"]["base"] == os.path.relpath(random_model)
    with pytest.raises(UserError, match="an adapter, but fine-tuning needs a whole model"):
        adapted.finetune(dataset, "generation", tmp_path / "more", **SPLIT, **TRAINING)
    # The links to the files go with the object.
    links = adapted.model_path
    assert (links / "model.safetensors").resolve() == random_model / "model.safetensors"
    del adapted
    assert not links.exists()


def test_an_adapter_whose_base_moved(dataset, trained, random_model, demo_model, tmp_path):
    adapter = shutil.copytree(trained / "model", tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/gone/base"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    settings = {"model_path": adapter, "device": "cpu", "dtype": "float32"}
    with pytest.raises(UserError, match=r"its base \(/gone/base\) .* name it with base_model"):
        Cell2Sen(Cell2SenConfig(**settings)).get_embeddings(dataset[:2])
    with pytest.raises(UserError, match="name the model it was made for"):
        Cell2Sen(Cell2SenConfig(base_model=demo_model, **settings)).get_embeddings(dataset[:2])
    with pytest.raises(UserError, match="is an adapter itself"):
        Cell2Sen(Cell2SenConfig(base_model=adapter, **settings)).get_embeddings(dataset[:2])
    found = Cell2Sen(Cell2SenConfig(base_model=random_model, **settings))
    assert np.isfinite(found.get_embeddings(dataset[:2])).all()


def test_a_base_of_no_adapter_is_told(random_model, demo_model, caplog):
    config = Cell2SenConfig(model_path=random_model, base_model=demo_model)
    assert Cell2Sen(config).model_path == random_model
    assert "base_model: no effect" in caplog.text


def test_a_model_that_is_nowhere():
    with pytest.raises(UserError, match="no such directory, and no Hugging Face id"):
        Cell2Sen(Cell2SenConfig(model_path="/no/model")).get_embeddings(pd.DataFrame())


def test_a_new_small_model(dataset, adata, tmp_path):
    """Donors stay whole, the split is written out, and the model generates."""
    told = dataset.assign(donor=[f"d{n % 6}" for n in range(N_CELLS)])
    settings = {"device": "cpu", "dtype": "float32", "max_new_tokens": 12}
    nothing = Cell2Sen(Cell2SenConfig(model_path=tmp_path / "none", **settings))
    made = nothing.finetune(
        told, "generation", tmp_path / "new", method="scratch", split_by="donor", held_out=0.3,
        **TRAINING,
    )  # fmt: skip
    splits = pd.read_csv(tmp_path / "new" / "splits.tsv", sep="\t")["split"].to_numpy()
    assert set(splits) == {"train", "validation", "test"}
    assert (pd.Series(splits).groupby(told["donor"].to_numpy()).nunique() == 1).all()
    model = Cell2Sen(Cell2SenConfig(model_path=made, **settings))
    cells = model.generate_cells(told, 2, ["Dendritic"])
    assert cells.shape == (2, adata.n_vars)
    assert (cells.obs["c2s_n_predicted_genes"] > 0).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tasks": "naming"}, "no task 'naming'"),
        ({"tasks": "cell_type", "label_column": None}, "name the column of obs with the labels"),
        ({"tasks": "perturbation"}, "measured perturbation"),
        ({"split_by": "clinic"}, "obs has no such column"),
        ({"held_out": 0.8, "validation": 0.2}, "leave more to train"),
    ],
)
def test_what_cannot_be_trained(cell2sen, dataset, tmp_path, wrong, message):
    asked = {"tasks": "generation", "outdir": tmp_path / "new"} | SPLIT | TRAINING | wrong
    with pytest.raises(UserError, match=message):
        cell2sen.finetune(dataset, **asked)
    assert not (tmp_path / "new").exists()


def test_a_trained_model_is_not_overwritten(cell2sen, dataset, trained):
    with pytest.raises(UserError, match="already exists"):
        cell2sen.finetune(dataset, "generation", trained, **SPLIT, **TRAINING)


def test_a_context_that_is_named_is_held_out(cell2sen, dataset, tmp_path):
    """Trained on none of it, and the split written in STATE's form is the split of the cells."""
    held = dataset["bulk_labels"].value_counts().index[0]
    cell2sen.finetune(
        dataset, "cell_type", tmp_path, hold_out=f"bulk_labels == '{held}'", validation=0.2,
        perturbation_column="condition", **TRAINING,
    )  # fmt: skip
    splits = pd.read_csv(tmp_path / "splits.tsv", sep="\t")["split"]
    of_held = (dataset["bulk_labels"] == held).to_numpy()
    assert set(splits[of_held]) == {"test"}
    assert set(splits[~of_held]) == {"train", "validation"}
    form = read_state_form(tmp_path / "splits.toml")
    assert form.zeroshot == {"c2sflow": {held: "test"}}
    again = Rule(perturbation_column="condition", state=form, **form.own).apply(dataset)
    assert again.tolist() == splits.tolist()


def test_a_split_in_state_form_is_taken(cell2sen, dataset, tmp_path):
    """A context and a perturbation that splits.toml names are held out; a wrong file is refused."""
    held, partly = dataset["bulk_labels"].value_counts().index[:2]
    path = tmp_path / "splits.toml"
    path.write_text(
        '[datasets]\nown = "cells.h5ad"\n[training]\nown = "train"\n'
        f'[zeroshot]\n"own.{held}" = "test"\n[fewshot."own.{partly}"]\nval = []\ntest = ["G1"]\n'
    )
    told = dataset.assign(phase=["G1" if n % 3 else "control" for n in range(len(dataset))])
    asked = {"perturbation_column": "phase", "validation": 0.2, **TRAINING}
    cell2sen.finetune(
        told, "generation", tmp_path / "made", splits=path, context_column="bulk_labels", **asked
    )
    splits = pd.read_csv(tmp_path / "made" / "splits.tsv", sep="\t")["split"]
    context, perturbed = told["bulk_labels"].to_numpy(), (told["phase"] == "G1").to_numpy()
    assert set(splits[context == held]) == {"test"}
    assert set(splits[(context == partly) & perturbed]) == {"test"}
    assert set(splits[(context != held) & (context != partly)]) == {"train", "validation"}
    with pytest.raises(UserError, match="no such file"):
        cell2sen.finetune(told, "generation", tmp_path / "none", splits="none.toml", **asked)
    with pytest.raises(UserError, match="name the columns of obs"):
        cell2sen.finetune(told, "generation", tmp_path / "none", splits=path, **TRAINING)
