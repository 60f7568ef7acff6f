"""Training examples: the prompts of the pipeline, the answers it expects, within the context."""

import numpy as np
import pytest

from c2sflow.common.errors import UserError
from c2sflow.model.loading import load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    GENERATION_PROMPT,
    PERTURBATION_PROMPT,
    UNCONDITIONAL_PROMPT,
)
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.training.cells import read_training_cells
from c2sflow.training.examples import UNCONDITIONAL, ExampleMaker, Templates
from c2sflow.training.tasks import Draw

ALL_CELLS = WORDINGS["generation"]


@pytest.fixture(scope="module")
def cells(training_shards):
    return read_training_cells(training_shards, ["label", "treatment"], "train")


@pytest.fixture(scope="module")
def tokenizer(demo_model):
    return load_tokenizer(demo_model)


@pytest.fixture
def make(cells, tokenizer):
    def maker(templates=None, **options):
        columns = {"label_column": "label", "perturbation_column": "treatment"}
        options = {"context": 8192, **columns, **options}
        return ExampleMaker(cells, tokenizer, templates or Templates(), **options)

    return maker


def parts(tokenizer, example):
    """Text of the prompt (with its special tokens), of its genes, and of the answer."""
    ids, (first, end) = example.input_ids.tolist(), example.genes
    assert ids[-1] == tokenizer.eos_token_id
    spans = (ids[: example.n_prompt], ids[first:end], ids[example.n_prompt : -1])
    return [tokenizer.decode(span) for span in spans]


def test_cell_type(make, cells, tokenizer):
    (example,) = make()([Draw("cell_type", 4, 4, 0)])
    record = cells.record(4)
    asked = tokenize_prompts(tokenizer, ANNOTATION_PROMPT, [record], 8192).input_ids[0]
    assert example.input_ids[: example.n_prompt].tolist() == asked.tolist()
    _, genes, answer = parts(tokenizer, example)
    assert (genes.strip(), answer) == (record["cell_sentence"], f" {record['label']}")


def test_perturbation_shows_the_control_and_names_what_was_done_to_the_other(
    make, cells, tokenizer
):
    cell, control = (
        next(row for row in range(len(cells)) if cells.record(row)["treatment"] == name)
        for name in ("IFN", "control")
    )
    (example,) = make(max_answer_genes=7)([Draw("perturbation", cell, control, 0)])
    record = cells.record(control, perturbation="IFN")
    asked = tokenize_prompts(tokenizer, PERTURBATION_PROMPT, [record], 8192).input_ids[0]
    assert example.input_ids[: example.n_prompt].tolist() == asked.tolist()
    assert parts(tokenizer, example)[2].split() == cells.genes(cell, 7)


def test_a_no_op_is_asked_for_by_the_label_of_the_control_cells(make, cells, tokenizer):
    controls = [n for n in range(len(cells)) if cells.record(n)["treatment"] == "control"][:2]
    maker = make(max_answer_genes=7)
    for name in ("control", None):  # None: one that --control picks, without a label
        maker.treatments[controls[0]] = name
        (example,) = maker([Draw("perturbation", *controls, 0)])
        prompt, genes, answer = parts(tokenizer, example)
        assert "perturbation: control." in prompt
        assert genes.split() == cells.genes(controls[1])
        assert answer.split() == cells.genes(controls[0], 7)


def test_conversion(make, cells, tokenizer):
    (example,) = make(max_answer_genes=7)([Draw("conversion", 4, 9, 0)])
    prompt, genes, answer = parts(tokenizer, example)
    assert f"perturbation: conversion to {cells.record(4)['label']}." in prompt
    assert genes.split() == cells.genes(9)
    assert answer.split() == cells.genes(4, 7)


def test_generation_names_a_cell_type_or_none(make, cells, tokenizer):
    unlabelled = next(row for row in range(len(cells)) if cells.record(row)["label"] is None)
    draws = [Draw("generation", 4, 4, number) for number in range(400)]
    examples = make(max_answer_genes=7)([*draws, Draw("generation", unlabelled, unlabelled, 400)])
    texts = [parts(tokenizer, example) for example in examples]
    assert all(answer.split() == cells.genes(4, 7) for _, _, answer in texts[:-1])
    named = [f"cell of cell type {cells.record(4)['label']}." in prompt for prompt, _, _ in texts]
    unnamed = ["a human cell.\n" in prompt for prompt, _, _ in texts]
    assert all(a != b for a, b in zip(named, unnamed, strict=True))
    assert unnamed[-1]
    assert np.mean(unnamed[:-1]) == pytest.approx(UNCONDITIONAL, abs=0.05)
    assert all("list of 7 genes" in prompt for prompt, _, _ in texts)


def test_generation_without_a_type_is_asked_for_as_in_use():
    assert Templates().unconditional == UNCONDITIONAL_PROMPT
    context = "Blood of healthy donors.\n"
    assert Templates(generation=context + GENERATION_PROMPT).unconditional == (
        context + UNCONDITIONAL_PROMPT
    )
    own = "{cell_type}:"
    assert Templates(generation=own).unconditional == own


