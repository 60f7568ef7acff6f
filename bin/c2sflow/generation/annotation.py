"""Cell types predicted by the model: from a list by exact probability, or as free text."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.generation.decoding import Decoding, GenerationStats, end_tokens, generate_tokens
from c2sflow.generation.free_answers import EMPTY, GENES, NO_GENES, OK, UNENDED, read_label
from c2sflow.generation.label_scoring import ScoringStats, score_paths
from c2sflow.generation.logits import answer_tokens
from c2sflow.inputs.lists import (
    LITTLE,
    MOST,
    distinct_labels,
    label_stem,
    names_types,
    read_cell_types,
)
from c2sflow.model.tasks import context_warning
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.model.trained import read_trained
from c2sflow.sentences.prompts import ANSWER_TOKENS

LOGGER = logging.getLogger(__name__)

FEW_CELLS = 5  # of which one cell type is no surprise
REASONS = {
    NO_GENES: "have no genes",
    EMPTY: "empty answers",
    UNENDED: f"answers did not end within {ANSWER_TOKENS} tokens",
    GENES: "answers list genes",
}
# Published C2S models were trained on answers that end in a full stop; others may not.
ENDINGS = ("", ".")


@dataclass
class Annotation:
    """Labels of some cells.

    Attributes
    ----------
    table
        c2s_cell_type (None where there is none), c2s_cell_type_probability (float32) and
        c2s_cell_type_status (see `c2sflow.generation.free_answers`), a row a cell in the order
        given.
    coverage
        float64 (n_cells,): probability of all labels of the list together; NaN without a list.
    truncated
        bool (n_cells,): genes were left out because the context is full.
    chances
        float64 (n_cells, n_labels): probability of each label among those of the list, NaN for a
        cell without genes; None without a list.
    """

    table: pd.DataFrame
    coverage: np.ndarray
    truncated: np.ndarray
    stats: ScoringStats | GenerationStats
    chances: np.ndarray | None = None


def annotate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    template: str,
    cell_types: Sequence[str] | None = None,
    *,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> Annotation:
    """Predict the cell type of each cell.

    With a list, each label's probability is that the model answers with exactly this label, with or
    without a full stop, and ends. The label with the highest is taken; its probability is stated
    among those of the list, which add up to 1. Nothing is searched or cut off, so that the result
    depends on neither the order of the labels nor the batch. (A greedy walk through the labels'
    tokens takes the likeliest first word, and can be led by it to an unlikely label.) Without a
    list, the answer is decoded greedily, and its probability is that of all its tokens.

    Parameters
    ----------
    model
        Causal language model with its head.
    cells
        cell_sentence, n_genes, organism and the other fields of `template`.
    template
        Prompt that asks for the cell type.
    cell_types
        The labels to choose from; None for free answers.

    Raises
    ------
    UserError
        If the tokenizer cannot write a label.
    """
    records = cells.to_dict("records")
    eos = end_tokens(model, tokenizer.eos_token_id)
    context = model.config.max_position_embeddings
    if cell_types is None:
        prompts = tokenize_prompts(tokenizer, template, records, context - ANSWER_TOKENS)
        decoding = Decoding(tokenizer.pad_token_id, eos, max_new_tokens=ANSWER_TOKENS)
        answers, generated = generate_tokens(
            model, prompts.input_ids, decoding,
            max_batch_tokens=max_batch_tokens, max_rows=max_rows, progress=progress,
        )  # fmt: skip
        texts = tokenizer.batch_decode([a.token_ids for a in answers], skip_special_tokens=True)
        genes = {word for text in cells["cell_sentence"] for word in text.split()}
        read = [
            read_label(text, answer.finish_reason == "eos", genes) if ids.size else (None, NO_GENES)
            for text, answer, ids in zip(texts, answers, prompts.input_ids, strict=True)
        ]
        chances = np.exp([answer.log_likelihood for answer in answers])
        return Annotation(
            _table([label for label, _ in read], chances, [status for _, status in read]),
            np.full(len(cells), np.nan),
            prompts.truncated,
            generated,
        )
    paths = label_paths(tokenizer, cell_types)
    longest = max(map(len, paths)) + 1
    prompts = tokenize_prompts(tokenizer, template, records, context - longest)
    scores, stats = score_paths(
        model, prompts.input_ids, paths, eos, tokenizer.pad_token_id,
        max_batch_tokens=max_batch_tokens, max_rows=max_rows, progress=progress,
    )  # fmt: skip
    by_label = logsumexp(scores.reshape(len(cells), len(cell_types), len(ENDINGS)), axis=2)
    whole = logsumexp(by_label, axis=1)
    best = by_label.argmax(axis=1) if len(cells) else np.empty(0, dtype=int)
    chances = np.exp(by_label - whole[:, None])
    table = label_table(cell_types, chances, best)
    return Annotation(table, np.exp(whole), prompts.truncated, stats, chances)


def label_table(cell_types: Sequence[str], chances: np.ndarray, best: np.ndarray) -> pd.DataFrame:
    """Table of an `Annotation`, of the position of each cell's label in the list.

    Parameters
    ----------
    chances
        See `Annotation`.
    """
    own = chances[np.arange(len(best)), best]
    labels = [
        None if np.isnan(chance) else cell_types[n] for n, chance in zip(best, own, strict=True)
    ]
    statuses = [NO_GENES if label is None else OK for label in labels]
    return _table(labels, own, statuses)


def labels_to_choose_from(given: str | None, model: str | Path) -> tuple[list[str] | None, str]:
    """Labels of an annotation, and where they come from.

    Parameters
    ----------
    given
        --cell_types: see `c2sflow.inputs.lists.read_cell_types`; `NO_LIST` for free answers; None
        for the labels that the model was trained on, if its folder records some.
    model
        Its folder.

    Returns
    -------
    The labels, None for free answers; and "option", "model" or "free".
    """
    if names_types(given):
        return read_cell_types(str(given)), "option"
    own = [] if given else distinct_labels(read_trained(model).cell_types)
    return (own, "model") if 1 < len(own) <= MOST else (None, "free")


def annotation_warnings(annotated: Annotation, context: int) -> list[str]:
    """What a user should know about predicted cell types, a line each.

    Parameters
    ----------
    context
        Tokens that the model takes.
    """
    warnings = context_warning(annotated.truncated, context, "cells to annotate")
    without = without_type(annotated.table)
    if without:
        reasons = ", ".join(f"{n} {REASONS[status]}" for status, n in without.items())
        mend = (
            "; name the labels to choose from with --cell_types"
            if set(without) - {NO_GENES}
            else ""
        )
        warnings.append(f"{sum(without.values())} cells have no cell type: {reasons}{mend}")
    coverage = annotated.coverage[np.isfinite(annotated.coverage)]
    if coverage.size and coverage.mean() < LITTLE:
        warnings.append(
            f"the labels of the list have {100 * coverage.mean():.1f} % of the model's "
            "probability together: it prefers other answers for these cells (--cell_types none "
            "shows them), so the choice among these labels is not reliable"
        )
    return warnings


def without_type(table: pd.DataFrame) -> dict[str, int]:
    """Number of cells without a cell type, by the reason."""
    statuses = table["c2s_cell_type_status"]
    counts = statuses[statuses != OK].value_counts(sort=False)
    return {str(status): int(n) for status, n in counts.items()}


def one_type_warning(labels: pd.Series) -> list[str]:
    """A warning if all cells of a data set have one cell type.

    A shard may hold cells of one type; where a whole data set does, the model hardly distinguishes
    its cells.
    """
    found = labels.dropna()
    if len(found) < FEW_CELLS or found.nunique() > 1:
        return []
    return [
        f"all {len(found)} cells are predicted to be {found.iloc[0]!r}: unless they were sorted, "
        "the model does not distinguish them; compare with known labels or marker genes"
    ]


def label_paths(tokenizer: PreTrainedTokenizerBase, cell_types: Sequence[str]) -> list[list[int]]:
    """Token ids of each label with each of `ENDINGS`, label by label.

    Raises
    ------
    UserError
        If the tokenizer cannot write a label, or two of them are one answer.
    """
    stems = [label_stem(label) for label in cell_types]
    if again := [stem for stem, n in Counter(stems).items() if n > 1]:
        same = [repr(name) for name, stem in zip(cell_types, stems, strict=True) if stem in again]
        raise UserError(f"--cell_types: {' and '.join(same[:2])} are one answer; name one of them")
    texts = [stem + ending for stem in stems for ending in ENDINGS]
    tokens = answer_tokens(tokenizer, texts)
    lost = [text for text in texts if text not in tokens]
    if lost:
        raise UserError(f"--cell_types: the model's tokenizer cannot represent {lost[0]!r}")
    return [tokens[text] for text in texts]


def _table(
    labels: Sequence[str | None], chances: np.ndarray, statuses: Sequence[str]
) -> pd.DataFrame:
    labelled = np.array([label is not None for label in labels], dtype=bool)
    return pd.DataFrame(
        {
            "c2s_cell_type": pd.Series(labels, dtype=object),
            "c2s_cell_type_probability": np.where(labelled, chances, np.nan).astype(np.float32),
            "c2s_cell_type_status": pd.Series(statuses, dtype=object),
        }
    )
