"""Every step asks a model in the words for organisms that it was trained with."""

import json
import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from c2sflow.api.cell2sen import Cell2Sen, Cell2SenConfig
from c2sflow.generation.annotate_shards import annotate_shards
from c2sflow.generation.annotation_questions import Asking
from c2sflow.generation.generate_task import generate_task
from c2sflow.generation.perturb_shards import perturb_shards
from c2sflow.generation.plan import GenerationPlan
from c2sflow.inputs.perturbations import Treatment
from c2sflow.model.attend_shards import attend_shards
from c2sflow.model.embed_shards import embed_shards
from c2sflow.model.prompt_room import Asked, check_context
from c2sflow.model.trained import Trained, read_trained
from c2sflow.perturbation.planning import plan_predictions
from c2sflow.sentences.organism_words import with_words
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    GENERATION_PROMPT,
    PERTURBATION_PROMPT,
    fill,
)
from c2sflow.training.finetuning import finetune
from c2sflow.training.options import TrainingOptions

WORDS = {"human": "Homo sapiens"}
WHERE = {"device": "cpu", "dtype": "float32", "attention": "eager", "quantization": "none"}
ANSWERS = WHERE | {
    "max_batch_tokens": "auto", "pooling": "mean", "embedding_layer": -1, "valid_genes_only": True,
    "no_repeats": True, "max_new_tokens": 12, "seed": 1, "num_samples": 1, "temperature": 0.0,
}  # fmt: skip
TYPES = "B\nT\nNK"

pytestmark = pytest.mark.usefixtures("one_thread")


def spelled(prompt):
    return prompt.replace("{organism}", WORDS["human"])


