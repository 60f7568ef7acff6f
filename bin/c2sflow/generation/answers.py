"""Answers of the model to genes, and to cell sentences with figures."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.data.own_columns import LIKELIHOODS
from c2sflow.generation.decoding import (
    Answer,
    Decoding,
    GenerationStats,
    Likelihood,
    end_tokens,
    generate_tokens,
)
from c2sflow.generation.gene_trie import GeneTrie
from c2sflow.generation.logits import full_stop, gene_tokens
from c2sflow.model.answer_limits import AnswerLength, AnswerLimit, SeveralCells


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
    kept
        The text up to its last word that counts; None where that is all of it.
    full
        Words behind the last allowed one are left out.
    """

    genes: list[str]
    n_invalid: int
    n_duplicate: int
    kept: str | None = None
    full: bool = False


WORD = re.compile(r"[^\s,]+")


def parse_answer(
    text: str, genes: Collection[str], cut: bool = False, max_genes: int | None = None
) -> ParsedAnswer:
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
    max_genes
        Words that count, at most.
    """
    found = list(WORD.finditer(text))
    words = [match[0] for match in found]
    if words:
        words[-1] = words[-1].rstrip(".")  # the prompt's own sentences end with a full stop
    n_words = len(words)
    if cut and words and words[-1] not in genes:
        n_words -= 1
    full = max_genes is not None and n_words > max_genes
    n_words = min(n_words, max_genes or n_words)
    kept = None
    if n_words < len(words):
        kept = text[: found[n_words - 1].end()] if n_words else ""
    words = words[:n_words]
    valid = [word for word in words if word in genes]
    distinct = list(dict.fromkeys(valid))
    n_invalid, n_duplicate = len(words) - len(valid), len(valid) - len(distinct)
    return ParsedAnswer(distinct, n_invalid, n_duplicate, kept, full)


class GeneVocabulary:
    """The genes that answers may hold, and their tokens.

    Parameters
    ----------
    words
        Words of the data set's genes; those that the tokenizer cannot write are left out of
        `tokens`, with a warning.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, words: Collection[str]):
        self.words = frozenset(words)
        self.tokens = gene_tokens(tokenizer, list(words))

    def trie(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, no_repeats: bool
    ) -> GeneTrie:
        """What the answers of a model may hold."""
        eos = end_tokens(model, tokenizer.eos_token_id)
        paths = list(self.tokens.values())
        return GeneTrie(paths, eos, model.device, no_repeats, full_stop=full_stop(tokenizer))

    def limit(
        self,
        length: AnswerLength,
        model: PreTrainedModel,
        options: AnswerOptions,
        cells: SeveralCells | None = None,
    ) -> AnswerLimit:
        """The most that an answer may have, in genes and in tokens."""
        repeats = not (options.get("valid_genes_only", True) and options.get("no_repeats", True))
        context = model.config.max_position_embeddings
        return length.limit([len(ids) for ids in self.tokens.values()], context, repeats, cells)


def decoding_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trie: GeneTrie | None,
    limit: AnswerLimit,
    **how: Any,
) -> Decoding:
    """How answers within a limit are made; `how` is what else `Decoding` takes."""
    return Decoding(
        pad_token_id=tokenizer.pad_token_id,
        eos_token_ids=end_tokens(model, tokenizer.eos_token_id),
        max_new_tokens=limit.n_tokens,
        max_genes=limit.n_genes,
        trie=trie,
        **how,
    )


class AnswerOptions(TypedDict, total=False):
    """Keywords of `answer_sentences` but for the limit."""

    valid_genes_only: bool
    no_repeats: bool
    temperature: float
    top_p: float
    seed: int
    likelihood: Likelihood
    max_batch_tokens: int | str | None
    max_rows: int | None
    progress: bool


def answer_sentences(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Sequence[np.ndarray],
    keys: Sequence[str],
    genes: GeneVocabulary,
    limit: AnswerLimit,
    *,
    valid_genes_only: bool = True,
    no_repeats: bool = True,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 42,
    likelihood: Likelihood = "valid",
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
        Those of the data set; other words count as invalid.
    limit
        The most that an answer may have. Where the model continues beyond it, the answer is cut
        after its last whole gene: "length" in c2s_finish_reason.
    valid_genes_only
        Restrict answers to `genes`; else the words of the answer are counted.
    no_repeats
        With `valid_genes_only`: each gene at most once.
    temperature, top_p
        0 is greedy; else answers are sampled, from the likeliest tokens that together have the
        probability `top_p`.
    likelihood
        See `c2sflow.generation.decoding.Decoding`.
    max_batch_tokens, max_rows
        See `c2sflow.generation.decoding.generate_tokens`.

    Returns
    -------
    A row a prompt: c2s_sentence (valid genes, each once), c2s_n_predicted_genes,
    c2s_invalid_genes, c2s_duplicate_genes, c2s_finish_reason; c2s_log_likelihood_valid or
    c2s_log_likelihood, by `likelihood` (of the tokens of the sentence and of its end, not of a last
    gene that is cut); and the figures of the run.
    """
    trie = genes.trie(model, tokenizer, no_repeats) if valid_genes_only else None
    decoding = decoding_of(
        model, tokenizer, trie, limit,
        temperature=temperature, top_p=top_p, seed=seed, likelihood=likelihood,
    )  # fmt: skip
    answers, stats = generate_tokens(
        model,
        input_ids,
        decoding,
        keys=keys,
        max_batch_tokens=max_batch_tokens,
        max_rows=max_rows,
        progress=progress,
    )
    stats.limit, stats.room = limit, model.config.max_position_embeddings - limit.n_tokens
    texts = tokenizer.batch_decode([a.token_ids for a in answers], skip_special_tokens=True)
    parsed = [
        parse_answer(text, genes.words, answer.finish_reason == "length", limit.n_genes)
        for text, answer in zip(texts, answers, strict=True)
    ]
    frame = pd.DataFrame(
        {
            "c2s_sentence": [" ".join(answer.genes) for answer in parsed],
            "c2s_n_predicted_genes": [len(answer.genes) for answer in parsed],
            "c2s_invalid_genes": [answer.n_invalid for answer in parsed],
            "c2s_duplicate_genes": [answer.n_duplicate for answer in parsed],
            "c2s_finish_reason": [
                "length" if words.full else answer.finish_reason
                for answer, words in zip(answers, parsed, strict=True)
            ],
            LIKELIHOODS["valid" if decoding.valid_only else "full"]: [
                log_likelihood(tokenizer, answer, words.kept)
                for answer, words in zip(answers, parsed, strict=True)
            ],
        }
    )
    return frame, stats


def log_likelihood(tokenizer: PreTrainedTokenizerBase, answer: Answer, kept: str | None) -> float:
    """Of the tokens of the text that is kept; of all, and the end, where all of it is."""
    if kept is None:
        return answer.log_likelihood

    def holds(n_tokens: int) -> bool:
        ids = answer.token_ids[:n_tokens]
        return str(tokenizer.decode(ids, skip_special_tokens=True)).startswith(kept)

    n_tokens = bisect_left(range(len(answer.token_ids)), True, key=holds)
    return float(sum(answer.log_likelihoods[:n_tokens]))
