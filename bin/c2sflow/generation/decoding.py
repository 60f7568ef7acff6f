"""Generation of cell sentences: rows are decoded together, leave when done, and make room for more.

The loop is ours because of what transformers' own cannot give: its continuous batching drops
Gemma-2's soft-cap, and `generate` carries finished rows to the end and keeps every step's logits
to give a likelihood. Rows are independent: prompts are padded on the left, positions count real
tokens, and samples are drawn by numbers of the row's own.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from c2sflow.common.progress import progress_bar
from c2sflow.generation.captured_step import CapturedStep, capturable
from c2sflow.generation.cell_trie import CellState
from c2sflow.generation.common_beginnings import n_together, neighbours
from c2sflow.generation.few_rows import quick_products
from c2sflow.generation.gene_trie import GeneTrie
from c2sflow.generation.kv_cache import DecodeCache
from c2sflow.generation.logits import next_tokens, row_numbers
from c2sflow.generation.packed_prefill import PackedPrefill
from c2sflow.generation.prefill import prefill
from c2sflow.generation.valid_head import valid_head
from c2sflow.model.answer_limits import AnswerLimit
from c2sflow.model.batching import (
    free_bytes,
    resolve_cache_tokens,
    resolve_max_batch_tokens,
)
from c2sflow.model.memory import MemoryWatch, halved

LOGGER = logging.getLogger(__name__)
Likelihood = Literal["valid", "full"]

# Slots beyond what a row needs: how many steps rows can be exchanged before all are moved.
SPARE_SLOTS = 64
# Steps between looks at which rows are done: a look waits for the GPU, and costs a CPU nothing.
STEPS = {"cpu": 1}
STEPS_OTHERWISE = 8


@dataclass
class Answer:
    """One generated answer.

    Attributes
    ----------
    token_ids
        Generated tokens without the end token.
    finish_reason
        "eos", or "length" if cut: by max_new_tokens, or before a gene more than max_genes.
    log_likelihoods
        Natural-log probability of each of these tokens at temperature 1, among those that
        `Decoding.likelihood` names; and last that of the end token, if it ended the answer.
    cut_cells
        Of an answer of several cells (`c2sflow.generation.cell_trie`): whether each was cut, for
        the model would have continued after max_genes genes. Else empty.
    """

    token_ids: list[int] = field(default_factory=list)
    finish_reason: str = "length"
    log_likelihoods: list[float] = field(default_factory=list)
    cut_cells: list[bool] = field(default_factory=list)

    @property
    def log_likelihood(self) -> float:
        """Of the answer so far: the sum over its tokens, and its end if it has one."""
        return float(sum(self.log_likelihoods))


@dataclass
class GenerationStats:
    """What a run of `generate_tokens` did; of cell sentences also within which limit.

    room
        Tokens that the context has for a prompt.
    captured
        The steps were captured as a CUDA graph.
    """

    n_prompt_tokens: int = 0
    n_new_tokens: int = 0
    n_steps: int = 0
    limit: AnswerLimit | None = None
    room: int = 0
    seconds: float = 0.0
    max_batch_tokens: int = 0
    captured: bool = False


@dataclass
class Decoding:
    """How answers are made: see `generate_tokens`.

    With a trie, an answer ends where the model continues after max_genes genes: one that the model
    ends itself is the same with any higher limit. Of several cells (`CellTrie`) each ends so, and
    the next one begins.

    Attributes
    ----------
    likelihood
        "valid": of each token among those that the trie allows at its place; without a trie, these
        are all. "full": among all of the vocabulary, for which the whole head is computed.
    """

    pad_token_id: int
    eos_token_ids: Sequence[int]
    max_new_tokens: int = 200
    temperature: float = 0.0
    top_p: float = 1.0
    trie: GeneTrie | None = None
    seed: int = 42
    max_genes: int | None = None
    likelihood: Likelihood = "valid"

    @property
    def valid_only(self) -> bool:
        """Nothing is asked of the model but the logits of the trie's tokens."""
        return self.trie is not None and self.likelihood == "valid"


