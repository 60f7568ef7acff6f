"""What the values of a matrix are: raw counts, normalised, or log-normalised, and in which base.

Two fingerprints tell, each from a few hundred cells. Normalising to a total leaves the same sum
in every row, of x or of expm1(x). Where genes were removed afterwards the sums are gone, but
within a cell the values are still whole multiples of the smallest one (a count of 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from c2sflow.errors import UserError

InputState = Literal["counts", "normalized", "lognormalized"]
LogBase = Literal["e", 2, 10]

STATES: tuple[InputState, ...] = ("counts", "normalized", "lognormalized")
LOG_BASES: dict[LogBase, float] = {"e": np.e, 2: 2.0, 10: 10.0}
LOG_NAMES = {"e": "natural log", 2: "log base 2", 10: "log base 10"}
# No logarithm of an expression value is larger: 2^50 is beyond any count.
LARGEST_LOG = 50.0
# Row sums count as equal within this share of their median, in this share of the cells.
SUM_TOLERANCE, SUM_SHARE = 2e-3, 0.95
# A cell has whole multiples if this share of its values is; this share of the cells must.
MULTIPLE_SHARE, CELL_SHARE = 0.9, 0.8
# Multiples are judged only where rounding leaves them sharper than this.
SHARPNESS = 0.1
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


def check_values(data: np.ndarray, where: str) -> None:
    """Raise UserError for values that are no expression: NaN, infinite or negative."""
    if not np.isfinite(data).all():
        kind = "NaN" if np.isnan(data).any() else "infinite values"
        raise UserError(f"{where}: X holds {kind}; give the matrix before the step that made them")
    if data.size and data.min() < 0:
        raise UserError(
            f"{where}: X holds negative values (minimum {data.min():.3g}): scaled? "
            "give the unscaled matrix, for example adata.raw.to_adata()"
        )


def are_counts(data: np.ndarray) -> bool:
    """Whether all values are integers, whatever their type."""
    return data.dtype.kind in "iub" or bool((data == np.round(data)).all())


def _unlog(values: np.ndarray, base: float | None) -> np.ndarray:
    """Linear values: expm1 in `base`, or the values themselves for None."""
    return values if base is None else np.expm1(values * np.log(base))


def _constant_sums(rows: sparse.csr_matrix, base: float | None) -> bool:
    linear = rows.copy()
    linear.data = _unlog(rows.data, base)
    sums = np.asarray(linear.sum(axis=1)).ravel()
    sums = sums[sums > 0]
    if sums.size < 2:
        return False
    middle = np.median(sums)
    return bool((np.abs(sums - middle) <= SUM_TOLERANCE * middle).mean() >= SUM_SHARE)


def _rounding(data: np.ndarray) -> float:
    """Half the step of values rounded to 2 to 5 decimals; 0 if they are not rounded."""
    for decimals in range(2, 6):
        scaled = data * 10.0**decimals
        if (np.abs(scaled - np.round(scaled)) < 2e-7 * scaled + 1e-9).all():
            return 0.5 * 10.0**-decimals
    return 0.0


def _whole_multiples(rows: sparse.csr_matrix, base: float | None, rounding: float) -> bool:
    """Whether in nearly every cell nearly all values are whole multiples of the smallest."""
    log = 1.0 if base is None else np.log(base)
    passed = judged = 0
    for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        values = rows.data[start:stop]
        if values.size < 3:
            continue
        linear = _unlog(values, base)
        multiples = linear / linear.min()
        slope = 1.0 if base is None else log * (linear + 1)
        error = (rounding + 2e-7 * values) * slope / linear
        tolerance = multiples * (error + error[np.argmin(linear)]) + 1e-3
        telling = (tolerance < SHARPNESS) & (multiples > 1 + SHARPNESS)
        if telling.sum() < 3:
            continue
        off = np.abs(multiples - np.round(multiples))[telling]
        judged += 1
        passed += (off <= tolerance[telling]).mean() >= MULTIPLE_SHARE
    return judged > 0 and passed >= CELL_SHARE * judged


def _candidates(rows: sparse.csr_matrix) -> list[State]:
    """States that the values bear the fingerprint of; row sums first, then whole multiples."""
    options = [(State("normalized"), None)]
    if rows.data.max() <= LARGEST_LOG:
        options += [(State("lognormalized", name), base) for name, base in LOG_BASES.items()]
    found = [state for state, base in options if _constant_sums(rows, base)]
    if found:
        return found
    rounding = _rounding(rows.data)
    return [state for state, base in options if _whole_multiples(rows, base, rounding)]


def _is_log_of_counts(rows: sparse.csr_matrix, state: State) -> bool:
    """Whether counts were logged without having been normalised."""
    if state.log_base is None:
        return False
    counts = _unlog(rows.data, LOG_BASES[state.log_base])
    error = 1e-3 + 1e-6 * counts + _rounding(rows.data) * (counts + 1) * 2.5
    return bool((np.abs(counts - np.round(counts)) < error).all())


def detect_state(rows: sparse.csr_matrix, where: str) -> State:
    """State of the values from a sample of cells.

    Parameters
    ----------
    rows
        Cells × genes without explicit zeros.
    where
        The sample's name and file, for messages.

    Raises
    ------
    UserError
        If the values are negative, not finite or all zero, or bear no fingerprint or several.
    """
    check_values(rows.data, where)
    if not rows.nnz:
        raise UserError(f"{where}: X is all zeros in the cells looked at; is it the right matrix?")
    if are_counts(rows.data):
        return State("counts")
    rows = rows.astype(np.float64)
    found = _candidates(rows)
    if len(found) == 1 and _is_log_of_counts(rows, found[0]):
        raise UserError(
            f"{where}: the values look like the log of counts that were never normalised; "
            f"give the counts, or {HOW_TO_SAY}"
        )
    if len(found) != 1:
        why = " or ".join(str(state).split(":")[0] for state in found) or (
            "neither counts, nor normalised to a total, nor the log of such values"
        )
        raise UserError(f"{where}: the values of X are ambiguous ({why}); {HOW_TO_SAY}")
    return found[0]


def declared_state(
    rows: sparse.csr_matrix, name: InputState, where: str, recorded_base: float | None = None
) -> tuple[State, str | None]:
    """State of the values as the user declares it, checked against what is impossible.

    Parameters
    ----------
    rows, where
        As for `detect_state`.
    name
        State as declared.
    recorded_base
        Base of the logarithm that the file records (``uns["log1p"]["base"]``).

    Returns
    -------
    The state, and a warning or None. The base of the logarithm is the one the values show, else
    the recorded one, else e.
    """
    check_values(rows.data, where)
    integers = are_counts(rows.data)
    if name == "counts" and not integers:
        raise UserError(f"{where}: --input_state counts, but X holds values that are no integers")
    if name != "lognormalized":
        return State(name), None
    if rows.nnz and (integers or rows.data.max() > LARGEST_LOG):
        what = "only integers" if integers else f"values up to {rows.data.max():.4g}"
        raise UserError(f"{where}: --input_state lognormalized, but X holds {what}")
    found = _candidates(rows.astype(np.float64)) if rows.nnz else []
    bases = {state.log_base for state in found} - {None}
    if len(bases) == 1:
        return State(name, bases.pop()), None
    for base, value in LOG_BASES.items():
        if recorded_base is not None and np.isclose(recorded_base, value):
            return State(name, base), None
    return State(name, "e"), "the values do not show the base of the logarithm: taken as natural"
