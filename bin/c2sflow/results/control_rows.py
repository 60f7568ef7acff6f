"""Measured control cells among the predicted ones: their rows of obs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from c2sflow.data.own_columns import own_name
from c2sflow.sentences.no_ops import MEASURED, NO_OP

NO_ANSWER = ("n_predicted_genes", "invalid_genes", "duplicate_genes")  # of a measured cell: 0


def control_rows(answers: pd.DataFrame, rows: np.ndarray, label: str) -> pd.DataFrame:
    """obs of measured control cells in the columns of answers; what they have not is missing.

    Parameters
    ----------
    answers
        Some answers, of obs as it is written.
    rows
        Of the control cells in c2s.h5ad.
    label
        Their condition and perturbation.
    """
    frame = answers.iloc[np.zeros(len(rows), dtype=int)].reset_index(drop=True)
    known: Mapping[str, object] = {
        own_name("source_cell"): rows,
        own_name("condition"): label,
        own_name("perturbation"): label,
        **{own_name(name): np.int64(0) for name in NO_ANSWER},
        own_name("truncated"): False,
        own_name("sentence"): "",
        NO_OP: False,
        MEASURED: True,
    }
    for name in frame:
        if name in known:
            frame[name] = known[name]
        else:
            frame[name] = frame[name].where(np.zeros(len(frame), dtype=bool))
    return frame
