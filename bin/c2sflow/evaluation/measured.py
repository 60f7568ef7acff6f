"""Which cells of a run answer for a predicted perturbation, and the figures of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from c2sflow.data.obs.measured_cells import CONTROL, Measured, draw, labels_of_conditions
from c2sflow.data.sampling import equal_shares
from c2sflow.evaluation.conditions import ConditionCells
from c2sflow.evaluation.figures import Figure
from c2sflow.evaluation.gene_changes import GeneChanges
from c2sflow.evaluation.perturbation import (
    MIN_CELLS,
    condition_figures,
    mean_figures,
    paired_figures,
)
from c2sflow.evaluation.run_reader import RunCells


def unlike_controls(labels: pd.Series, measured: Measured) -> list[str]:
    """Perturbations whose measured cells are mostly of other types than the control cells.

    What parts these types is in the figures of such a perturbation, whatever the perturbation does.

    Parameters
    ----------
    labels
        Type of every cell of the run; missing is unknown.
    """
    shares = {
        name: labels.iloc[rows].value_counts(normalize=True)
        for name, rows in measured.groups.items()
    }
    control = shares.pop(CONTROL)
    shared = {
        name: np.minimum(*control.align(share, fill_value=0)).sum()
        for name, share in shares.items()
        if control.sum() and share.sum()  # 0 without any known type
    }
    return [name for name, overlap in shared.items() if overlap < 0.5]


def perturbation_figures(
    cells: RunCells,
    answers: pd.DataFrame,
    measured: Measured,
    most: int,
    seed: int,
    genes: GeneChanges,
    write_genes: Callable[[pd.DataFrame], None],
) -> tuple[list[Figure], list[str]]:
    """Figures of every condition that has measured cells, and notes on them.

    Parameters
    ----------
    answers
        From `RunCells.answers`; those to cells that the model was trained on are left out.
    measured
        From `find_measured`.
    most
        Answers of all conditions together that are looked at.
    genes, write_genes
        Compares each gene, and gets the tables of the conditions one by one.
    """
    answers = answers[~measured.training[answers["source"]]]
    labels = labels_of_conditions(answers, measured.groups)
    known = {name: label for name, label in labels.items() if label}
    notes = [f"{name}: no cell was measured under it" for name in labels if name not in known]
    own = measured.labels[answers["source"]]  # of the cells that the answers are to
    wanted = answers["condition"].astype(str).map(labels).to_numpy()
    paired = {n for n in known if (own == wanted)[answers["condition"] == n].all()}
    # An answer to a cell that something was done to is no prediction from a control cell.
    kept = answers["condition"].isin(paired).to_numpy() | (own == CONTROL)
    drawn = _draw_answers(answers[kept], list(known), most, seed)
    figures: list[Figure] = []
    for name in sorted(paired):
        sources = drawn[name]["source"].to_numpy()
        predicted, own = cells.answer_sentences(drawn[name])[0], cells.sentences(sources)
        figures += paired_figures(name, predicted, own, sources, seed)
    if unpaired := sorted(drawn.keys() - paired):
        if len(measured.groups[CONTROL]) < MIN_CELLS:
            notes.append(f"{len(measured.groups[CONTROL])} control cells: too few to compare with")
            unpaired = []
        else:
            reader = ConditionCells(cells, measured.groups, measured.trained, CONTROL, seed)
        for name in unpaired:
            condition = reader.condition(drawn[name], known[name])
            if min(np.unique(condition.source).size, len(condition.measured)) < MIN_CELLS:
                few = f"fewer than {MIN_CELLS} measured cells, or control cells with an answer"
                notes.append(f"{name}: {few}")
                continue
            figures += condition_figures(name, condition, seed)
            both = (measured.groups[label] for label in (known[name], CONTROL))
            if changes := genes.condition(name, drawn[name], *both):
                write_genes(changes[0])
                figures += changes[1]
    return [*figures, *mean_figures(figures)], notes


def _draw_answers(
    answers: pd.DataFrame, names: Sequence[str], most: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Some answers of each condition, in drawn order."""
    groups = {name: answers[answers["condition"] == name] for name in names}
    shares = equal_shares(most, {name: len(rows) for name, rows in groups.items()})
    drawn = {}
    for name, rows in groups.items():
        # Answers to one cell are distinguished by their order.
        number = rows.groupby(["sample", "source_cell"], observed=True).cumcount().astype(str)
        ids = rows.assign(cell_id=rows["source_cell"].astype(str) + "\0" + number)
        chosen = draw(ids, np.arange(len(rows)), shares[name], seed, name)
        drawn[name] = rows.iloc[chosen]
    return drawn
