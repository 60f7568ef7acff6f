"""Likelihoods of the candidates of several labels: each cell goes through the model once.

Prompts of one cell that ask for different labels are often one up to the end of its sentence. What
is behind that beginning, a few words, is walked as part of the tree of answers
(`c2sflow.generation.label_scoring`), and its own log-probability taken off again: so keys and
values of the sentence are computed and kept once for all labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import logsumexp
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.generation.common_beginnings import FEWEST_TOKENS, LEAST_SHARE, n_common
from c2sflow.generation.label_probabilities import NO_GENES_TEXT
from c2sflow.generation.label_scoring import ScoringStats, score_paths
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import fill, first_genes, template_fields

Record = Mapping[str, object]


@dataclass(frozen=True)
class Asked:
    """One prompt, and the answers to score behind it.

    Attributes
    ----------
    template
        See `c2sflow.sentences.prompts.load_template`.
    paths
        Token ids of each candidate in each of its endings, candidate by candidate.
    n_endings
        Paths of a candidate.
    """

    template: str
    paths: Sequence[Sequence[int]]
    n_endings: int

    @property
    def beginning(self) -> str:
        """The template up to the cell sentence."""
        return self.template.partition("{cell_sentence}")[0]

    @property
    def longest(self) -> int:
        """Tokens of the longest path, with its end."""
        return max(map(len, self.paths)) + 1

    def by_candidate(self, scores: np.ndarray) -> np.ndarray:
        """Of the scores of the paths those of the candidates, (n_cells, n_candidates)."""
        n_cells = len(scores)
        return logsumexp(scores.reshape(n_cells, -1, self.n_endings), axis=2)


@dataclass
class Likelihoods:
    """Of some cells.

    Attributes
    ----------
    of_asked
        For each `Asked`, natural log-likelihood of each candidate: float64 (n_cells,
        n_candidates), NaN for a cell without genes.
    truncated
        bool (n_cells,): genes were left out of a prompt because the context is full.
    stats
        The figures of the runs of the model, together.
    """

    of_asked: list[np.ndarray]
    truncated: np.ndarray
    stats: ScoringStats = field(default_factory=ScoringStats)


def label_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    asked: Sequence[Asked],
    eos: Sequence[int],
    **how: Any,
) -> Likelihoods:
    """Likelihood of every candidate for every cell.

    Where the context is full, the prompts that begin alike keep equally many genes: as many as fit
    the longest of them.

    Parameters
    ----------
    records
        Of each cell, see `c2sflow.model.tokenization.tokenize_prompts`.
    eos
        Tokens that end an answer.
    how
        max_batch_tokens, max_rows, progress: see `c2sflow.generation.label_scoring.score_paths`.
    """
    found = Likelihoods([np.empty(0)] * len(asked), np.zeros(len(records), dtype=bool))
    groups: dict[str, list[int]] = {}
    for number, one in enumerate(asked):
        groups.setdefault(one.beginning, []).append(number)
    for numbers in groups.values():
        own = [asked[number] for number in numbers]
        prompts, truncated = _prompts(model, tokenizer, records, own)
        found.truncated |= truncated
        scores = _together(model, tokenizer, prompts, own, eos, found.stats, how)
        for number, one, values in zip(numbers, own, scores, strict=True):
            found.of_asked[number] = one.by_candidate(values)
    return found


def prior_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    asked: Asked,
    eos: Sequence[int],
    **how: Any,
) -> np.ndarray:
    """Likelihood of every candidate where the prompt names no gene.

    All other fields are as of the cell, each of their combinations is computed once.

    Returns
    -------
    float64 (n_cells, n_candidates), natural logarithms.
    """
    fields = [name for name in template_fields(asked.template) if name in records[0]]
    fields = [name for name in fields if name != "cell_sentence"]
    without = {"cell_sentence": NO_GENES_TEXT, "n_genes": 0}
    texts = [
        fill(asked.template, {"organism": "", **{n: record[n] for n in fields}, **without})
        for record in records
    ]
    distinct = list(dict.fromkeys(texts))
    ids = [np.asarray(one, dtype=np.int32) for one in tokenizer(distinct)["input_ids"]]
    how = how | {"progress": False}
    scores, _ = score_paths(model, ids, asked.paths, eos, tokenizer.pad_token_id, **how)
    place = {text: number for number, text in enumerate(distinct)}
    return asked.by_candidate(scores)[[place[text] for text in texts]]


def _prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    asked: Sequence[Asked],
) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Token ids of each cell in each template, all of equally many genes; which lost genes."""
    room = model.config.max_position_embeddings - max(one.longest for one in asked)
    made = [tokenize_prompts(tokenizer, one.template, records, room) for one in asked]
    truncated = np.any([one.truncated for one in made], axis=0)
    prompts = [list(one.input_ids) for one in made]
    if len(asked) > 1 and truncated.any():
        cut = np.flatnonzero(truncated).tolist()
        fewest = np.min([one.n_genes[cut] for one in made], axis=0)
        kept = [first_genes(records[row], int(n)) for row, n in zip(cut, fewest, strict=True)]
        for own, one in zip(prompts, asked, strict=True):
            again = tokenize_prompts(tokenizer, one.template, kept, room)
            for row, ids in zip(cut, again.input_ids, strict=True):
                own[row] = ids
    return prompts, truncated


