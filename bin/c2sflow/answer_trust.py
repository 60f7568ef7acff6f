"""How far the answers can be trusted before they are compared with anything measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from c2sflow.gene_agreement import gene_overlap
from c2sflow.resampling import (
    Figure,
    another,
    bootstrap_interval,
    cell_weights,
    share_interval,
    weights,
)

COUNTS = {"invalid": "c2s_invalid_genes", "repeated": "c2s_duplicate_genes"}


def answer_figures(answers: pd.DataFrame, subject: str, seed: int) -> list[Figure]:
    """Shares of the words that are no gene or repeat one, and of the answers that were cut.

    Parameters
    ----------
    answers
        c2s_n_predicted_genes, c2s_invalid_genes, c2s_duplicate_genes and c2s_finish_reason.
    subject
        The condition they are of.

    Returns
    -------
    invalid_fraction and repeated_fraction (of all words), cut_fraction (of the answers). Where
    no word, or each, is such a one, the interval is that of the share of answers with one, in
    which the words of an answer count as one: a share of words is no larger.
    """
    n = len(answers)
    words = answers[["c2s_n_predicted_genes", *COUNTS.values()]].to_numpy(dtype=float)
    shares = weights(n, seed)
    said = shares @ words.sum(axis=1)
    figures = []
    for place, name in enumerate(COUNTS, 1):
        values = np.divide(shares @ words[:, place], said, out=np.zeros_like(said), where=said > 0)
        low, high = bootstrap_interval(values, n, (0, 1))
        if values[0] in (0, 1):  # every resample has the same share, and shows nothing
            low, high = share_interval(int(values[0]) * n, n)
        figures.append(
            Figure(f"{name}_fraction", subject, "model", values[0], n, ci_low=low, ci_high=high)
        )
    cut = int((answers["c2s_finish_reason"] == "length").sum())
    low, high = share_interval(cut, n)
    figures.append(Figure("cut_fraction", subject, "model", cut / n, n, ci_low=low, ci_high=high))
    return figures


def novelty_figures(
    answers: Sequence[Sequence], controls: Sequence[Sequence], sources: Sequence[int],
    subject: str, seed: int,
) -> list[Figure]:  # fmt: skip
    """Share of an answer's genes that its own control cell does not hold as high.

    1 - overlap of the answer with the control sentence cut to its length: 0 says that the model
    copied the cell. Beside it the same of another control cell instead of the answer, cut to the
    same length: how much two cells differ to which nothing was done.

    Parameters
    ----------
    answers, controls
        Genes of each answer and of its control cell, highest first.
    sources
        Which control cell that is: several answers may be to one.
    """
    others = another(sources, seed)
    rows = [n for n, genes in enumerate(answers) if len(genes) and len(controls[n])]
    paired = [n for n in rows if others[n] >= 0 and len(controls[others[n]])]
    rows = paired or rows  # a single cell has no other
    placed = {"model": [answers[n] for n in rows]}
    if paired:
        placed["another_control"] = [controls[others[n]] for n in rows]
    own, cells = [controls[n] for n in rows], np.asarray(sources)[rows]
    depths = [min(map(len, genes)) for genes in zip(own, *placed.values(), strict=True)]
    figures = []
    for predictor, said in placed.items() if rows else ():
        values = [1 - gene_overlap(a, b, k) for a, b, k in zip(said, own, depths, strict=True)]
        pairs = np.asarray(sources)[others[rows]] if predictor == "another_control" else None
        found = cell_weights(cells, seed, pairs) @ np.array(values)
        low, high = bootstrap_interval(found, len(set(cells)), (0, 1))
        figures.append(
            Figure("novelty", subject, predictor, found[0], len(rows), ci_low=low, ci_high=high,
                   depth=float(np.mean(depths)))
        )  # fmt: skip
    return figures
