"""Cell types over several wordings of the prompt: mean probabilities, and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.generation.annotation import Annotation, annotate, label_table
from c2sflow.generation.label_scoring import ScoringStats

SPREAD = "c2s_cell_type_spread"


def annotate_wordings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    templates: Sequence[str],
    cell_types: Sequence[str] | None = None,
    **options: Any,
) -> Annotation:
    """`annotate` under each template.

    Parameters
    ----------
    templates
        One or more prompts that ask for the cell type.
    cell_types
        The labels to choose from; None for free answers, which have no mean: the first template
        asks for them.
    options
        See `c2sflow.generation.annotation.annotate`.

    Returns
    -------
    Of one template its labels. Of more, each cell's label has the highest mean of its
    probabilities under the templates, and c2s_cell_type_spread (float32) of the table is their
    standard deviation (NaN without a list).
    """
    first, *others = templates
    if not others or cell_types is None:
        found = annotate(model, tokenizer, cells, first, cell_types, **options)
        if others:
            found = replace(found, table=found.table.assign(**{SPREAD: np.float32(np.nan)}))
        return found
    each = [annotate(model, tokenizer, cells, text, cell_types, **options) for text in templates]
    chances = np.stack([found.chances for found in each if found.chances is not None])
    mean = chances.mean(axis=0)
    best = mean.argmax(axis=1) if len(cells) else np.empty(0, dtype=int)
    table = label_table(cell_types, mean, best)
    spread = chances[:, np.arange(len(cells)), best].std(axis=0)
    return Annotation(
        table.assign(**{SPREAD: spread.astype(np.float32)}),
        np.mean([found.coverage for found in each], axis=0),
        np.any([found.truncated for found in each], axis=0),
        ScoringStats(
            n_prompt_tokens=sum(found.stats.n_prompt_tokens for found in each),
            n_path_tokens=sum(getattr(found.stats, "n_path_tokens", 0) for found in each),
            max_batch_tokens=min(found.stats.max_batch_tokens for found in each),
            seconds=sum(found.stats.seconds for found in each),
        ),
        mean,
    )
