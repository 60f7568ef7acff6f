"""Answers of the model to genes, and to cell sentences with figures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.generation.decoding import (
    Answer,
    Decoding,
    GenerationStats,
    end_tokens,
    generate_tokens,
)
from c2sflow.generation.logits import GeneTrie, gene_tokens


@dataclass
class ParsedAnswer:
    """A predicted sentence.

    Attributes
    ----------
    genes
        Valid genes, each once, in the order of the answer.
    n_invalid
        Words that are no gene of the data set.
    n_duplicate
        Repeated genes.
    left_out
        Last word, where it is left out as half a gene; else "".
    """

    genes: list[str]
    n_invalid: int
    n_duplicate: int
    left_out: str = ""


def parse_answer(text: str, genes: Collection[str], cut: bool = False) -> ParsedAnswer:
    """Split an answer into words and check each against the data set's genes.

    Parameters
    ----------
    text
        The decoded answer.
    genes
        A set of the words of `c2sflow.sentences.ranking.gene_words`.
    cut
        The answer was cut by max_new_tokens: its last word may be half a gene, and is left out,
        neither valid nor invalid, unless it is one.
    """
    words = text.replace(",", " ").split()
    left_out = ""
    if words:
        last = words[-1]
        words[-1] = last.rstrip(".")  # the prompt's own sentences end with a full stop
        if cut and words[-1] not in genes:
            words.pop()
            left_out = last
    valid = [word for word in words if word in genes]
    distinct = list(dict.fromkeys(valid))
    return ParsedAnswer(distinct, len(words) - len(valid), len(valid) - len(distinct), left_out)


class AnswerOptions(TypedDict, total=False):
    """Keywords of `answer_sentences` but for max_new_tokens."""

    valid_genes_only: bool
    no_repeats: bool
    temperature: float
    top_p: float
    seed: int
    max_batch_tokens: int | str | None
    max_rows: int | None
    progress: bool


def answer_sentences(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Sequence[np.ndarray],
    keys: Sequence[str],
    genes: Collection[str],
    *,
    valid_genes_only: bool = True,
    no_repeats: bool = True,
    max_new_tokens: int = 200,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 42,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> tuple[pd.DataFrame, GenerationStats]:
    """Generate the sentence that answers each prompt.

    Parameters
    ----------
    model
        Causal language model with its head.
    input_ids
        Token ids of each prompt; an empty prompt gets an empty answer.
    keys
        What the samples of each answer are drawn by, besides `seed`: all different.
    genes
        Words of the data set's genes; other words count as invalid.
    valid_genes_only
        Restrict answers to `genes`; else the words of the answer are counted.
    no_repeats
        With `valid_genes_only`: each gene at most once.
    temperature, top_p
        0 is greedy; else answers are sampled, from the likeliest tokens that together have the
        probability `top_p`.
    max_batch_tokens, max_rows
        See `c2sflow.generation.decoding.generate_tokens`.

    Returns
    -------
    A row a prompt: c2s_sentence (valid genes, each once), c2s_n_predicted_genes,
    c2s_invalid_genes, c2s_duplicate_genes, c2s_finish_reason, c2s_log_likelihood (of the tokens of
    the sentence and of its end, not of a last gene that is cut); and the figures of the run.
    """
    eos = end_tokens(model, tokenizer.eos_token_id)
    trie = None
    if valid_genes_only:
        paths = gene_tokens(tokenizer, list(genes)).values()
        trie = GeneTrie(list(paths), eos, model.config.vocab_size, model.device, no_repeats)
    decoding = Decoding(
        pad_token_id=tokenizer.pad_token_id,
        eos_token_ids=eos,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        trie=trie,
        seed=seed,
    )
    answers, stats = generate_tokens(
        model,
        input_ids,
        decoding,
        keys=keys,
        max_batch_tokens=max_batch_tokens,
        max_rows=max_rows,
        progress=progress,
    )
    texts = tokenizer.batch_decode([a.token_ids for a in answers], skip_special_tokens=True)
    known = frozenset(genes)
    parsed = [
        parse_answer(text, known, cut=answer.finish_reason == "length")
        for text, answer in zip(texts, answers, strict=True)
    ]
    frame = pd.DataFrame(
        {
            "c2s_sentence": [" ".join(answer.genes) for answer in parsed],
            "c2s_n_predicted_genes": [len(answer.genes) for answer in parsed],
            "c2s_invalid_genes": [answer.n_invalid for answer in parsed],
            "c2s_duplicate_genes": [answer.n_duplicate for answer in parsed],
            "c2s_finish_reason": [answer.finish_reason for answer in answers],
            "c2s_log_likelihood": [
                _log_likelihood(tokenizer, answer, text, words.left_out)
                for answer, text, words in zip(answers, texts, parsed, strict=True)
            ],
        }
    )
    return frame, stats


def _log_likelihood(
    tokenizer: PreTrainedTokenizerBase, answer: Answer, text: str, left_out: str
) -> float:
    """Of the tokens before a last word that is left out; of all where none is."""
    if not left_out:
        return answer.log_likelihood
    kept = text[: text.rindex(left_out)].rstrip(" ,")
    n = len(answer.token_ids)
    while n:
        shorter = str(tokenizer.decode(answer.token_ids[: n - 1], skip_special_tokens=True))
        if not shorter.startswith(kept):
            break
        n -= 1
    return float(sum(answer.log_likelihoods[:n]))
