"""The columns of obs of a label: the answer of each cell, or why it has none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from c2sflow.generation.free_answers import LOW, NO_GENES, OK
from c2sflow.generation.label_probabilities import entropy, top_texts


def chosen_table(
    column: str, candidates: Sequence[str], chances: np.ndarray, min_probability: float | None
) -> pd.DataFrame:
    """Columns of a label that was chosen from candidates.

    Parameters
    ----------
    column
        Name of the label's column, such as c2s_tissue.
    chances
        float64 (n_cells, n_candidates): probabilities, NaN for a cell without genes.
    min_probability
        Below it a cell has no label; its probability and what was likeliest are kept.
    """
    known = ~np.isnan(chances).any(axis=1)
    best = np.where(known, chances.argmax(axis=1), 0) if len(chances) else np.empty(0, dtype=int)
    own = chances[np.arange(len(best)), best]
    statuses = np.where(known, OK, NO_GENES).astype(object)
    statuses[known & (own < (min_probability or 0))] = LOW
    labels = [
        candidates[n] if status == OK else None for n, status in zip(best, statuses, strict=True)
    ]
    return _table(column, labels, own, statuses, entropy(chances), top_texts(candidates, chances))


def free_table(
    column: str,
    labels: Sequence[str | None],
    chances: np.ndarray,
    statuses: Sequence[str],
    min_probability: float | None,
) -> pd.DataFrame:
    """Columns of a label that was answered freely; there is no entropy of these.

    Parameters
    ----------
    chances
        float64 (n_cells,): probability of each whole answer.
    statuses
        See `c2sflow.generation.free_answers`.
    """
    answered = np.array([label is not None for label in labels], dtype=bool)
    low = answered & (chances < (min_probability or 0))
    kept = [None if drop else label for label, drop in zip(labels, low, strict=True)]
    states = np.where(low, LOW, np.asarray(statuses, dtype=object))
    n = len(labels)
    own = np.where(answered, chances, np.nan)
    return _table(column, kept, own, states, np.full(n, np.nan), [None] * n)


def _table(
    column: str,
    labels: Sequence[str | None],
    chances: np.ndarray,
    statuses: Sequence[str] | np.ndarray,
    entropies: np.ndarray,
    top: Sequence[str | None],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column: pd.Series(labels, dtype=object),
            f"{column}_probability": chances.astype(np.float32),
            f"{column}_entropy": entropies.astype(np.float32),
            f"{column}_top3": pd.Series(top, dtype=object),
            f"{column}_status": pd.Series(statuses, dtype=object),
        }
    )
