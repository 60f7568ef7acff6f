"""What a user should know about predicted labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from c2sflow.generation.annotation import Annotation
from c2sflow.generation.free_answers import EMPTY, GENES, LOW, NO_GENES, OK, UNENDED
from c2sflow.inputs.labels import CELL_TYPE
from c2sflow.inputs.lists import LITTLE
from c2sflow.model.tasks import context_warning
from c2sflow.sentences.prompts import ANSWER_TOKENS

FEW_CELLS = 5  # of which one label is no surprise
REASONS = {
    NO_GENES: "have no genes",
    EMPTY: "empty answers",
    UNENDED: f"answers did not end within {ANSWER_TOKENS} tokens",
    GENES: "answers list genes",
    LOW: "are below --min_probability",
}


def annotation_warnings(annotated: Mapping[str, Annotation], context: int) -> list[str]:
    """What a user should know about predicted labels, a line each.

    Parameters
    ----------
    annotated
        By the label's name.
    context
        Tokens that the model takes.
    """
    truncated = np.any([one.truncated for one in annotated.values()], axis=0)
    warnings = context_warning(truncated, context, "cells to annotate")
    for name, one in annotated.items():
        words, is_type = name.replace("_", " "), name == CELL_TYPE
        without = without_label(one.table, name)
        if wrong := {status: n for status, n in without.items() if status != LOW}:
            reasons = ", ".join(f"{n} {REASONS[status]}" for status, n in wrong.items())
            option = "--cell_types" if is_type else "candidates in --labels"
            mend = f"; name the labels to choose from with {option}"
            mend = mend if set(wrong) - {NO_GENES} else ""
            warnings.append(f"{sum(wrong.values())} cells have no {words}: {reasons}{mend}")
        coverage = one.coverage[np.isfinite(one.coverage)]
        if coverage.size and coverage.mean() < LITTLE:
            shows = "--cell_types none" if is_type else "free: true in --labels"
            which = "the labels of the list" if is_type else f"the candidates for {words}"
            warnings.append(
                f"{which} have {100 * coverage.mean():.1f} % of the model's "
                f"probability together: it prefers other answers for these cells ({shows} "
                "shows them), so the choice among these labels is not reliable"
            )
    return warnings


def without_label(table: pd.DataFrame, name: str = CELL_TYPE) -> dict[str, int]:
    """Number of cells without this label, by the reason."""
    statuses = table[f"c2s_{name}_status"]
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