@pytest.fixture(scope="module")
def words_model(random_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "model"
    shutil.copytree(random_model, folder)
    Trained(organism_words=WORDS).write(folder)
    return folder


@pytest.fixture(scope="module")
def shard(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    cells = pd.DataFrame(records[:4])
    cells.to_parquet(folder / "s.00000.parquet")
    words = sorted({word for text in cells["cell_sentence"] for word in text.split()})
    (folder / "s.sentences.json").write_text(json.dumps({"genes": words, "symbols": words}))
    (folder / "samples.json").write_text(json.dumps([{"id": "s", "organism": "human"}]))
    plan = plan_predictions(cells.assign(shard="s.00000"), treatments=[Treatment("A", "A", "")])
    plan.to_parquet(folder / "s.00000.plan.parquet")
    chosen = cells[["cell_id"]].assign(label="B")
    chosen.to_parquet(folder / "s.00000.chosen.parquet")
    return folder / "s.00000.parquet"


def embed(shard, outdir, model, prompt):
    embed_shards([shard], outdir, WHERE | {"model": str(model)}, embedding_prompt=prompt)
    return ad.read_h5ad(outdir / "s.00000.embedding.h5ad").obsm["X_c2s"]


def annotate(shard, outdir, model, prompt):
    options = WHERE | {"model": str(model)}
    annotate_shards([shard], outdir, options, Asking(TYPES, prompt))
    return pd.read_parquet(outdir / "s.00000.annotation.parquet")["c2s_cell_type_probability"]


def perturb(shard, outdir, model, prompt):
    options = ANSWERS | {
        "model": str(model), "perturbation_prompt": prompt,
        "embedding_prompt": spelled(EMBEDDING_PROMPT) if prompt else None,
    }  # fmt: skip
    beside = [[shard.with_suffix(".plan.parquet")], [shard.parent / "s.sentences.json"]]
    perturb_shards([shard], *beside, outdir, options)
    made = pd.read_parquet(outdir / "s.00000.perturbed.parquet")
    assert set(made["organism"]) == {"human"}
    return np.stack(made["X_c2s"])


def generate(shard, outdir, model, prompt):
    options = ANSWERS | {
        "model": str(model), "generation_prompt": prompt, "generated_genes": 9, "temperature": 1.0,
        "embedding_prompt": spelled(EMBEDDING_PROMPT) if prompt else None,
    }  # fmt: skip
    plan = GenerationPlan(2, ["human"], ["B"])
    generate_task(plan, 0, shard.parent / "samples.json", shard.parent, outdir, options)
    (path,) = outdir.glob("*.generated.parquet")
    made = pd.read_parquet(path)
    assert set(made["organism"]) == {"human"}
    assert "c2s_organism_word" not in made
    return np.stack(made["X_c2s"])


def attend(shard, outdir, model, prompt):
    chosen = shard.with_suffix(".chosen.parquet")
    attend_shards([shard], [chosen], outdir, WHERE | {"model": str(model)}, embedding_prompt=prompt)
    with h5py.File(outdir / "s.00000.attention.h5") as file:
        return np.concatenate([cell["attention"][()].ravel() for cell in file["cells"].values()])


@pytest.mark.parametrize(
    ("step", "built_in"),
    [
        (embed, EMBEDDING_PROMPT),
        (annotate, ANNOTATION_PROMPT),
        (perturb, PERTURBATION_PROMPT),
        (generate, GENERATION_PROMPT),
        (attend, EMBEDDING_PROMPT),
    ],
)
def test_every_step_asks_in_the_models_words(step, built_in, shard, tmp_path, words_model,
                                             random_model):  # fmt: skip
    for name in ("own", "spelled", "plain"):
        (tmp_path / name).mkdir()
    own = step(shard, tmp_path / "own", words_model, None)
    np.testing.assert_array_equal(
        own, step(shard, tmp_path / "spelled", random_model, spelled(built_in))
    )
    plain = step(shard, tmp_path / "plain", random_model, None)
    assert not np.array_equal(own, plain)


def test_a_notebook_asks_in_the_models_words(pbmc, words_model, random_model):
    settings = {
        "device": "cpu", "dtype": "float32", "organism": "human", "verbose": False, "max_genes": 9,
        "max_new_tokens": 4,
    }  # fmt: skip
    one = Cell2Sen(Cell2SenConfig(model_path=words_model, **settings))
    prompts = {
        name: spelled(prompt)
        for name, prompt in {
            "embedding_prompt": EMBEDDING_PROMPT, "annotation_prompt": ANNOTATION_PROMPT,
            "perturbation_prompt": PERTURBATION_PROMPT, "generation_prompt": GENERATION_PROMPT,
        }.items()
    }  # fmt: skip
    other = Cell2Sen(Cell2SenConfig(model_path=random_model, **settings, **prompts))
    made = []
    for cell2sen in (one, other):
        dataset = cell2sen.process_data(pbmc[:3].copy())
        assert set(dataset["organism"]) == {"human"}
        predicted = cell2sen.get_perturbations(dataset, ["A", None, "B"])
        cells = cell2sen.generate_cells(dataset, 1, ["B"], n_genes=9)
        assert set(cells.obs["c2s_organism"]) == {"human"}
        types = cell2sen.get_annotations(dataset, ["B", "T"])["c2s_cell_type_probability"]
        made.append(
            [cell2sen.get_embeddings(dataset), predicted.obsm["X_c2s"], cells.obsm["X_c2s"], types]
        )
    for first, second in zip(*made, strict=True):
        np.testing.assert_array_equal(first, second)


def test_training_goes_on_in_the_words_of_its_base(training_data, tmp_path, words_model,
                                                   random_model):  # fmt: skip
    shards = sorted((training_data / "shards").iterdir())
    summaries = sorted((training_data / "sentences").iterdir())
    options = {
        "label_column": "label", "max_steps": 1, "batch_tokens": 200, "max_answer_genes": 5,
        "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    losses = []
    for name, base, prompt in (
        ("own", words_model, None),
        ("spelled", random_model, spelled(ANNOTATION_PROMPT)),
    ):
        asked = TrainingOptions("cell_type", annotation_prompt=prompt, **options)
        finetune(shards, summaries, tmp_path / name, asked, base)
        losses.append(json.loads((tmp_path / name / "finetune.json").read_text())["train_loss"])
    assert losses[0] == losses[1]
    assert read_trained(tmp_path / "own/model").organism_words == WORDS


def test_words_in_a_prompt(tokenizer):
    cells = pd.DataFrame({"organism": ["human", "rat"], "n_genes": 1, "cell_sentence": "CD3D"})
    filled = [
        fill("{organism}: {cell_sentence}", record)
        for record in with_words(cells, WORDS).to_dict("records")
    ]
    assert filled == ["Homo sapiens: CD3D", "rat: CD3D"]
    assert with_words(cells, {}) is cells
    asked = {"embedding_prompt": Asked("{organism}: {cell_sentence}")}
    assert not list(check_context(tokenizer, 300, asked))
    assert list(check_context(tokenizer, 300, asked, "Homo sapiens " * 100))
