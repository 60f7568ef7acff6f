"""Labels predicted by the model: from a list by exact probability, or as free text.

With a list, each candidate's likelihood is that the model answers with exactly this text, with or
without a full stop, and ends; `c2sflow.generation.label_probabilities` makes probabilities among
the candidates of it, which add up to 1. Nothing is searched or cut off, so that the result depends
on neither the order of the candidates nor the batch. (A greedy walk through the candidates' tokens
takes the likeliest first word, and can be led by it to an unlikely label.) Without a list, the
answer is decoded greedily, and its probability is that of all its tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.generation.annotation_tables import chosen_table, free_table
from c2sflow.generation.decoding import Decoding, GenerationStats, end_tokens, generate_tokens
from c2sflow.generation.free_answers import NO_GENES, read_label
from c2sflow.generation.label_likelihoods import Asked, label_likelihoods, prior_likelihoods
from c2sflow.generation.label_probabilities import (
    NEEDS_PRIOR,
    default_score,
    log_probabilities,
    normalised,
)
from c2sflow.generation.label_scoring import ScoringStats
from c2sflow.generation.logits import answer_tokens
from c2sflow.inputs.labels import CELL_TYPE, Label
from c2sflow.inputs.lists import label_stem
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import ANSWER_TOKENS

# Published C2S models were trained on answers that end in a full stop; others may not.
ENDINGS = ("", ".")


@dataclass(frozen=True)
class Question:
    """A label to ask for.

    Attributes
    ----------
    label
        Its name, score, temperature and least probability count here.
    templates
        Prompts that ask for it: over several the probabilities are averaged. Free answers are to
        the first.
    candidates
        The answers to choose from; None for free answers.
    """

    label: Label
    templates: tuple[str, ...]
    candidates: tuple[str, ...] | None

    @property
    def option(self) -> str:
        """What a user calls the list of candidates."""
        return "--cell_types" if self.label.name == CELL_TYPE else f"--labels ({self.label.name})"


@dataclass
class Annotation:
    """One label of some cells.

    Attributes
    ----------
    table
        c2s_<name> (None where there is none), _probability, _entropy (float32), _top3 and _status
        (see `c2sflow.generation.free_answers`), and of several templates _spread, a row a cell in
        the order given.
    coverage
        float64 (n_cells,): probability of all candidates together; NaN without a list.
    truncated
        bool (n_cells,): genes were left out because the context is full.
    stats
        Of the run of the model, which may have been for several labels.
    chances
        float64 (n_cells, n_candidates): probability of each among the candidates, NaN for a cell
        without genes; None without a list.
    """

    table: pd.DataFrame
    coverage: np.ndarray
    truncated: np.ndarray
    stats: ScoringStats | GenerationStats
    chances: np.ndarray | None = None


def annotate_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    questions: Sequence[Question],
    *,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> dict[str, Annotation]:
    """Predict several labels of each cell.

    Parameters
    ----------
    model
        Causal language model with its head.
    cells
        cell_sentence, n_genes, organism and the other fields of the templates.
    questions
        With different names.

    Returns
    -------
    Of each label by its name.

    Raises
    ------
    UserError
        If the tokenizer cannot write a candidate.
    """
    how = {"max_batch_tokens": max_batch_tokens, "max_rows": max_rows, "progress": progress}
    listed = [one for one in questions if one.candidates is not None]
    free = [one for one in questions if one.candidates is None]
    found = _chosen(model, tokenizer, cells, listed, how)
    found |= _answered(model, tokenizer, cells, free, how)
    return {one.label.name: found[one.label.name] for one in questions}


def annotate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    templates: str | Sequence[str],
    cell_types: Sequence[str] | None = None,
    **how: Any,
) -> Annotation:
    """Predict the cell type of each cell: `annotate_questions` of one label.

    Parameters
    ----------
    templates
        Prompt that asks for the cell type, or several.
    cell_types
        The labels to choose from; None for free answers.
    how
        max_batch_tokens, max_rows, progress.
    """
    candidates = None if cell_types is None else tuple(cell_types)
    prompts = (templates,) if isinstance(templates, str) else tuple(templates)
    question = Question(Label(), prompts, candidates)
    return annotate_questions(model, tokenizer, cells, [question], **how)[CELL_TYPE]


def _chosen(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    questions: Sequence[Question],
    how: dict[str, Any],
) -> dict[str, Annotation]:
    """Labels that are chosen from candidates."""
    if not questions:
        return {}
    records = cells.to_dict("records")
    eos = end_tokens(model, tokenizer.eos_token_id)
    asked: list[Asked] = []
    places: list[list[int]] = []  # of each question's templates in `asked`
    for one in questions:
        paths = label_paths(tokenizer, one.candidates or (), one.option)
        places.append([len(asked) + n for n in range(len(one.templates))])
        asked += [Asked(template, paths, len(ENDINGS)) for template in one.templates]
    found = label_likelihoods(model, tokenizer, records, asked, eos, **how)
    made = {}
    for one, own in zip(questions, places, strict=True):
        score = one.label.score or default_score(one.label.name)
        chances, coverage = [], []
        for place in own:
            likelihoods, prior = found.of_asked[place], None
            if score in NEEDS_PRIOR and records:
                prior = prior_likelihoods(model, tokenizer, records, asked[place], eos, **how)
            lengths = _lengths(asked[place])
            scores = normalised(likelihoods, score, lengths, prior)
            chances.append(np.exp(log_probabilities(scores, one.label.temperature)))
            coverage.append(np.exp(logsumexp(likelihoods, axis=1)))
        made[one.label.name] = _annotation(one, np.stack(chances), coverage, found)
    return made


def _lengths(asked: Asked) -> np.ndarray:
    """Tokens of each candidate in its first ending, with its end: int (n_candidates,)."""
    return np.array([len(path) + 1 for path in asked.paths[:: asked.n_endings]])


def _annotation(
    question: Question, chances: np.ndarray, coverage: Sequence[np.ndarray], found: Any
) -> Annotation:
    """Of the probabilities under each template, (n_templates, n_cells, n_candidates)."""
    label, mean = question.label, chances.mean(axis=0)
    candidates = question.candidates or ()
    table = chosen_table(label.column, candidates, mean, label.min_probability)
    if len(chances) > 1:
        best = mean.argmax(axis=1) if len(mean) else np.empty(0, dtype=int)
        spread = chances[:, np.arange(len(best)), best].std(axis=0)
        table[f"{label.column}_spread"] = spread.astype(np.float32)
    return Annotation(table, np.mean(coverage, axis=0), found.truncated, found.stats, chances=mean)


def _answered(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    questions: Sequence[Question],
    how: dict[str, Any],
) -> dict[str, Annotation]:
    """Labels that the model answers in its own words; the prompts of one cell are decoded together.

    What they have in common is computed once (`c2sflow.generation.common_beginnings`).
    """
    if not questions:
        return {}
    records, n_cells = cells.to_dict("records"), len(cells)
    room = model.config.max_position_embeddings - ANSWER_TOKENS
    prompts = [tokenize_prompts(tokenizer, one.templates[0], records, room) for one in questions]
    input_ids = [ids for one in prompts for ids in one.input_ids]
    eos = end_tokens(model, tokenizer.eos_token_id)
    decoding = Decoding(tokenizer.pad_token_id, eos, max_new_tokens=ANSWER_TOKENS)
    answers, stats = generate_tokens(model, input_ids, decoding, **how)
    texts = tokenizer.batch_decode([a.token_ids for a in answers], skip_special_tokens=True)
    genes = {word for text in cells["cell_sentence"] for word in text.split()}
    read = [
        read_label(text, answer.finish_reason == "eos", genes) if ids.size else (None, NO_GENES)
        for text, answer, ids in zip(texts, answers, input_ids, strict=True)
    ]
    chances = np.exp([answer.log_likelihood for answer in answers])
    made = {}
    for number, one in enumerate(questions):
        rows = slice(number * n_cells, (number + 1) * n_cells)
        labels, statuses = [label for label, _ in read[rows]], [status for _, status in read[rows]]
        least = one.label.min_probability
        table = free_table(one.label.column, labels, chances[rows], statuses, least)
        if len(one.templates) > 1:
            table[f"{one.label.column}_spread"] = np.full(n_cells, np.nan, dtype=np.float32)
        coverage, truncated = np.full(n_cells, np.nan), prompts[number].truncated
        made[one.label.name] = Annotation(table, coverage, truncated, stats)
    return made


def label_paths(
    tokenizer: PreTrainedTokenizerBase, candidates: Sequence[str], option: str = "--cell_types"
) -> list[list[int]]:
    """Token ids of each candidate with each of `ENDINGS`, candidate by candidate.

    Parameters
    ----------
    option
        What a user calls the list.

    Raises
    ------
    UserError
        If the tokenizer cannot write a candidate, or two of them are one answer.
    """
    stems = [label_stem(label) for label in candidates]
    if again := [stem for stem, n in Counter(stems).items() if n > 1]:
        same = [repr(name) for name, stem in zip(candidates, stems, strict=True) if stem in again]
        raise UserError(f"{option}: {' and '.join(same[:2])} are one answer; name one of them")
    texts = [stem + ending for stem in stems for ending in ENDINGS]
    tokens = answer_tokens(tokenizer, texts)
    lost = [text for text in texts if text not in tokens]
    if lost:
        raise UserError(f"{option}: the model's tokenizer cannot represent {lost[0]!r}")
    return [tokens[text] for text in texts]
