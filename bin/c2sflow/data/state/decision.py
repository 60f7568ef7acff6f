"""The state of a file's values, decided from the evidence of each of its cells, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.state.cell_names import name_cells
from c2sflow.data.state.counts import doubt_about_counts
from c2sflow.data.state.evidence import FAULTS, Evidence, cell_evidence
from c2sflow.data.state.fits import COLUMNS, COUNTS, NORMALIZED, Fits, fit_cells, rounded_cells
from c2sflow.data.state.normalization import HOW_TO_DECLARE, LOG_BASES, LOG_NAMES, InputState, State

LOOKS = (
    "raw counts", "normalised values", "natural logs of normalised values",
    "logs to base 2 of normalised values", "logs to base 10 of normalised values",
)  # fmt: skip
NEITHER = "neither counts, nor normalised to a total, nor the log of such values"
NOTHING = "nothing in the values shows what they are"
SHOWN_GROUPS = 3
LARGEST = 50.0  # no logarithm is larger: 2^50 is beyond any count
# A state that so many times more evidence speaks for than for the next one is the state.
CLEARLY = 1.5
FEW_POOLED = 20  # values so large that every number is stored as a whole one: too few to decide
FEWEST = 60  # values of a file with fractions, from which on they show what they are
SILENT_SHARE = 0.05  # of the cells with many values may show nothing
SILENT_SHARE_OF_FULLER = 0.2  # of the cells with more values than the median
SILENT_SHARE_OF_FRACTIONS = 0.5  # of the cells with many values, in counts with fractions
ENOUGH = 10  # values of a cell, from which on it should show something
FRACTIONS = "with fractions where reads of several genes are shared out"


@dataclass(frozen=True)
class Decision:
    """State of the values of a file, why, and what the user should know."""

    state: State
    evidence: str
    warnings: tuple[str, ...] = ()


def detect_state(rows: sparse.csr_matrix, where: str, obs: pd.DataFrame | None = None) -> State:
    """State of the values of these cells: see `decide_state`."""
    return decide_state(cell_evidence(rows), _obs(rows.shape[0], obs), where).state


def declared_state(
    rows: sparse.csr_matrix, name: InputState, where: str, recorded_base: float | None = None
) -> tuple[State, str | None]:
    """State of the values of these cells as the user declares it: see `check_declared`."""
    found = check_declared(
        cell_evidence(rows), _obs(rows.shape[0], None), name, where, recorded_base
    )
    return found.state, next(iter(found.warnings), None)


def _obs(n_cells: int, obs: pd.DataFrame | None) -> pd.DataFrame:
    return pd.DataFrame(index=np.arange(n_cells).astype(str)) if obs is None else obs


def check_faults(evidence: Evidence, obs: pd.DataFrame, where: str) -> None:
    """Raise UserError for values that are no expression: NaN, infinite or negative."""
    for number, kind in enumerate(FAULTS):
        cells = evidence.fault == number
        if number and cells.any():
            mend = "give the matrix before the step that made them"
            if number == FAULTS.index("negative values"):
                mend = "scaled? give the unscaled matrix, for example adata.raw.to_adata()"
            raise UserError(f"{where}: X holds {kind} in {name_cells(cells, obs)}; {mend}")


def decide_state(evidence: Evidence, obs: pd.DataFrame, where: str) -> Decision:
    """State that the values of all cells have.

    Parameters
    ----------
    evidence
        Of each cell.
    obs
        Of the same cells, for messages.
    where
        The sample's name and file, for messages.

    Raises
    ------
    UserError
        In one line that names the cells: if values are negative or not finite, if cells are in
        different states, if none or several states fit, or if whole numbers are hardly counts.
    """
    check_faults(evidence, obs, where)
    n_values = int(evidence.n_values.sum())
    if not n_values:
        raise UserError(f"{where}: X is all zeros in the cells looked at; is it the right matrix?")
    if n_values < FEWEST and (evidence.whole[evidence.n_values > 0] < 1).any():
        raise UserError(
            f"{where}: the values of X are ambiguous ({n_values} values with fractions are too few "
            f"to show what they are); {HOW_TO_DECLARE}"
        )
    fits = fit_cells(evidence)
    column = _best(fits, evidence, where)
    wrong = fits.table[:, column] < 0
    if column != COUNTS:  # stored coarsely, counts may pass for logs
        others = fits.table > 0
        others[:, COUNTS] &= evidence.n_values >= 2 * ENOUGH
        wrong |= (fits.table[:, column] == 0) & others.any(axis=1)
    if wrong.any() or not (fits.table[:, column] > 0).any():
        _refuse(fits, evidence, obs, where)
    if column == COUNTS and (doubt := doubt_about_counts(evidence)):
        raise UserError(
            f"{where}: the values of X are whole numbers, but {doubt}; {HOW_TO_DECLARE}"
        )
    silent = _silent(fits.table[:, column] > 0, evidence, column)
    if silent.any():
        raise UserError(
            f"{where}: the values of X are ambiguous ({LOOKS[column]}, but "
            f"{name_cells(silent, obs)} do not show it); {HOW_TO_DECLARE}"
        )
    return Decision(
        COLUMNS[column], _describe(fits, evidence, column), _warn(fits, evidence, obs, column)
    )


def _silent(shows: np.ndarray, evidence: Evidence, column: int) -> np.ndarray:
    """Cells that do not show the state, where too many do not; else none.

    A cell of many values nearly always shows its state, of the fuller half of the cells most do;
    counts with fractions show less, and counts without need not.
    """
    n_values, cells = evidence.n_values, evidence.n_values > 0
    limits = [
        (2 * ENOUGH, SILENT_SHARE),
        (min(2 * ENOUGH, np.median(n_values[cells])), SILENT_SHARE_OF_FULLER),
    ]
    if column == COUNTS:
        fractions = (evidence.whole[cells] < 1).any()
        limits = [(2 * ENOUGH, SILENT_SHARE_OF_FRACTIONS)] if fractions else []
    for least, share in limits:
        silent = (n_values >= least) & ~shows
        if silent.sum() > share * (n_values >= least).sum():
            return silent
    return np.zeros(len(shows), bool)


def check_state(evidence: Evidence, obs: pd.DataFrame, state: State, where: str) -> Decision:
    """Check all cells against the state that was found before, maybe from some of them.

    Parameters
    ----------
    evidence, obs, where
        As for `decide_state`.
    state
        As found.

    Raises
    ------
    UserError
        In one line that names the cells, if some are in another state.
    """
    check_faults(evidence, obs, where)
    fits, column = fit_cells(evidence), COLUMNS.index(state)
    wrong = fits.table[:, column] < 0
    if wrong.any():
        looks = _looks(fits, evidence)[wrong]
        like = next((look for look in looks if look), NEITHER)
        raise UserError(
            f"{where}: taken as {state}, but X holds others ({like}) in {name_cells(wrong, obs)}; "
            f"give a file or layer for each, or {HOW_TO_DECLARE}"
        )
    return Decision(state, _describe(fits, evidence, column), _warn(fits, evidence, obs, column))


def _best(fits: Fits, evidence: Evidence, where: str) -> int:
    """Column of the state that most cells support; a state that no cell contradicts goes first."""
    score = (fits.table > 0).sum(axis=0).astype(float)
    score[NORMALIZED:] += fits.by_sum.sum(axis=0)
    possible = (fits.table >= 0).all(axis=0) & (score > 0)
    if not possible.any() and _pooled_counts(fits, evidence):
        fits.table[evidence.n_values > 0, COUNTS] = 1
        return COUNTS
    if possible.sum() > 1:
        first, second = np.argsort(-np.where(possible, score, 0), kind="stable")[:2]
        if score[first] < CLEARLY * score[second]:
            raise UserError(
                f"{where}: the values of X are ambiguous ({LOOKS[first]} or {LOOKS[second]}); "
                f"{HOW_TO_DECLARE}"
            )
    return int(np.argmax(np.where(possible, score, 0) if possible.any() else score))


def _pooled_counts(fits: Fits, evidence: Evidence) -> bool:
    """Cells of one or two genes each: together they show counts."""
    return bool(
        (evidence.whole[evidence.n_values > 0] == 1).all()
        and not (evidence.coarse.any() and evidence.n_values.sum() < FEW_POOLED)
        and (fits.table[:, COUNTS] >= 0).all()
        and np.unique(evidence.largest[evidence.n_values > 0]).size >= 2
    )


def _looks(fits: Fits, evidence: Evidence) -> np.ndarray:
    """What the values of each cell look like on their own, in words; "" for too few values."""
    looks = np.full(len(evidence), "", dtype=object)
    contradicted = (fits.table < 0).all(axis=1)
    looks[contradicted] = NEITHER
    for column in reversed(range(len(COLUMNS))):
        looks[fits.table[:, column] > 0] = LOOKS[column]
    looks[evidence.roots & contradicted] = "square roots of counts"
    looks[fits.logged_counts] = "the log of counts that were never normalised"
    looks[rounded_cells(evidence) & (fits.table[:, NORMALIZED] < 1)] = (
        "normalised values that were rounded"
    )
    return looks


def _refuse(fits: Fits, evidence: Evidence, obs: pd.DataFrame, where: str) -> None:
    looks = _looks(fits, evidence)
    kinds, sizes = np.unique(looks[looks != ""].astype(str), return_counts=True)
    kinds = kinds[np.argsort(-sizes, kind="stable")]
    if not kinds.size:
        middle = int(np.median(evidence.n_values))
        why = f"the cells hold too few values to show what they are: {middle} in the median cell"
        if middle >= 2 * ENOUGH:
            cells = evidence.take(np.flatnonzero(evidence.n_values > 0))
            binary = (cells.smallest == 1).all() and (cells.largest == 1).all()
            why = "all values are 1: made binary?" if binary else NOTHING
        raise UserError(f"{where}: the values of X are ambiguous ({why}); {HOW_TO_DECLARE}")
    if kinds.size == 1 and kinds[0].startswith("the log of counts"):
        raise UserError(
            f"{where}: the values look like {kinds[0]}; give the counts, or {HOW_TO_DECLARE}"
        )
    if kinds.size == 1:
        raise UserError(
            f"{where}: the values of X are ambiguous ({_why(kinds[0])}); {HOW_TO_DECLARE}"
        )
    groups = [
        f"{name_cells(looks == kind, obs)} look like {kind}".replace("look like nei", "are nei")
        for kind in kinds[:SHOWN_GROUPS]
    ]
    raise UserError(
        f"{where}: the values of X are ambiguous, cells differ: {', '.join(groups)}; give a file "
        f"or layer for each, or {HOW_TO_DECLARE}"
    )


def _why(kind: str) -> str:
    if kind == NEITHER:
        return f"{kind}; estimated counts with fractions are counts"
    if kind.startswith("normalised") or kind == LOOKS[COUNTS]:
        return f"{kind} in some cells, too few values in the others"
    return kind


def _describe(fits: Fits, evidence: Evidence, column: int) -> str:
    """The evidence in one line, for the log and the records."""
    cells = evidence.n_values > 0
    if column == COUNTS:
        n_values = evidence.n_values[cells]
        whole = 100 * np.average(evidence.whole[cells], weights=n_values)
        shown = "100" if whole == 100 else f"{min(whole, 99.9):.1f}"
        line = f"{shown} % whole numbers, row sums {_span(evidence.total[cells])}"
        return line if whole == 100 else f"{line}; {FRACTIONS}"
    scale = column - NORMALIZED
    which = (
        "the values"
        if not scale
        else f"the values before the {LOG_NAMES[COLUMNS[column].log_base]}"
    )
    if fits.totals[scale]:
        share = 100 * fits.by_sum[cells, scale].mean()
        totals = " or ".join(f"{total:,.6g}" for total in sorted(fits.totals[scale]))
        return f"{which} sum to {totals} in {share:.0f} % of the cells"
    share = 100 * (evidence.fits[cells, scale] > 0).mean()
    return f"{which} are whole multiples of the cell's smallest in {share:.0f} % of the cells"


def _span(values: np.ndarray) -> str:
    return f"{values.min():,.6g} to {values.max():,.6g}"


def _warn(fits: Fits, evidence: Evidence, obs: pd.DataFrame, column: int) -> tuple[str, ...]:
    if column == COUNTS or len(totals := fits.totals[column - NORMALIZED]) < 2:
        return ()
    sums, parts = evidence.sums[:, column - NORMALIZED], []
    for total in totals:
        cells = fits.by_sum[:, column - NORMALIZED] & (np.abs(sums / total - 1) < 5e-3)
        parts.append(f"{total:,.6g} in {name_cells(cells, obs)}")
    return (
        f"cells were normalised to different totals ({', '.join(parts)}): each is kept as it is, "
        "and their values do not compare",
    )


def check_declared(
    evidence: Evidence,
    obs: pd.DataFrame,
    name: InputState,
    where: str,
    recorded_base: float | None = None,
) -> Decision:
    """State of the values as the user declares it, checked cell by cell for the impossible.

    Parameters
    ----------
    evidence, obs, where
        As for `decide_state`.
    name
        State as declared.
    recorded_base
        Base of the logarithm that the file records (``uns["log1p"]["base"]``).

    Returns
    -------
    The state; the base of the logarithm is the one the values show, else the recorded one, else e,
    with a warning.

    Raises
    ------
    UserError
        If cells cannot be in this state.
    """
    check_faults(evidence, obs, where)
    fits = fit_cells(evidence)
    for cells, what in _impossible(fits, evidence, name):
        if cells.any():
            raise UserError(
                f"{where}: --input_state {name}, but X holds {what} in {name_cells(cells, obs)}"
            )
    reason = "as declared with --input_state"
    if name != "lognormalized":
        return Decision(State(name), reason)
    supported = [column for column in range(2, 5) if (fits.table[:, column] > 0).any()]
    clean = [column for column in supported if (fits.table[:, column] >= 0).all()]
    if len(supported) > 1 and not clean:
        groups = [f"{LOOKS[c]} in {name_cells(fits.table[:, c] > 0, obs)}" for c in supported]
        raise UserError(
            f"{where}: --input_state lognormalized, but X holds {', '.join(groups)}: give a file "
            "for each base"
        )
    if len(found := clean or supported) == 1:
        return Decision(COLUMNS[found[0]], reason)
    for base, value in LOG_BASES.items():
        if recorded_base is not None and np.isclose(recorded_base, value):
            return Decision(State(name, base), reason)
    warning = "the values do not show the base of the logarithm: taken as natural"
    return Decision(State(name, "e"), reason, (warning,))


def _impossible(
    fits: Fits, evidence: Evidence, name: InputState
) -> Iterator[tuple[np.ndarray, str]]:
    """Cells that cannot be in the declared state, and what they hold."""
    many = evidence.n_values >= 10
    whole = (evidence.whole == 1) & (evidence.n_values >= 3) & (evidence.largest >= 2)
    fractions = evidence.whole < 0.5
    if name == "counts":
        yield many & (evidence.largest < 1), "values that are no integers, none of them above 1,"
        processed = (fits.table[:, NORMALIZED:] > 0).any(axis=1) | evidence.roots
        processed |= fits.logged_counts
        yield (
            fractions & processed,
            "values that are no integers but normalised or transformed ones",
        )
    elif name == "normalized":
        logged = (fits.table[:, 2:] > 0).any(axis=1) & (fits.table[:, NORMALIZED] < 1)
        yield logged, "logs of normalised values"
        if not whole.all() and (fits.table[:, NORMALIZED] > 0).any():
            yield whole & (fits.table[:, NORMALIZED] < 0), "raw counts"
    else:
        yield whole, "only integers"
        large = evidence.largest > LARGEST
        yield large, f"values up to {evidence.largest.max(initial=0):.4g}"
        linear = (fits.table[:, NORMALIZED] > 0) & (fits.table[:, 2:] < 1).all(axis=1)
        yield linear, "normalised values that are no logs"
