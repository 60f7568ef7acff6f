"""Answers of several cells: genes only, each once a cell, counted, and the same in any batch."""

import itertools
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tape import Tape

from c2sflow.generation import captured_step, logits
from c2sflow.generation import decoding as generation
from c2sflow.generation.answers import GeneVocabulary, decoding_of
from c2sflow.generation.cell_answers import CellVocabulary, answer_cells
from c2sflow.generation.cell_tokens import cell_tokens
from c2sflow.generation.decoding import generate_tokens
from c2sflow.generation.plan import MISSING
from c2sflow.model.answer_limits import AnswerLength, AnswerLimit
from c2sflow.sentences.groups.text import FIRST, join_sentences, split_answer

GENES = ["CD8", "CD8A", "XYZ", "RP11-3", "RP11-3.7", "ORF12345", "TRBV20OR9-2", "FTL", "B2M"]
N_CELLS, MOST, N_ANSWERS = 3, 2, 30


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return CellVocabulary(tokenizer, GeneVocabulary(tokenizer, GENES), N_CELLS)


@pytest.fixture(scope="module")
def prompts(tokenizer, records):
    """As unlike each other as cells are: an untrained model answers like ones alike."""
    cells = [record["cell_sentence"].split() for record in records]
    genes = [cell[n : n + 9] for n in (0, 12) for cell in cells]
    texts = [f"{' '.join(own)} cells:\n{FIRST}" for own in genes if own][:N_ANSWERS]
    return [np.asarray(ids, dtype=np.int32) for ids in tokenizer(texts)["input_ids"]]


def answers(model, tokenizer, prompts, vocabulary, keys=None, n_tokens=300, **options):
    keys = keys or [str(n) for n in range(len(prompts))]
    limit = AnswerLimit(MOST, n_tokens)
    return answer_cells(
        model, tokenizer, prompts, keys, vocabulary, limit, progress=False, **options
    )[0]


HOW = [{}, {"temperature": 30.0}, {"temperature": 1.0, "top_p": 0.9, "likelihood": "full"}]


@pytest.fixture(scope="module")
def straight(model, tokenizer, prompts, vocabulary):
    return cache(lambda how: answers(model, tokenizer, prompts, vocabulary, **dict(how)))


@pytest.mark.parametrize("how", HOW, ids=str)
def test_cells_hold_genes_each_once_and_no_more_than_asked_for(straight, how):
    made = straight(tuple(how.items()))
    assert len(made) == N_ANSWERS * N_CELLS
    assert (made[["c2s_invalid_genes", "c2s_duplicate_genes"]] == 0).all(axis=None)
    there = made["c2s_finish_reason"] != MISSING
    counts = made["c2s_n_predicted_genes"]
    for text, n, is_there in zip(made["c2s_sentence"], counts, there, strict=True):
        genes = text.split()
        assert set(genes) <= set(GENES)
        assert len(genes) == len(set(genes)) == n <= MOST
        assert bool(genes) == is_there
    # What is missing is at the end; a cell that was cut has as many genes as it may.
    assert (np.diff(there.to_numpy().reshape(N_ANSWERS, N_CELLS).astype(int), axis=1) <= 0).all()
    cut = made["c2s_finish_reason"] == "length"
    assert (made.loc[cut, "c2s_n_predicted_genes"] == MOST).all()
    likelihood = made.filter(like="likelihood").squeeze(axis=1)
    assert likelihood.isna().equals(~there)


def test_all_that_can_happen_happens(straight):
    """Else the tests here would hold for nothing."""
    made = straight((("temperature", 30.0),))
    assert set(made["c2s_finish_reason"]) == {"eos", "length", MISSING}
    assert (made["c2s_sentence"].to_numpy().reshape(N_ANSWERS, N_CELLS)[:, 1] != "").sum() > 1
    # A gene of one cell is free in the next.
    texts = made["c2s_sentence"].str.split().tolist()
    assert any(set(one) & set(next_) for one, next_ in itertools.pairwise(texts))


@settings(max_examples=6)
@given(
    seed=st.integers(0, 1000),
    max_rows=st.integers(1, 5),
    steps=st.sampled_from([1, 8]),
    how=st.sampled_from(HOW),
    captures=st.sampled_from([{}, {"cpu": Tape}]),
)
def test_the_batch_changes_nothing(
    model, tokenizer, prompts, vocabulary, straight, seed, max_rows, steps, how, captures
):
    expected = straight(tuple(how.items()))
    order = np.random.default_rng(seed).permutation(N_ANSWERS)[:6]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "STEPS", {"cpu": steps})
        patch.setattr(captured_step, "CAPTURES", captures)
        made = answers(
            model, tokenizer, [prompts[n] for n in order], vocabulary, [str(n) for n in order],
            max_rows=max_rows, **how,
        )  # fmt: skip
    rows = [n * N_CELLS + k for n in order for k in range(N_CELLS)]
    wanted = expected.iloc[rows].reset_index(drop=True)
    pd.testing.assert_frame_equal(made, wanted, rtol=1e-3, atol=1e-3)


