"""Exact likelihood of each label of a list under a model, for every cell.

The prompt goes through the model once. Then the labels are walked as a tree of their tokens, and
what they share is computed once: behind the cached prompt, a label costs as many tokens as it has
of its own. No copy of the cache is made: a label that is done is forgotten, and the next takes its
place.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from c2sflow.common.progress import progress_bar
from c2sflow.generation.few_rows import quick_products
from c2sflow.generation.kv_cache import DecodeCache
from c2sflow.generation.packed_prefill import PackedPrefill
from c2sflow.generation.prefill import prefill
from c2sflow.model.batching import resolve_cache_tokens, resolve_max_batch_tokens
from c2sflow.model.memory import MemoryWatch, halved

MOST_LOGITS = 2**27  # numbers of a step's logits: rows times tokens times vocabulary


@dataclass
class Branch:
    """Tokens without a choice between them, where paths end among them, and how others continue.

    Attributes
    ----------
    tokens
        The run of tokens.
    ends
        (tokens of the run emitted by then, number of the path) of each path that ends in it.
    branches
        What may follow the run; each begins with another token.
    """

    tokens: list[int]
    ends: list[tuple[int, int]]
    branches: list[Branch]


def branches_of(paths: Iterable[tuple[int, Sequence[int]]]) -> list[Branch]:
    """The paths (number and tokens, not empty) as a tree."""
    groups: dict[int, list[tuple[int, Sequence[int]]]] = {}
    for number, tokens in paths:
        groups.setdefault(tokens[0], []).append((number, tokens))
    return [_branch(token, group) for token, group in groups.items()]


def _branch(token: int, group: list[tuple[int, Sequence[int]]]) -> Branch:
    run, ends = [], []
    while True:
        run.append(token)
        n_tokens_in = len(run)
        ends += [(n_tokens_in, number) for number, tokens in group if len(tokens) == n_tokens_in]
        group = [(number, tokens) for number, tokens in group if len(tokens) > n_tokens_in]
        following = {tokens[n_tokens_in] for _, tokens in group}
        if len(following) != 1:
            rest = [(number, tokens[n_tokens_in:]) for number, tokens in group]
            return Branch(run, ends, branches_of(rest))
        token = following.pop()


@dataclass
class ScoringStats:
    """What a run of `score_paths` did."""

    n_prompt_tokens: int = 0
    n_path_tokens: int = 0
    max_batch_tokens: int = 0
    seconds: float = 0.0


@torch.inference_mode()
def score_paths(
    model: PreTrainedModel,
    input_ids: Sequence[np.ndarray],
    paths: Sequence[Sequence[int]],
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    *,
    open_paths: Collection[int] = (),
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, ScoringStats]:
    """Log-probability that the answer to each prompt is each path, and ends there.

    Parameters
    ----------
    model
        A causal language model with its head.
    input_ids
        Token ids of each prompt; for an empty prompt the scores are NaN.
    paths
        Token ids of each answer, without the end; not empty, all different.
    eos_token_ids
        Tokens that end an answer.
    open_paths
        Numbers of the paths that need not end: theirs is the log-probability of their tokens alone.
    max_batch_tokens
        Most tokens kept together, padding included; "auto" finds it from free memory. Halved when
        memory runs out.
    max_rows
        Most prompts kept together; None for no other limit than tokens.

    Returns
    -------
    float64 (n_prompts, n_paths), natural logarithms, and the figures of the run.

    Raises
    ------
    UserError
        If a single prompt does not fit into memory.
    """
    lengths = np.array([ids.size for ids in input_ids], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    scores = np.full((len(input_ids), len(paths)), np.nan)
    tree = branches_of(list(enumerate(paths)))
    budget = resolve_cache_tokens(max_batch_tokens, model)
    longest = max(map(len, paths))
    most = max(1, MOST_LOGITS // (model.config.vocab_size * longest))
    stats = ScoringStats(n_prompt_tokens=int(lengths.sum()))
    packed = PackedPrefill(model)
    started, at = time.perf_counter(), 0
    with quick_products(model), progress_bar(len(order), "cell", progress) as bar:
        while at < len(order):
            size = int(lengths[order[at]])
            n_rows = max(1, min(budget // (size + longest), most, max_rows or most))
            rows = order[at : at + n_rows]
            with MemoryWatch() as memory:
                own = [input_ids[row] for row in rows]
                batch = _Batch(model, own, pad_token_id, longest, packed)
                scores[rows] = batch.scores(tree, len(paths), eos_token_ids, open_paths)
            if memory.ran_out:
                tried = len(rows) * (size + longest)
                budget = halved(tried, size, model.device, alone=len(rows) == 1)
                continue
            stats.n_path_tokens += batch.n_emitted
            at += len(rows)
            bar.update(len(rows))
    stats.seconds = time.perf_counter() - started
    stats.max_batch_tokens = budget
    return scores, stats


class _Batch:
    """Prompts whose keys and values are kept while the paths are scored behind them."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[np.ndarray],
        pad_token_id: int,
        longest: int,
        packed: PackedPrefill,
    ):
        self.packed = packed
        longest_prompt = max(ids.size for ids in prompts)
        self.model, self.n_rows, self.n_slots = model, len(prompts), longest_prompt
        self.cache = DecodeCache(model.config, self.n_rows, self.n_slots + longest, model.device)
        sizes = torch.tensor([ids.size for ids in prompts], device=model.device)
        self.after = sizes[:, None]  # position of the first token of an answer
        self.n_emitted = 0
        step = max(1, resolve_max_batch_tokens(None, model) // self.n_slots)
        self.first = torch.cat(
            [
                self._prefill(slice(at, at + step), prompts[at : at + step], pad_token_id)
                for at in range(0, self.n_rows, step)
            ]
        )

    def _prefill(
        self, rows: slice, prompts: Sequence[np.ndarray], pad_token_id: int
    ) -> torch.Tensor:
        """Take some prompts in; log-probabilities of the first token, float32 (n, vocab_size)."""
        place = torch.arange(self.n_rows, device=self.model.device)[rows]
        logits = prefill(self.model, self.cache, place, prompts, pad_token_id, self.packed)
        return logits.float().log_softmax(dim=-1)

    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: DecodeCache,
    ) -> torch.Tensor:
        """Log-probabilities of the next token, float32 (n_rows, n_tokens, vocab_size)."""
        logits = self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions,
            past_key_values=cache, use_cache=True,
        ).logits  # fmt: skip
        return logits.float().log_softmax(dim=-1)

    def scores(
        self,
        tree: Sequence[Branch],
        n_paths: int,
        eos_token_ids: Sequence[int],
        open_paths: Collection[int] = (),
    ) -> np.ndarray:
        """float64 (n_rows, n_paths)."""
        self.open_paths = frozenset(open_paths)
        self.eos = torch.tensor(list(eos_token_ids), device=self.first.device)
        self.found = torch.empty(
            self.n_rows, n_paths, dtype=torch.float64, device=self.first.device
        )
        start = torch.zeros(self.n_rows, dtype=torch.float64, device=self.first.device)
        self._walk(tree, self.first, start, depth=0)
        return self.found.cpu().numpy()

    def _walk(
        self, branches: Sequence[Branch], ahead: torch.Tensor, score: torch.Tensor, depth: int
    ) -> None:
        """Score all that follows `depth` tokens of likelihood `score`."""
        for branch in branches:
            after = self._log_probs(branch.tokens, depth)
            so_far = score + ahead[:, branch.tokens[0]].double()
            for n_tokens_in in range(1, len(branch.tokens) + 1):
                ended = after[:, n_tokens_in - 1, self.eos].double().logsumexp(dim=-1)
                for path in (path for at, path in branch.ends if at == n_tokens_in):
                    self.found[:, path] = so_far if path in self.open_paths else so_far + ended
                if n_tokens_in < len(branch.tokens):
                    so_far = so_far + after[:, n_tokens_in - 1, branch.tokens[n_tokens_in]].double()
            self._walk(branch.branches, after[:, -1], so_far, depth + len(branch.tokens))

    def _log_probs(self, tokens: Sequence[int], depth: int) -> torch.Tensor:
        """Log-probabilities behind each of these tokens, `depth` tokens after the prompt."""
        self.cache.rewind(self.n_slots + depth)
        n_tokens = len(tokens)
        self.n_emitted += self.n_rows * n_tokens
        ids = torch.tensor(tokens, device=self.after.device).expand(self.n_rows, n_tokens)
        steps = torch.arange(depth, depth + n_tokens, device=self.after.device)
        end = self.cache.length + n_tokens
        return self._forward(ids, self.cache.seen(end), self.after + steps, self.cache)
