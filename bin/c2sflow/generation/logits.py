"""Tokens of genes as answers hold them, and the token drawn from logits."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

LOGGER = logging.getLogger(__name__)
CHUNK = 8192  # texts that are encoded at once: encodings are larger than the tokens taken of them
ANCHOR = ":"  # what a gene's tokens are made behind; symbols are split differently after a space
GENE_END = f"{ANCHOR} A"  # any gene ends in a letter or digit


def answer_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, list[int]]:
    """Tokens of each text with its leading space, as in an answer.

    A text that does not come back from its tokens is left out.
    """
    found = behind(tokenizer, ANCHOR, [f" {text}" for text in texts])
    return {text: found[f" {text}"] for text in texts if f" {text}" in found}


def behind(
    tokenizer: PreTrainedTokenizerBase, before: str, texts: Sequence[str]
) -> dict[str, list[int]]:
    """Tokens of each text behind another, those left out that have no beginning of their own.

    A text that does not come back from its tokens is left out too.
    """
    # By this call the tokenizer neither pads nor cuts what its backend encodes below.
    head = tokenizer(before, add_special_tokens=False)["input_ids"]
    whole_head = _decoded(tokenizer, [head]) == [before]  # else something of it was stripped
    tokens: dict[str, list[int]] = {}
    for start in range(0, len(texts), CHUNK):
        some = texts[start : start + CHUNK]
        whole = [before + text for text in some]
        # Without offsets: less than half the work of the tokenizer's own call; by all threads.
        encoded = tokenizer.backend_tokenizer.encode_batch_fast(whole, add_special_tokens=False)
        ids = [encoding.ids for encoding in encoded]
        written = _decoded(tokenizer, ids)
        for text, own, back, asked in zip(some, ids, written, whole, strict=True):
            if back != asked:
                continue
            # Where the text begins is plain if the tokens before it are what they are alone.
            plain = whole_head and own[: len(head)] == head
            cut = len(head) if plain else _cut(tokenizer, before, asked)
            if cut is not None and cut < len(own):
                tokens[text] = own[cut:]
    return tokens


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: list[list[int]]) -> list[str]:
    """What the tokenizer writes for these tokens."""
    if tokenizer.clean_up_tokenization_spaces:
        return tokenizer.batch_decode(ids, skip_special_tokens=True)
    return tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=True)


def _cut(tokenizer: PreTrainedTokenizerBase, before: str, whole: str) -> int | None:
    """Tokens of `before` at the beginning of `whole`; None where one holds more than that."""
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    cut = sum(end <= len(before) for _, end in offsets)
    return cut if cut < len(offsets) and offsets[cut][0] >= len(before) else None


def gene_tokens(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> dict[str, list[int]]:
    """`answer_tokens` of each gene; genes that cannot be tokenized are dropped with a warning."""
    tokens = answer_tokens(tokenizer, words)
    lost = [word for word in words if word not in tokens]
    if lost:
        LOGGER.warning("this tokenizer cannot represent %d genes, such as %r", len(lost), lost[0])
    return tokens


def full_stop(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token of a full stop behind a gene, None where it is none of its own.

    The answers that cell2sentence trains on end so.
    """
    tokens = behind(tokenizer, GENE_END, ["."]).get(".", [])
    return tokens[0] if len(tokens) == 1 else None


def row_numbers(seed: int, key: str, n_steps: int) -> np.ndarray:
    """float64 (n_steps,) in [0, 1): by seed and key (cell, perturbation, sample), not by batch."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little")).random(n_steps)


def next_tokens(
    scores: torch.Tensor,
    numbers: torch.Tensor | None,
    temperature: float = 0.0,
    top_p: float = 1.0,
) -> torch.Tensor:
    """Choose a token a row.

    Parameters
    ----------
    scores
        float32 (n_rows, n_tokens): logits, or log-probabilities; -inf where forbidden.
    numbers
        float64 (n_rows,) in [0, 1), each row's own random number of this step; None if greedy.
    temperature
        0 for the likeliest token.
    top_p
        Draw only from the likeliest tokens that together have this probability.

    Returns
    -------
    int64 (n_rows,)
    """
    if not temperature:
        return scores.argmax(dim=-1)
    if numbers is None:
        raise ValueError("to draw a token takes a number for each row")
    probabilities = (scores / temperature).softmax(dim=-1)
    if top_p >= 1:
        return _draw(probabilities, numbers)
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    place = _draw(ordered.masked_fill(before >= top_p, 0), numbers)
    return tokens.gather(1, place[:, None])[:, 0]


def _draw(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first token up to which the weights exceed a row's share of their sum."""
    sums = weights.cumsum(dim=-1, dtype=torch.float64)
    place = torch.searchsorted(sums, (numbers[:, None] * sums[:, -1:]), right=True)[:, 0]
    return place.clamp_max(weights.shape[-1] - 1)
