"""Prompts to tokens: cut between genes, the sentence's place, chunks ahead of the model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.model import tokenization
from c2sflow.model.loading import load_tokenizer
from c2sflow.model.tokenization import tokenize_ahead, tokenize_prompts
from c2sflow.sentences.groups.text import join_sentences
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, fill, first_genes

GROUP_PROMPT = "{num_genes} genes of {num_cells} {organism} cells\n{cell_sentence}.\nTissue:"


@pytest.fixture(scope="module")
def tokenizer(random_model):
    return load_tokenizer(random_model)


@given(context=st.integers(60, 300))
def test_long_prompts_are_cut_between_genes(tokenizer, records, context):
    whole = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 512)
    cut = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, context)
    assert (cut.n_tokens <= context).all()
    assert list(cut.truncated) == list(whole.n_tokens > context)
    for record, ids, n_genes, was_cut in zip(
        records, cut.input_ids, cut.n_genes, cut.truncated, strict=True
    ):
        if record["n_genes"] == 0:
            assert ids.size == 0
            continue
        prompt = fill(EMBEDDING_PROMPT, first_genes(record, n_genes))
        assert list(ids) == tokenizer(prompt)["input_ids"]
        if was_cut:  # one gene more would not have fitted
            longer = fill(EMBEDDING_PROMPT, first_genes(record, n_genes + 1))
            assert len(tokenizer(longer)["input_ids"]) > context


@given(context=st.integers(90, 400), n_cells=st.integers(2, 5))
def test_cells_of_a_group_are_cut_alike(tokenizer, records, context, n_cells):
    """Each keeps the same number of genes, as many as fit."""
    full = [record for record in records if record["n_genes"]]
    groups = [full[n : n + n_cells] for n in range(0, len(full) - n_cells, n_cells)]
    made = [
        {
            "organism": "human",
            "num_cells": n_cells,
            "cell_sentence": join_sentences([record["cell_sentence"] for record in group]),
            "n_genes": max(record["n_genes"] for record in group),
        }
        for group in groups
    ]
    cut = tokenize_prompts(tokenizer, GROUP_PROMPT, made, context)
    assert (cut.n_tokens <= context).all()
    for record, group, ids, n_genes, was_cut in zip(
        made, groups, cut.input_ids, cut.n_genes, cut.truncated, strict=True
    ):
        own = [" ".join(one["cell_sentence"].split()[:n_genes]) for one in group]
        expected = {**record, "cell_sentence": join_sentences(own), "n_genes": n_genes}
        assert list(ids) == tokenizer(fill(GROUP_PROMPT, expected))["input_ids"]
        assert was_cut == (n_genes < record["n_genes"])
        if was_cut:
            longer = fill(GROUP_PROMPT, first_genes(record, n_genes + 1))
            assert len(tokenizer(longer)["input_ids"]) > context


def test_a_prompt_that_leaves_no_room_is_refused(tokenizer, records):
    with pytest.raises(UserError, match="shorten the prompt"):
        tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 10)


def test_the_sentence_is_found_in_the_tokens(tokenizer, records):
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 512)
    for record, ids, (start, end) in zip(
        records, prompts.input_ids, prompts.sentences, strict=True
    ):
        assert tokenizer.decode(ids[start:end]).strip() == record["cell_sentence"]


@pytest.mark.parametrize("mixed", [False, True])
def test_ahead_is_the_same_in_another_order(tokenizer, records, mixed, monkeypatch):
    monkeypatch.setattr(tokenization, "CHUNK", 5)
    straight = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 512)
    seen = []
    chunks = list(tokenize_ahead(tokenizer, EMBEDDING_PROMPT, records, 512, mixed))
    for rows, prompts in chunks:
        for row, ids in zip(rows, prompts.input_ids, strict=True):
            np.testing.assert_array_equal(ids, straight.input_ids[row])
        np.testing.assert_array_equal(prompts.n_genes, straight.n_genes[rows])
        seen.extend(rows)
    assert sorted(seen) == list(range(len(records)))
    longest = max(range(len(records)), key=lambda row: len(records[row]["cell_sentence"]))
    assert longest in chunks[0][0]