def _together(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[np.ndarray]],
    asked: Sequence[Asked],
    eos: Sequence[int],
    stats: ScoringStats,
    how: Mapping[str, Any],
) -> list[np.ndarray]:
    """Scores of each asked one's paths; of cells whose prompts end alike in one run."""
    scores = [np.full((len(prompts[0]), len(one.paths)), np.nan) for one in asked]
    shared = _shared(prompts)
    alone = np.setdiff1d(np.arange(len(prompts[0])), shared.cells)
    for own, one, values in zip(prompts, asked, scores, strict=True):
        if alone.size:
            some = [own[cell] for cell in alone]
            values[alone], made = score_paths(
                model, some, one.paths, eos, tokenizer.pad_token_id, **how
            )
            _add(stats, made)
    if not shared.cells:
        return scores
    beginnings = [
        prompts[0][cell][:n] for cell, n in zip(shared.cells, shared.n_first, strict=True)
    ]
    paths = [
        [*rest, *path] for rest, one in zip(shared.rests, asked, strict=True) for path in one.paths
    ]
    # How likely a question is must not count: its own log-probability is scored, too.
    asking = {rest: len(paths) + n for n, rest in enumerate(dict.fromkeys(shared.rests))}
    found, made = score_paths(
        model, beginnings, [*paths, *map(list, asking)], eos, tokenizer.pad_token_id,
        open_paths=[*asking.values()], **how,
    )  # fmt: skip
    _add(stats, made)
    at = 0
    for rest, one, values in zip(shared.rests, asked, scores, strict=True):
        values[shared.cells] = found[:, at : at + len(one.paths)] - found[:, [asking[rest]]]
        at += len(one.paths)
    return scores


@dataclass(frozen=True)
class _Shared:
    """Cells whose prompts have a beginning in common, and behind it the same in all cells.

    Attributes
    ----------
    rests
        Token ids of each prompt behind the beginning.
    cells
        The cells.
    n_first
        Tokens of each one's beginning.
    """

    rests: tuple[tuple[int, ...], ...]
    cells: list[int]
    n_first: list[int]


def _shared(prompts: Sequence[Sequence[np.ndarray]]) -> _Shared:
    """The most cells that can be taken together; all others are taken prompt by prompt."""
    groups: dict[tuple[tuple[int, ...], ...], _Shared] = {}
    for cell, first in enumerate(prompts[0] if len(prompts) > 1 else ()):
        own = [ids[cell] for ids in prompts]
        # A token of each is left: the answer follows it.
        common = min(n_common(first, ids) for ids in own)
        common = min(common, min(ids.size for ids in own) - 1)
        if common >= max(FEWEST_TOKENS, LEAST_SHARE * max(ids.size for ids in own)):
            rests = tuple(tuple(ids[common:].tolist()) for ids in own)
            group = groups.setdefault(rests, _Shared(rests, [], []))
            group.cells.append(cell)
            group.n_first.append(common)
    return max(groups.values(), key=lambda group: len(group.cells), default=_Shared((), [], []))


def _add(stats: ScoringStats, made: ScoringStats) -> None:
    """Take the figures of one more run in."""
    stats.n_prompt_tokens += made.n_prompt_tokens
    stats.n_path_tokens += made.n_path_tokens
    stats.seconds += made.seconds
    known = [n for n in (stats.max_batch_tokens, made.max_batch_tokens) if n]
    stats.max_batch_tokens = min(known, default=0)
