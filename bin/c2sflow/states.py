"""What the values of a matrix can be: raw counts, normalised, or log-normalised, in which base.

`c2sflow.state_decision` finds it out, from what `c2sflow.cell_evidence` sees in each cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

InputState = Literal["counts", "normalized", "lognormalized"]
LogBase = Literal["e", 2, 10]

STATES: tuple[InputState, ...] = ("counts", "normalized", "lognormalized")
LOG_BASES: dict[LogBase, float] = {"e": np.e, 2: 2.0, 10: 10.0}
LOG_NAMES = {"e": "natural log", 2: "log base 2", 10: "log base 10"}
HOW_TO_SAY = "say what they are with --input_state counts, normalized or lognormalized"


@dataclass(frozen=True)
class State:
    """State of the values; `log_base` for log-normalised ones only."""

    name: InputState
    log_base: LogBase | None = None

    def __str__(self) -> str:
        """For the log."""
        if self.name == "counts":
            return "raw counts"
        if self.name == "normalized":
            return "already normalised: not normalised again, only logged"
        return f"already log-normalised ({LOG_NAMES[self.log_base]}): not normalised again"


def are_counts(data: np.ndarray) -> bool:
    """Whether all values are integers, whatever their type."""
    return data.dtype.kind in "iub" or bool((data == np.round(data)).all())
