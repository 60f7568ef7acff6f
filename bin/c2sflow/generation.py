"""Generation of cell sentences: batched decoding in which finished rows leave.

The loop is ours because of what transformers' own cannot give: its continuous batching drops
Gemma-2's soft-cap, and `generate` carries finished rows to the end and keeps every step's logits
to give a likelihood. Rows are independent: prompts are padded on the left, positions count real
tokens, and samples are drawn from a generator of the row's own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from c2sflow.batching import (
    pad_left,
    progress_bar,
    resolve_max_batch_tokens,
    run_batches,
    token_batches,
)
from c2sflow.gene_trie import GeneTrie


@dataclass
class Answer:
    """One generated answer.

    Attributes
    ----------
    token_ids
        Generated tokens without the end token.
    finish_reason
        "eos", or "length" if cut by max_new_tokens.
    log_likelihood
        Sum of the natural-log probabilities the model gives the generated tokens (end token
        included), at temperature 1.
    """

    token_ids: list[int] = field(default_factory=list)
    finish_reason: str = "length"
    log_likelihood: float = 0.0


@dataclass
class GenerationStats:
    """What a run of `generate_tokens` did."""

    n_prompt_tokens: int = 0
    n_new_tokens: int = 0
    seconds: float = 0.0
    max_batch_tokens: int = 0


def end_tokens(model: PreTrainedModel, tokenizer_eos: int | None) -> list[int]:
    """Ids that end an answer: the generation config's and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [*configured, tokenizer_eos] if token is not None})


def row_generator(seed: int, key: str) -> torch.Generator:
    """Random numbers of one answer: by seed and key (cell, perturbation, sample), not by batch."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class _Sampler:
    """Next tokens of a batch: the likeliest, or drawn at a temperature by each row's generator."""

    def __init__(self, temperature: float, generators: Sequence[torch.Generator] | None):
        self.temperature = temperature
        self.generators = generators

    def __call__(self, log_probs: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        if not self.temperature:
            return log_probs.argmax(dim=-1)
        # Gumbel's trick: the largest of log p / T + Gumbel noise is a draw from the softmax. The
        # noise is made on the CPU so that a GPU gives the same sample.
        size = log_probs.shape[-1]
        noise = torch.stack([torch.rand(size, generator=self.generators[row]) for row in rows])
        gumbel = -(-noise.clamp_min(1e-20).log()).log()
        return (log_probs / self.temperature + gumbel.to(log_probs.device)).argmax(dim=-1)


@torch.inference_mode()
def _decode_batch(
    model: PreTrainedModel,
    input_ids: Sequence[np.ndarray],
    rows: np.ndarray,
    pad_token_id: int,
    eos: torch.Tensor,
    max_new_tokens: int,
    sampler: _Sampler,
    trie: GeneTrie | None,
) -> list[Answer]:
    """Answers of the prompts of one batch; `rows` are their positions in the whole run."""
    device = model.device
    ids, mask = pad_left(input_ids, pad_token_id, device)
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    cache = DynamicCache(config=model.config)
    answers = [Answer() for _ in rows]
    alive = np.arange(rows.size)
    state = trie.start(rows.size) if trie else None
    for step in range(max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        log_probs = output.logits[:, -1].float().log_softmax(dim=-1)
        allowed = trie.constrain(log_probs, state) if trie else log_probs
        chosen = sampler(allowed, rows[alive])
        scores = log_probs.gather(1, chosen[:, None])[:, 0]
        ended = torch.isin(chosen, eos)
        tokens, scores, stop = chosen.tolist(), scores.tolist(), ended.cpu().numpy()
        for row, token, score, done in zip(alive, tokens, scores, stop, strict=True):
            answers[row].log_likelihood += score
            if done:
                answers[row].finish_reason = "eos"
            else:
                answers[row].token_ids.append(token)
        if trie:
            trie.advance(state, chosen, step)
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        if stop.all():
            return answers
        if stop.any():
            keep = (~ended).nonzero()[:, 0]
            ids, mask, positions = ids[keep], mask[keep], positions[keep]
            cache.batch_select_indices(keep)
            alive = alive[~stop]
            if trie:
                state.keep(keep)
    if trie:  # max_new_tokens cut the last gene of some: what is left of it is no gene
        ends = torch.where(trie.complete(state), max_new_tokens, state.begun).tolist()
        for row, end in zip(alive, ends, strict=True):
            del answers[row].token_ids[end:]
    return answers


def generate_tokens(
    model: PreTrainedModel,
    input_ids: Sequence[np.ndarray],
    pad_token_id: int,
    eos_token_ids: Sequence[int],
    *,
    max_new_tokens: int = 200,
    temperature: float = 0.0,
    trie: GeneTrie | None = None,
    keys: Sequence[str] | None = None,
    seed: int = 42,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> tuple[list[Answer], GenerationStats]:
    """Generate the answer of each prompt.

    Parameters
    ----------
    model
        A causal language model, from `c2sflow.models.load_model` with `head=True`.
    input_ids
        Token ids of each prompt; an empty prompt gets an empty answer.
    pad_token_id, eos_token_ids
        See `end_tokens`.
    max_new_tokens
        Longest answer.
    temperature
        0 is greedy; above 0 answers are sampled, each by `seed` and its entry in `keys`.
    trie
        Lets answers hold genes only; None for whatever the model says.
    max_batch_tokens
        Most tokens a batch, the tokens to come included; "auto" finds it from free memory.
    max_rows
        Most prompts a batch; None for no other limit than tokens.

    Returns
    -------
    Answers in the order of `input_ids`, and the figures of the run.
    """
    lengths = np.array([ids.size for ids in input_ids], dtype=np.int64)
    stats = GenerationStats(n_prompt_tokens=int(lengths.sum()))
    stats.max_batch_tokens = resolve_max_batch_tokens(max_batch_tokens, model)
    eos = torch.tensor(list(eos_token_ids), device=model.device)
    answers = [Answer() for _ in input_ids]
    started = time.perf_counter()

    def run(batch: np.ndarray) -> None:
        # Generators are made anew, so that a batch halved after running out of memory draws
        # the same numbers again.
        generators = {row: row_generator(seed, keys[row]) for row in batch} if temperature else None
        sampler = _Sampler(temperature, generators)
        prompts = [input_ids[row] for row in batch]
        decoded = _decode_batch(
            model, prompts, batch, pad_token_id, eos, max_new_tokens, sampler, trie
        )
        for row, answer in zip(batch, decoded, strict=True):
            answers[row] = answer

    limits = {"extra": max_new_tokens, "max_rows": max_rows}
    batches = token_batches(lengths, stats.max_batch_tokens, **limits)
    with progress_bar(int((lengths > 0).sum()), "answer", progress) as bar:
        run_batches(batches, run, bar.update)
    stats.seconds = time.perf_counter() - started
    stats.n_new_tokens = sum(len(answer.token_ids) for answer in answers)
    return answers, stats