def end_tokens(model: PreTrainedModel, tokenizer_eos: int | None) -> list[int]:
    """Ids that end an answer: the generation config's and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [*configured, tokenizer_eos] if token is not None})


@torch.inference_mode()
def generate_tokens(
    model: PreTrainedModel,
    input_ids: Sequence[np.ndarray],
    decoding: Decoding,
    *,
    keys: Sequence[str] | None = None,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> tuple[list[Answer], GenerationStats]:
    """Generate the answer of each prompt.

    Parameters
    ----------
    model
        A causal language model, from `c2sflow.model.loading.load_model` with `head=True`.
    input_ids
        Token ids of each prompt; an empty prompt gets an empty answer.
    decoding
        Temperature 0 is greedy; above 0 answers are sampled, each by the seed and its entry in
        `keys`. With a trie, answers hold genes only.
    max_batch_tokens
        Most tokens decoded together, those to come included; "auto" finds it from free memory.
        Halved when memory runs out.
    max_rows
        Most prompts decoded together; None for no other limit than tokens.

    Returns
    -------
    Answers in the order of `input_ids`, and the figures of the run.

    Raises
    ------
    UserError
        If a single prompt does not fit into memory.
    """
    lengths = np.array([ids.size for ids in input_ids], dtype=np.int64)
    answers = [Answer() for _ in input_ids]
    order = neighbours(input_ids)
    waiting = deque(order)
    stats = GenerationStats(n_prompt_tokens=int(lengths.sum()))
    budget = resolve_cache_tokens(max_batch_tokens, model)
    LOGGER.info(
        "%d answers to generate: %.1f GiB free, up to %d tokens decoded together",
        len(waiting), free_bytes(model.device) / 2**30, budget,
    )  # fmt: skip
    if decoding.temperature and keys is None:
        raise ValueError("answers that are sampled need keys")
    started = time.perf_counter()
    trie = decoding.trie if decoding.valid_only else None
    head = valid_head(model, trie.tokens) if trie else nullcontext()
    packed = PackedPrefill(model)
    with head, quick_products(model), progress_bar(len(waiting), "answer", progress) as bar:
        while waiting:
            longest = int(lengths[list(waiting)].max())
            slots = longest + decoding.max_new_tokens + SPARE_SLOTS
            most = max(1, min(budget // slots, len(waiting), max_rows or len(waiting)))
            # Answers are often of one length: equal rounds, instead of full ones and a rest.
            n_rows = -(-len(waiting) // -(-len(waiting) // most))
            batch = _Batch(
                model, input_ids, keys or (), decoding, n_rows, slots, answers, stats, bar, packed
            )
            with MemoryWatch() as memory:
                batch.run(waiting)
            if memory.ran_out:
                # Whose answers are begun anew, in their place.
                again = {*batch.under_way(), *waiting}
                waiting = deque(number for number in order if number in again)
                del batch  # and its cache
                budget = halved(n_rows * slots, longest, model.device, alone=n_rows == 1)
    stats.seconds = time.perf_counter() - started
    stats.max_batch_tokens = budget
    return answers, stats


class _Batch:
    """Rows that are decoded together."""

    def __init__(
        self,
        model: PreTrainedModel,
        input_ids: Sequence[np.ndarray],
        keys: Sequence[str],
        decoding: Decoding,
        n_rows: int,
        n_slots: int,
        answers: list[Answer],
        stats: GenerationStats,
        bar: tqdm,
        packed: PackedPrefill,
    ):
        self.model, self.input_ids, self.keys, self.decoding = model, input_ids, keys, decoding
        self.packed = packed
        self.answers, self.stats, self.bar = answers, stats, bar
        self.device = model.device
        self.prompts = np.full(n_rows, -1)  # which prompt a row answers, -1 for none
        self.sizes = np.zeros(n_rows, dtype=np.int64)  # tokens of its prompt
        self.steps = np.zeros(n_rows, dtype=np.int64)  # and emitted tokens, unless the row is done
        self.longest_waiting = 0
        self.cache = DecodeCache(model.config, n_rows, n_slots, self.device)
        self.eos = torch.tensor(list(decoding.eos_token_ids), device=self.device)
        self.state = decoding.trie.start(n_rows) if decoding.trie else None
        new = decoding.max_new_tokens

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.zeros(n_rows, *shape, dtype=dtype, device=self.device)

        self.tokens, self.last, self.position = zeros(new + 1), zeros(), zeros()
        self.n_emitted, self.scores = zeros(), zeros(new + 1, dtype=torch.float64)
        self.done, self.ended = zeros(dtype=torch.bool) | True, zeros(dtype=torch.bool)
        self.numbers = zeros(new, dtype=torch.float64) if decoding.temperature else None
        self.captured = CapturedStep() if capturable(model) else None

    @property
    def step_state(self) -> list[torch.Tensor]:
        """All that a step writes, but for the cache."""
        names = ("tokens", "last", "position", "n_emitted", "scores", "done", "ended")
        own = [getattr(self, name) for name in names]
        return [*own, *self.state.tensors()] if self.state else own

    def under_way(self) -> list[int]:
        """Prompts that are not answered yet."""
        return self.prompts[self.prompts >= 0].tolist()

    def run(self, waiting: deque[int]) -> None:
        """Answer all that wait."""
        between = STEPS.get(self.device.type, STEPS_OTHERWISE)
        while True:
            self._admit(waiting)
            live = self.prompts >= 0
            if not live.any():
                return
            left = self.decoding.max_new_tokens - self.steps[live].max()
            for _ in range(min(between, int(left))):
                self._step()
            self._collect()
            self._shrink(waiting)

    def _admit(self, waiting: deque[int]) -> None:
        """Let prompts take the free rows, once a quarter of them is free."""
        free = np.flatnonzero(self.prompts < 0)
        if not waiting or 4 * free.size < self.prompts.size:
            return
        if free.size == self.prompts.size:
            self.cache.clear(self._longest(waiting))
        rows = free[: len(waiting)]
        limit = min(
            resolve_max_batch_tokens(None, self.model), self.prompts.size * self.cache.n_slots
        )
        while rows.size:
            asked = [self.input_ids[n] for n in itertools.islice(waiting, rows.size)]
            size = n_together(asked, limit)
            some, rows = rows[:size], rows[size:]
            self.prompts[some] = [waiting.popleft() for _ in some]
            self._prefill(some)
        self.longest_waiting = self._longest(waiting)

    def _longest(self, waiting: deque[int]) -> int:
        """Tokens of the longest prompt that waits, which the cache must not be shorter than."""
        return max((self.input_ids[n].size for n in waiting), default=0)

    def _prefill(self, rows: np.ndarray) -> None:
        """The prompts of new rows, and their first token."""
        prompts = self.prompts[rows]
        input_ids = [self.input_ids[n] for n in prompts]
        place = torch.from_numpy(rows).to(self.device)
        pad = self.decoding.pad_token_id
        logits = prefill(self.model, self.cache, place, input_ids, pad, self.packed)
        self.sizes[rows] = [ids.size for ids in input_ids]
        self.position[place] = torch.from_numpy(self.sizes[rows]).to(self.device)
        for tensor in (self.n_emitted, self.done, self.ended):
            tensor[place] = 0
        if self.numbers is not None:
            new = self.decoding.max_new_tokens
            numbers = [row_numbers(self.decoding.seed, self.keys[n], new) for n in prompts]
            self.numbers[place] = torch.from_numpy(np.stack(numbers)).to(self.device)
        if self.state:
            self.state.trie.restart(self.state, place)
        self._choose(logits, place)
        self.steps[rows] = 1

    def _step(self) -> None:
        """One more token of every row."""
        live = self.prompts >= 0
        used = int((self.sizes + self.steps)[live].max()) - 1
        self.cache.make_room(max(used, self.longest_waiting))
        if self.captured:
            self.captured(self)
            if not self.captured.works:
                self.captured = None
        else:
            self.emit(self.forward(self.cache.seen(self.cache.length + 1)))
        self.stats.captured = self.captured is not None
        self.steps += 1
        self.stats.n_steps += 1

    def forward(self, mask: torch.Tensor | None, **options: object) -> torch.Tensor:
        """Logits of the next token of every row; nothing here waits for the GPU."""
        return self.model(
            input_ids=self.last[:, None],
            attention_mask=mask,
            position_ids=self.position[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            **options,
        ).logits[:, -1]

    def emit(self, logits: torch.Tensor) -> None:
        """Emit the next token of every row, all in place."""
        self.position += 1
        self._choose(logits, slice(None))

    def _choose(self, logits: torch.Tensor, rows: torch.Tensor | slice) -> None:
        """Emit the next token of these rows; rows that are done emit no more."""
        limit = self.decoding.max_new_tokens
        logits = logits.float()
        state = self.state.select(rows) if self.state else None
        allowed = logits
        if state:
            valid = logits if self.decoding.valid_only else logits[:, state.trie.tokens]
            allowed = state.trie.constrain(valid, state)
        emitted, done, tokens = self.n_emitted[rows], self.done[rows], self.tokens[rows]
        numbers = None
        if self.numbers is not None:
            numbers = self.numbers[rows].gather(1, emitted.clamp_max(limit - 1)[:, None])[:, 0]
        chosen = next_tokens(allowed, numbers, self.decoding.temperature, self.decoding.top_p)
        token = state.trie.tokens[chosen] if state else chosen
        full = torch.zeros_like(done)
        if state and self.decoding.max_genes is not None:
            full = state.trie.begins(state, chosen) & (state.n_genes >= self.decoding.max_genes)
            if isinstance(state, CellState):  # then its cell is full, and the answer continues
                state.cut_here(full & ~done)
                less = state.without_more_genes(allowed)
                how = numbers, self.decoding.temperature, self.decoding.top_p
                chosen = torch.where(full, next_tokens(less, *how), chosen)
                token, full = state.trie.tokens[chosen], torch.zeros_like(full)
        ended = (token[:, None] == self.eos).any(dim=1) & ~done
        continues = ~done & ~ended & ~full
        if self.state and state:
            state.trie.advance(state, chosen, emitted, continues)
            self.state.assign(rows, state)
        # The token of a row that is done, or full, goes into the column behind the last; an end
        # token has a score, and is no token of the answer.
        self.tokens[rows] = tokens.scatter(
            1, torch.where(continues, emitted, limit)[:, None], token[:, None]
        )
        among, place = (allowed, chosen) if self.decoding.valid_only else (logits, token)
        log_probs = among.gather(1, place[:, None]) - among.logsumexp(dim=-1, keepdim=True)
        self.scores[rows] = self.scores[rows].scatter(
            1, torch.where(done, limit, emitted)[:, None], log_probs.double()
        )
        self.n_emitted[rows] = emitted + continues
        self.last[rows] = token
        self.ended[rows] |= ended
        self.done[rows] |= ended | full | (self.n_emitted[rows] >= limit)

    def _collect(self) -> None:
        """Answers of the rows that are done; their rows are free."""
        done = self.done.cpu().numpy() & (self.prompts >= 0)
        if not done.any():
            return
        rows = torch.from_numpy(np.flatnonzero(done)).to(self.device)
        n_emitted = self.n_emitted[rows]
        cut: list[list[bool]] = [[] for _ in rows]
        if self.state:  # the limit cut the last gene of some: what is left of it is no gene
            state = self.state.select(rows)
            cut = state.cut.tolist() if isinstance(state, CellState) else cut
            whole = self.ended[rows] | state.trie.complete(state)
            n_emitted = torch.where(whole, n_emitted, state.begun)
        columns = (self.tokens[rows], n_emitted, self.ended[rows], self.scores[rows])
        for prompt, tokens, end, ended, scores, cells in zip(
            self.prompts[done], *(column.tolist() for column in columns), cut, strict=True
        ):
            reason = "eos" if ended else "length"
            self.answers[prompt] = Answer(tokens[:end], reason, scores[: end + ended], cells)
            self.stats.n_new_tokens += end
        self.prompts[done] = -1
        self.cache.release(rows)
        self.bar.update(int(done.sum()))

    def _shrink(self, waiting: deque[int]) -> None:
        """When nobody waits, rows that are free are computed no longer; captured, all are."""
        live = np.flatnonzero(self.prompts >= 0)
        if waiting or self.captured or not live.size or 2 * live.size > self.prompts.size:
            return
        rows = torch.from_numpy(live).to(self.device)
        self.cache.keep(rows)
        for name in ("prompts", "sizes", "steps"):
            setattr(self, name, getattr(self, name)[live])
        names = ["tokens", "last", "position", "n_emitted", "scores", "done", "ended", "numbers"]
        for name in names[: None if self.numbers is not None else -1]:
            setattr(self, name, getattr(self, name)[rows])
        if self.state:
            self.state = self.state.select(rows)
