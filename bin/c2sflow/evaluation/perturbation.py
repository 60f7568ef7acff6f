"""Predicted perturbations against measured cells, next to what any predictor must beat.

Cells are unpaired: the predicted cells of a perturbation are compared with the cells that were
measured under it, and the control cells are what both changed from; prediction and truth use no
cell both (`c2sflow.evaluation.halves`). The predicted change of a gene is that of
`c2sflow.sentences.compare`: each answer against its own control sentence, both through the rank
fit. All values are log10(1 + x) at 10,000 a cell.

Baselines:

no_change
    the control cells as they are.
another_control
    another control cell in place of the answer: what a model reaches that copies any cell.
perturbation_mean
    the mean of the measured cells of the run's other perturbations.
training_mean
    the measured change of the cells that the model was trained on: those of this perturbation,
    or, where there are none, of all.
measured_half
    no predictor, but what one could reach: as many measured cells as there are answers, against
    others.

Each figure has its null: the same where measured and control cells swap their labels at random, so
that nothing happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from c2sflow.evaluation.changes import DEPTHS, change_figures
from c2sflow.evaluation.conditions import Condition
from c2sflow.evaluation.distances import distance_figures
from c2sflow.evaluation.figures import (
    Figure,
    Labels,
    bootstrap_interval,
    cell_weights,
    draw_others,
    mean_interval,
)
from c2sflow.sentences.compare import chance_overlap, gene_overlap, rank_agreement

MIN_CELLS = 4  # measured, and control with an answer: each half holds two
AGREEMENTS = {"gene_overlap": (gene_overlap, (0, 1)), "kendall_tau": (rank_agreement, (-1, 1))}


def condition_figures(name: str, condition: Condition, seed: int) -> Iterator[Figure]:
    """All figures of one condition: of the model, the baselines and the measured halves."""
    yield from change_figures(name, condition, condition.halves(seed))
    yield from distance_figures(name, condition, seed)


# ------------------------------------------------------------------ cells that are paired


def paired_figures(
    subject: str, answers: Sequence[np.ndarray], truth: Sequence[np.ndarray],
    sources: Labels, seed: int,
) -> Iterator[Figure]:  # fmt: skip
    """Overlap and order of each answer with the sentence of the very cell that was measured.

    Where cells are perturbed with the label that they carry, the answer to a cell's prompt has a
    truth: that cell. Beside it another measured cell in place of the answer, all three sentences
    cut to one depth. The null is the answer against that other cell.

    Parameters
    ----------
    answers, truth
        Genes of each answer and of its cell, highest first.
    sources
        Which cell that is: several answers may be to one.
    """
    others = draw_others(sources, seed)
    rows = [n for n, genes in enumerate(answers) if len(genes) and len(truth[n])]
    paired = [n for n in rows if others[n] >= 0 and len(truth[others[n]])]
    rows = paired or rows  # a single cell has no other
    if not rows:
        return
    predicted, own = [answers[n] for n in rows], [truth[n] for n in rows]
    pairs = {"model": (predicted, own)}
    if paired:
        other = [truth[others[n]] for n in rows]
        pairs |= {"another_cell": (other, own), "null": (predicted, other)}
    n_genes = np.unique(np.concatenate([*predicted, *own])).size
    shortest = [
        min(map(len, genes)) for genes in zip(*(p[0] for p in pairs.values()), own, strict=True)
    ]
    cells = np.asarray(sources)[rows]
    for depth, k in DEPTHS.items():
        depths = [min(n, k or n) for n in shortest]
        for name, (agreement, bounds) in AGREEMENTS.items():
            mean_depth = float(np.mean(depths))
            chance = chance_overlap(mean_depth, n_genes) if bounds[0] == 0 else 0.0
            values = {
                key: np.array(
                    [agreement(a, b, n) for a, b, n in zip(*both, depths, strict=True)], np.float64
                )
                for key, both in pairs.items()
            }
            for predictor in (name for name in pairs if name != "null"):
                kept = np.isfinite(values[predictor])
                if not kept.any():
                    continue
                twins = np.asarray(sources)[others[rows]][kept]
                drawn = cell_weights(cells[kept], seed, twins if predictor != "model" else None)
                found = drawn @ values[predictor][kept]
                ends = bootstrap_interval(found, len(set(cells[kept])), bounds)
                null = values["null"] if predictor == "model" and paired else np.empty(0)
                null = null[np.isfinite(null)]
                yield Figure(
                    f"{name}_{depth}", subject, predictor, float(found[0]), int(kept.sum()),
                    "cells", *ends, int(kept.sum()),
                    null=float(null.mean()) if null.size else np.nan, depth=mean_depth,
                    chance=chance,
                )  # fmt: skip


# ------------------------------------------------------------------ all conditions


def mean_figures(figures: Sequence[Figure]) -> Iterator[Figure]:
    """Mean of each figure over the conditions, if there are several; n counts conditions.

    Null, depth and chance level are means as well. The range of the null is of single conditions.
    """
    groups: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in figures:
        if np.isfinite(figure.value):
            key = (figure.metric, figure.space, figure.predictor)
            groups.setdefault(key, []).append(figure)
    for (metric, space, predictor), found in groups.items():
        if len(found) > 1:
            values = np.array([figure.value for figure in found])
            low, high = mean_interval(values)
            yield Figure(
                metric, "", predictor, float(values.mean()), values.size, space, low, high,
                null=_known_mean(figure.null for figure in found),
                depth=_known_mean(figure.depth for figure in found),
                chance=_known_mean(figure.chance for figure in found),
            )  # fmt: skip


def _known_mean(values: Iterable[float]) -> float:
    """Mean of those that are known; NaN without any."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan
