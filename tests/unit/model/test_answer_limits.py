"""An answer's limit in genes, and the tokens that so many genes need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.trained import Trained


@pytest.fixture(scope="module")
def lengths(demo_model, pbmc):
    """Tokens of genes that the bundled model knows as one, or has to spell."""
    words = [*pbmc.var_names, *(f"RP11-{n}K{n % 7}.1" for n in range(400))]
    words += [f"LOC{n}" for n in range(100)]
    tokenizer = Tokenizer.from_file(str(demo_model / "tokenizer.json"))
    encoded = tokenizer.encode_batch([f" {word}" for word in words], add_special_tokens=False)
    return np.array([len(one.ids) for one in encoded])


@given(n_genes=st.integers(1, 1500), seed=st.integers(0, 1000))
def test_no_answer_of_the_datas_genes_is_cut_before_its_last(lengths, n_genes, seed):
    limit = AnswerLength(n_genes).limit(lengths, context=10**6)
    chosen = np.random.default_rng(seed).permutation(lengths)[:n_genes]
    assert limit.n_genes == n_genes
    assert chosen.sum() + 1 <= limit.n_tokens  # and the end
    assert limit.n_tokens <= min(n_genes, len(lengths)) * lengths.max() + 1


def test_short_answers_may_hold_the_longest_genes(lengths):
    assert AnswerLength(1).limit(lengths, 8192).n_tokens == lengths.max() + 1
    assert AnswerLength(100).limit([1] * 765, 8192).n_tokens == 101
    assert AnswerLength(100).limit([1, 3], 8192).n_tokens == 2 * 3 + 1
    assert AnswerLength(100).limit([1, 3], 8192, repeats=True).n_tokens == 100 * 3 + 1


def test_half_of_the_context_is_the_prompts_unless_tokens_are_given(lengths):
    assert AnswerLength(200).limit(lengths, 512).n_tokens == 256
    assert AnswerLength(200, n_tokens=400).limit(lengths, 512).n_tokens == 400
    assert AnswerLength(200, n_tokens=7).limit([], 512).n_tokens == 7


def test_genes_come_from_the_option_or_the_model_or_the_default(tmp_path):
    found = AnswerLength.of(tmp_path, None, None)
    assert (found.n_genes, found.source) == (200, "default")
    Trained(60).write(tmp_path)
    found = AnswerLength.of(tmp_path, None, 9)
    assert (found.n_genes, found.n_tokens, found.source) == (60, 9, "model")
    assert AnswerLength.of(tmp_path, 7, None) == AnswerLength(7, None, "option")