def test_likelihoods_of_the_cells_add_up_to_that_of_the_answer(
    model, tokenizer, reference, prompts, vocabulary
):
    """The whole answer's, by one plain forward pass; and the sentences are those of its text."""
    how = {"temperature": 30.0, "likelihood": "full"}
    made = answers(model, tokenizer, prompts, vocabulary, **how)
    trie = vocabulary.trie(model, tokenizer, True)
    decoding = decoding_of(model, tokenizer, trie, AnswerLimit(MOST, 300), **how)
    plain, _ = generate_tokens(
        model, prompts, decoding, keys=[str(n) for n in range(N_ANSWERS)], progress=False
    )
    for number, (ids, answer) in enumerate(zip(prompts, plain, strict=True)):
        own = made.iloc[number * N_CELLS :][:N_CELLS]
        there = own[own["c2s_finish_reason"] != MISSING]
        end = [tokenizer.eos_token_id] * (answer.finish_reason == "eos")
        whole = torch.tensor([[*ids.tolist(), *answer.token_ids, *end]])
        with torch.no_grad():
            scores = reference(whole).logits[0, ids.size - 1 : -1].double().log_softmax(dim=-1)
        total = scores.gather(1, whole[0, ids.size :, None]).sum().item()
        assert there["c2s_log_likelihood"].sum() == pytest.approx(total, rel=1e-3)
        text = FIRST + tokenizer.decode(answer.token_ids)
        joined = join_sentences(there["c2s_sentence"].tolist())
        assert text.rstrip("\n.") == joined.rstrip("\n.")


@settings(max_examples=12)
@given(n_tokens=st.integers(1, 60))
def test_an_answer_cut_by_tokens_has_the_same_genes_up_to_there(
    model, tokenizer, prompts, vocabulary, straight, n_tokens
):
    how = {"temperature": 30.0}
    made = answers(model, tokenizer, prompts, vocabulary, n_tokens=n_tokens, **how)
    expected = straight(tuple(how.items()))
    for cut, whole in zip(made.itertuples(), expected.itertuples(), strict=True):
        assert whole.c2s_sentence.startswith(cut.c2s_sentence)
        if cut.c2s_finish_reason == "eos":
            assert cut.c2s_sentence == whole.c2s_sentence


def test_free_answers_are_parted_and_counted(tokenizer, model, prompts, vocabulary):
    made = answers(
        model, tokenizer, prompts, vocabulary, n_tokens=40, valid_genes_only=False, temperature=1.0
    )
    assert len(made) == N_ANSWERS * N_CELLS
    there = made[made["c2s_finish_reason"] != MISSING]
    assert (there["c2s_invalid_genes"] > 0).any()
    assert split_answer("A B.\nCell 2:\nC.\n.") == [("A B", 13), ("C", 17)]
    assert split_answer("A B\n\n Cell 2: C D") == [("A B", 14), ("C D", 17)]
    assert split_answer("") == [("", 0)]


def test_tokens_of_what_parts_cells_are_those_of_a_whole_text(tokenizer):
    genes = logits.gene_tokens(tokenizer, GENES)
    tokens = cell_tokens(tokenizer, genes, 3)
    text = join_sentences(["CD8 FTL", "B2M XYZ", "CD8A"])
    whole = tokenizer(f"sentences:\n{text}.", add_special_tokens=False)["input_ids"]
    first = dict(zip(genes, tokens.first, strict=True))
    made = [
        *first["CD8"], *genes["FTL"], *tokens.between[0],
        *first["B2M"], *genes["XYZ"], *tokens.between[1],
        *first["CD8A"], *tokens.end,
    ]  # fmt: skip
    assert whole[-len(made) :] == made


def test_the_answer_has_the_room_that_the_prompt_leaves(model, vocabulary):
    context = model.config.max_position_embeddings
    short = vocabulary.limit(AnswerLength(2), model, 30, {})
    longest = max(map(len, vocabulary.genes.tokens.values()))
    between = sum(map(len, [*vocabulary.tokens.between, vocabulary.tokens.end]))
    assert 2 * N_CELLS < short.n_tokens <= N_CELLS * (2 * longest + 1) + between
    assert vocabulary.limit(AnswerLength(9), model, context - 20, {}).n_tokens == 20
    assert vocabulary.limit(AnswerLength(9, 17), model, 30, {}).n_tokens == 17
