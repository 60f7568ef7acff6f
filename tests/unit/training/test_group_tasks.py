"""Tasks of several cells: what is trained is what is asked, of groups as a run makes them."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from real_tokenizers import gemma2_tokenizer

from c2sflow.common.errors import UserError
from c2sflow.generation.answers import GeneVocabulary
from c2sflow.generation.cell_answers import CellVocabulary
from c2sflow.generation.cell_trie import CellTrie
from c2sflow.generation.cells import _prompts, generate_cells
from c2sflow.generation.plan import MISSING, GenerationPlan, answer_template
from c2sflow.inputs.labels import GROUP, Label
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.model.trained import Trained, read_trained, task_warnings
from c2sflow.sentences.groups.drawing import SAMPLE, Grouping, draw_groups
from c2sflow.sentences.groups.prompts import about
from c2sflow.sentences.groups.text import join_sentences
from c2sflow.sentences.label_prompts import label_template
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.training.cells import TrainingCells, read_training_cells
from c2sflow.training.examples import UNCONDITIONAL, ExampleMaker, Templates
from c2sflow.training.finetuning import finetune
from c2sflow.training.groups import TrainingGroups
from c2sflow.training.material import make_epochs
from c2sflow.training.options import TrainingOptions
from c2sflow.training.trained_for import own_wording

TASKS = "tissue,tissue_generation"
OPTIONS = TrainingOptions(
    TASKS, tissue_column="treatment", cells_per_prompt=4, cells_per_answer=3, max_answer_genes=6
)


@pytest.fixture(scope="module")
def cells(training_shards):
    return read_training_cells(training_shards, ["label", "treatment"], "train")


@pytest.fixture(scope="module", params=["bundled", "Gemma-2"])
def any_tokenizer(request, tokenizer):
    if request.param == "bundled":
        return tokenizer
    try:
        return load_tokenizer(gemma2_tokenizer())
    except LookupError as reason:
        pytest.skip(f"no Gemma-2 tokenizer: {reason}")


def maker_of(cells, tokenizer, context=2048, templates=None, **columns):
    columns = columns or {"tissue_column": "treatment"}
    templates = templates or Templates()
    return ExampleMaker(cells, tokenizer, templates, context=context, max_answer_genes=6, **columns)


def draws_of(cells, options, n=60):
    epochs, warnings = make_epochs(cells, options)
    assert warnings == []
    return [epochs[number] for number in range(n)]


def asked_by_generation(tokenizer, organism, name, kind, n_cells, n_genes):
    """The prompt of `generate_cells` for one answer."""
    plan = GenerationPlan.from_options(
        n_cells, organism, name if kind == "cell_type" else None, "auto",
        n_cells if n_cells > 1 else None, name if kind == "tissue" else None,
    )  # fmt: skip
    rows = plan.cells(0).drop_duplicates("organism").assign(n_genes=n_genes, num_cells=n_cells)
    template = answer_template(None, plan.names, several=True)
    (ids,) = _prompts(tokenizer, rows, template, several=True)
    return ids.tolist()


@pytest.mark.parametrize(("column", "kind"), [("treatment", "tissue"), ("label", "cell_type")])
def test_cells_to_generate_are_asked_for_and_written_as_in_a_run(
    any_tokenizer, cells, column, kind
):
    """Prompt and answer, token by token; and decoding restricted to genes allows the answer."""
    words = sorted({gene for row in range(len(cells)) for gene in cells.genes(row)})
    vocabulary = GeneVocabulary(any_tokenizer, words)
    option = {"tissue": "tissue_column", "cell_type": "label_column"}[kind]
    options = TrainingOptions(
        "tissue_generation", cells_per_answer=3, max_answer_genes=6, **{option: column}
    )
    templates = Templates.load(tasks=options.shares(), names=kind)
    draws = draws_of(cells, options)
    made = maker_of(cells, any_tokenizer, templates=templates, **{option: column})(draws)
    n_unnamed = 0
    for draw, example in zip(draws, made, strict=True):
        ids = example.input_ids.tolist()
        several = CellVocabulary(any_tokenizer, vocabulary, 3).of(len(draw.members))
        names = {cells.record(row)[column] for row in draw.members}
        assert len(names) == 1
        prompts = [
            asked_by_generation(any_tokenizer, "human", name, own, len(draw.members), 6)
            for name, own in ((names.pop(), kind), (None, ""))
            if name is not None or own == ""
        ]
        n_unnamed += ids[: example.n_prompt] == prompts[-1]
        assert ids[: example.n_prompt] in prompts
        first = dict(zip(vocabulary.tokens, several.tokens.first, strict=True))
        answer = []
        parts = [*several.tokens.between, several.tokens.end]
        for row, end in zip(draw.members, parts, strict=True):
            begin, *others = cells.genes(row, 6)
            answer += [*first[begin], *(t for gene in others for t in vocabulary.tokens[gene])]
            answer += end
        assert ids[example.n_prompt :] == [*answer, any_tokenizer.eos_token_id]
    assert 0 < n_unnamed < len(draws) * 3 * UNCONDITIONAL
    trie = CellTrie(list(vocabulary.tokens.values()), several.tokens, [any_tokenizer.eos_token_id])
    assert_allowed(trie, ids[example.n_prompt :])


def assert_allowed(trie, ids):
    import torch

    state = trie.start(1)
    places = np.searchsorted(trie.tokens.numpy(), ids)
    for step, place in enumerate(places.tolist()):
        allowed = trie.constrain(torch.zeros(1, trie.n_valid), state)
        assert allowed[0, place] == 0
        trie.advance(state, torch.tensor([place]), torch.tensor([step]), torch.tensor([True]))


def test_the_tissue_of_a_group_is_asked_for_as_in_a_run(any_tokenizer, cells):
    draws = [draw for draw in draws_of(cells, OPTIONS, 40) if draw.task == "tissue"]
    template = label_template(Label("tissue", level=GROUP))
    made = maker_of(cells, any_tokenizer)(draws)
    assert len(draws) > 10
    for draw, example in zip(draws, made, strict=True):
        sentences = [cells.record(row)["cell_sentence"] for row in draw.members]
        group = {
            "cell_sentence": join_sentences(sentences), "num_cells": len(sentences),
            "n_genes": max(len(text.split()) for text in sentences), "organism": "human",
        }  # fmt: skip
        asked = tokenize_prompts(any_tokenizer, template, [group], 2048)
        assert example.input_ids[: example.n_prompt].tolist() == asked.input_ids[0].tolist()
        assert example.genes == tuple(asked.sentences[0])
        answer = any_tokenizer.decode(example.input_ids[example.n_prompt : -1])
        assert {f" {cells.record(row)['treatment']}" for row in draw.members} == {answer}


def test_cells_that_do_not_fit_keep_the_same_number_of_genes(tokenizer, cells):
    (draw,) = [d for d in draws_of(cells, OPTIONS, 40) if d.task == "tissue_generation"][:1]
    (whole,) = maker_of(cells, tokenizer)([draw])
    context = whole.input_ids.size - 4
    (cut,) = maker_of(cells, tokenizer, context=context)([draw])
    assert cut.input_ids.size <= context
    prompt = tokenizer.decode(cut.input_ids[: cut.n_prompt])
    n_genes = next(n for n in range(1, 6) if f"list of {n} genes" in prompt)
    answer = tokenizer.decode(cut.input_ids[cut.n_prompt : -1])
    kept = [" ".join(cells.genes(row, n_genes)) for row in draw.members]
    assert f"Cell 1:\n{answer}" == join_sentences(kept) + "."
    with pytest.raises(UserError, match=r"of 3 cells of one gene has .* fewer --cells_per_answer"):
        maker_of(cells, tokenizer, context=whole.n_prompt + 5)([draw])


def test_all_wordings_take_turns(tokenizer, cells):
    templates = Templates.load(variant="all", tasks=OPTIONS.shares())
    draws = draws_of(cells, OPTIONS, 400)
    made = maker_of(cells, tokenizer, templates=templates)(draws)
    prompts = [tokenizer.decode(one.input_ids[1 : one.n_prompt]) for one in made]
    for task in TASKS.split(","):
        for wording in WORDINGS[task]:
            begin = wording.partition("{")[0]
            assert any(
                p.startswith(begin) for p, d in zip(prompts, draws, strict=True) if d.task == task
            )


CELLS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", None]), st.sampled_from(["t", "u"])
    ),
    min_size=1,
    max_size=40,
)


def table_of(rows):
    frame = pd.DataFrame(rows, columns=["sample", "cluster", "tissue"])
    return frame.assign(
        cell_id=[f"c{n}" for n in range(len(rows))], organism="human", n_genes=3, n_sentence_genes=3
    )


@given(rows=CELLS, most=st.integers(2, 5), by=st.sampled_from([SAMPLE, "cluster"]),
       across=st.booleans(), full=st.booleans())  # fmt: skip
def test_each_drawing_puts_every_cell_into_one_group(rows, most, by, across, full):
    obs = table_of(rows)
    grouping = Grouping(most, by, across, seed=7, full=full)
    groups = TrainingGroups(obs, grouping, obs["tissue"].to_numpy(dtype=object))
    usable = set(np.flatnonzero(obs["cluster"].notna() | (by == SAMPLE)))
    if not usable:
        assert groups.n_groups == 0
        return
    shared = ["tissue", by] if across else list({"tissue": 0, by: 0, "sample": 0})
    drawings = [
        [
            groups[number]
            for number in range(drawing * groups.n_groups, (drawing + 1) * groups.n_groups)
        ]
        for drawing in range(3)
    ]
    for drawing in drawings:
        assert sorted(row for members in drawing for row in members) == sorted(usable)
        sizes = {}
        for members in drawing:
            kinds = set(obs.iloc[list(members)][shared].itertuples(index=False, name=None))
            assert len(kinds) == 1
            sizes.setdefault(kinds.pop(), []).append(len(members))
        for own in sizes.values():
            assert max(own) <= most
            rest = sum(own) % most
            if full:
                assert sorted(own, reverse=True) == [most] * (sum(own) // most) + [rest] * (
                    rest > 0
                )
            else:
                assert max(own) - min(own) <= 1
                assert len(own) == -(-sum(own) // most)
    assert groups[0] == drawings[0][0]  # whatever was looked at before


def test_the_first_drawing_is_that_of_the_run():
    """Where the cells of a value are of one tissue, as GROUPS draws them."""
    obs = table_of([("ab"[n % 2], "xy"[n % 3 == 0], "t") for n in range(50)])
    grouping = Grouping(4, "cluster", seed=3)
    own = TrainingGroups(obs, grouping, obs["tissue"].to_numpy(dtype=object))
    run = draw_groups(obs, grouping)
    drawn = np.split(run.order, run.starts[1:])
    assert {own[number] for number in range(own.n_groups)} == {
        tuple(rows.tolist()) for rows in drawn
    }


def test_groups_change_from_drawing_to_drawing_and_an_epoch_holds_all():
    obs = table_of([("a", "x", "t")] * 12)
    cells = TrainingCells(
        obs.drop(columns="n_sentence_genes"), pa.array(["A B C"] * 12, pa.large_string())
    )
    options = TrainingOptions("tissue_generation", tissue_column="tissue", cells_per_answer=4)
    epochs, _ = make_epochs(cells, options)
    assert epochs.n_examples == 3
    members = [epochs[number].members for number in range(6)]
    assert sorted(row for group in members[:3] for row in group) == list(range(12))
    assert set(members[:3]) != set(members[3:])
    mixed = TrainingOptions("generation,tissue_generation", cells_per_answer=4)
    epochs, _ = make_epochs(cells, mixed)
    assert (epochs.n_examples, epochs.counts) == (12, {"generation": 6, "tissue_generation": 6})


def test_cells_without_a_tissue_are_asked_for_without_one_and_have_none_to_predict():
    obs = table_of([("a", "x", "t")] * 4 + [("a", "x", None)] * 4)
    cells = TrainingCells(
        obs.drop(columns="n_sentence_genes"), pa.array(["A B C"] * 8, pa.large_string())
    )
    options = TrainingOptions(TASKS, tissue_column="tissue", cells_per_prompt=4, cells_per_answer=4)
    epochs, _ = make_epochs(cells, options)
    drawn = {(d.task, frozenset(d.members)) for d in (epochs[n] for n in range(30))}
    known, unknown = frozenset(range(4)), frozenset(range(4, 8))
    assert drawn == {
        ("tissue", known), ("tissue_generation", known), ("tissue_generation", unknown),
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(training_data, demo_model, tmp_path_factory):
    """The bundled model, whose answers were of one cell, after thirty steps on several."""
    folder = tmp_path_factory.mktemp("trained")
    base = shutil.copytree(demo_model, folder / "base")
    Trained(tasks=("generation",)).write(base)
    options = TrainingOptions(
        "tissue_generation", "full", tissue_column="treatment", cells_per_answer=3,
        max_answer_genes=6, epochs=100, max_steps=30, evaluate_every=30, batch_tokens=2000,
        learning_rate=0.002, device="cpu", dtype="float32",
    )  # fmt: skip
    shards, summaries = ((training_data / name).iterdir() for name in ("shards", "sentences"))
    finetune(sorted(shards), sorted(summaries), folder / "made", options, base)
    return folder / "made"


@pytest.mark.usefixtures("one_thread")
def test_trained_on_groups_the_model_generates_groups(trained, demo_model, pbmc):
    plan = GenerationPlan.from_options(30, "human", None, "auto", 3, "control\nIFN")
    genes = {"human": list(pbmc.var_names.str.upper())}

    def there(directory):
        model = load_model(directory, head=True, device="cpu", dtype="float32")
        made, _ = generate_cells(
            model, load_tokenizer(directory), plan.cells(0), genes,
            answer_template(None, "tissue", several=True), num_genes=6, length=AnswerLength(6),
            temperature=1.0, progress=False,
        )  # fmt: skip
        return int((made["c2s_finish_reason"] != MISSING).sum())

    untrained, n_found = there(demo_model), there(trained / "model")
    assert untrained < 30 < 40 < n_found  # of 60


def test_what_it_was_trained_on_is_on_record(trained):
    known = read_trained(trained / "model")
    assert known.tasks == ("generation", "tissue_generation")
    assert (known.max_answer_genes, known.prompts) == (6, {})
    assert task_warnings(known, ["cells_per_answer"], "it") == []
    record = json.loads((trained / "finetune.json").read_text())
    asked = {"tissue_column": "treatment", "cells_per_answer": 3, "group_by": "sample"}
    assert record["options"].items() >= asked.items()
    card = (trained / "model/README.md").read_text()
    assert "| tissue_generation | 100% | tissue or label (in 10% of the examples none)" in card
    assert WORDINGS["tissue_generation"][0].partition("{num_cells}")[0] in card


@pytest.mark.parametrize("kind", ["tissue", "cell_type", ""])
def test_another_wording_is_on_record(kind):
    first, second = (about(WORDINGS["tissue_generation"][n], kind) for n in (0, 4))
    assert own_wording(f"Blood.\n{first}", "tissue_generation") is None
    assert own_wording(f"Blood.\n{second}", "tissue_generation") == second
    assert own_wording("{num_cells}:", "tissue_generation") == "{num_cells}:"


def test_neighbours_are_refused():
    with pytest.raises(UserError, match="by sample or by a column of obs"):
        TrainingOptions("tissue_generation", cells_per_answer=3, group_by="neighbours")