def test_each_example_of_all_wordings_has_one_drawn_by_its_number(make, tokenizer):
    maker = make(Templates.load(variant="all"))
    draws = [Draw("cell_type", 4, 4, number) for number in range(60)]
    prompts = [parts(tokenizer, example)[0] for example in maker(draws)]
    assert len(set(prompts)) == 15
    again = make(Templates.load(variant="all"))(draws[30:])
    assert [parts(tokenizer, example)[0] for example in again] == prompts[30:]
    cells_of = [Draw("generation", 4, 4, number) for number in range(120)]
    made = {parts(tokenizer, example)[0] for example in maker(cells_of)}
    wordings = [text.format(num_genes=25, organism="human", cell_type="{}") for text in ALL_CELLS]
    typed = {f"<bos>{text.format(maker.labels[4])}" for text in wordings}
    assert len(typed) == 10
    assert typed <= made
    assert len(made) > 10  # and some that name no type
    assert not [text for text in made - typed if "{" in text or "type" in text]
    perturbed = maker([Draw("perturbation", 4, 4, number) for number in range(5)])
    assert len({example.input_ids.tobytes() for example in perturbed}) == 1


def test_a_wording_by_its_number():
    templates = Templates.load(variant=3)
    assert templates.wordings("cell_type") == [WORDINGS["cell_type"][2]]
    assert templates.wordings("generation") == [WORDINGS["generation"][2]]
    assert "{cell_type}" not in templates.unconditional
    assert Templates.load(variant=12, tasks=["cell_type"]).generation == GENERATION_PROMPT
    with pytest.raises(UserError, match="has 10 wordings"):
        Templates.load(variant=12)


def test_own_prompts_with_columns_of_obs(make, cells, tokenizer):
    templates = Templates.load("{treatment}: {cell_sentence}?", None, "{label}, {num_genes}:")
    maker = make(templates)
    typed, generated = maker([Draw("cell_type", 4, 4, 0), Draw("generation", 4, 4, 0)])
    record = cells.record(4)
    assert parts(tokenizer, typed)[0].startswith(f"<bos>{record['treatment']}: ")
    assert parts(tokenizer, generated)[0] == f"<bos>{record['label']}, 25:"


def test_an_example_fits_the_context_and_keeps_its_answer(make, tokenizer):
    draws = [Draw("cell_type", 4, 4, 0), Draw("conversion", 4, 9, 1)]
    whole = make(max_answer_genes=10)(draws)
    sizes = [example.input_ids.size for example in whole]
    context = min(sizes) - 3
    short = make(max_answer_genes=10, context=context)(draws)
    for long, cut in zip(whole, short, strict=True):
        assert cut.input_ids.size <= context
        assert cut.input_ids[cut.n_prompt :].tolist() == long.input_ids[long.n_prompt :].tolist()
        shown = parts(tokenizer, cut)[1].split()
        assert shown == parts(tokenizer, long)[1].split()[: len(shown)]
    # The same alone: what else is made with it does not matter.
    assert (
        make(max_answer_genes=10, context=context)(draws[1:])[0].input_ids.tolist()
        == short[1].input_ids.tolist()
    )
    with pytest.raises(UserError, match="lower --max_answer_genes"):
        make(context=40)(draws)


def test_noise_is_by_chance_of_the_example_alone(make, cells, tokenizer):
    draws = [Draw("cell_type", 4, 4, number) for number in range(30)]
    noisy, again = make(augmentation=1)(draws), make(augmentation=1)(draws[::-1])[::-1]
    sentences = [parts(tokenizer, example)[1].split() for example in noisy]
    assert sentences == [parts(tokenizer, example)[1].split() for example in again]
    assert len(set(map(tuple, sentences))) > 25
    assert {parts(tokenizer, example)[2] for example in noisy} == {f" {cells.record(4)['label']}"}


def test_cells_are_mixed_with_their_own_kind_only(make, cells, tokenizer):
    """With cells of one label and one treatment; without labels, with none."""
    own = cells.record(4)
    kind = [
        row
        for row in range(len(cells))
        if all(cells.record(row)[name] == own[name] for name in ("label", "treatment"))
    ]
    theirs = {gene for row in kind for gene in cells.genes(row)}
    draws = [Draw("generation", 4, 4, number) for number in range(60)]
    said = [set(parts(tokenizer, example)[2].split()) for example in make(augmentation=1)(draws)]
    assert all(genes <= theirs for genes in said)
    assert any(genes - set(cells.genes(4)) for genes in said)
    alone = make(augmentation=1, label_column=None)(draws)
    assert all(
        set(parts(tokenizer, example)[2].split()) <= set(cells.genes(4)) for example in alone
    )


def test_an_answer_that_cannot_be_said_is_told(make, cells):
    maker = make()
    maker.labels = np.array(["<eos>"] * len(cells), dtype=object)
    with pytest.raises(UserError, match="cannot represent '<eos>'"):
        maker([Draw("cell_type", 4, 4, 0)])
