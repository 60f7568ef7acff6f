"""Of what the values of each cell are multiples, on four scales, and to what they sum there.

The scales are the values themselves, and what they were before log(1 + x) to base e, 2 or 10. On
the right one the values of a cell are whole multiples of one step (a count of 1), and normalising
to a total has left the same sum in every cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

# Natural logarithm of the base of each scale; None: the values as they are.
SCALES: tuple[float | None, ...] = (None, 1.0, float(np.log(2)), float(np.log(10)))
# No natural logarithm of an expression value is larger: 10^15 is beyond any count.
LARGEST_LOG = float(np.log(1e15))
PER_CELL = 64  # values of a cell that are tested for being multiples
MULTIPLE_SHARE = 0.9  # of them must be
SHARPNESS = 0.1  # a value is informative only where rounding leaves its multiple sharper than this
DIGITS = 4.0  # decimal digits by which chance is excluded
# The smallest value of a cell is a count of up to this many (few genes, deep cells).
MOST_STEPS, FEW_VALUES = 32, 500
ARITHMETIC = 3e-7  # relative error of float32 values after a division and a logarithm


def unlog(values: np.ndarray, log: float | None) -> np.ndarray:
    """Values before log(1 + x) to the base whose natural logarithm is `log`; None: as they are."""
    return values if log is None else np.expm1(values * log)


@dataclass(frozen=True)
class Picks:
    """Some values above the smallest of each cell, and how sharp the cell's values are."""

    cell: np.ndarray  # of each value
    values: np.ndarray
    smallest: np.ndarray  # of each cell
    half_step: np.ndarray  # of each cell: values rounded to decimals
    precision: np.ndarray  # of each cell: relative

    @staticmethod
    def pick(
        data: np.ndarray, indptr: np.ndarray, smallest: np.ndarray, cells: np.ndarray
    ) -> Picks:
        """Evenly over the genes of each of these cells (bool); the others have none."""
        n_values = np.diff(indptr)
        entries = slice(None) if cells.all() else np.flatnonzero(np.repeat(cells, n_values))
        own = data[entries]
        n_own = np.where(cells, n_values, 0)
        places = np.flatnonzero(own > np.repeat(smallest, n_own) * 1.001)
        firsts = np.searchsorted(places, np.cumsum(n_own) - n_own)
        n_found = np.diff(firsts, append=places.size)
        n_picked = np.minimum(n_found, PER_CELL)
        cell = np.repeat(np.arange(len(cells)), n_picked)
        number = np.arange(cell.size) - np.repeat(np.cumsum(n_picked) - n_picked, n_picked)
        offset = number * n_found[cell] // n_picked[cell]
        values = own[places[firsts[cell] + offset]].astype(np.float64)
        half_step, precision = _sharpness(cell, values, smallest)
        return Picks(cell, values, smallest, half_step, precision)

    def select(self, cells: np.ndarray) -> Picks:
        """Those of some cells (bool); the others have none."""
        kept = cells[self.cell]
        return Picks(
            self.cell[kept], self.values[kept], self.smallest, self.half_step, self.precision
        )


def _sharpness(
    cell: np.ndarray, values: np.ndarray, smallest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Half the step of values rounded to 1 to 5 decimals (else 0), and their precision.

    The precision is found from the low bits of float32 that no value of the cell uses: values that
    were stored as float16 leave 13 of 24 empty.
    """
    n_cells = len(smallest)
    cell = np.concatenate([cell, np.arange(n_cells)])
    values = np.concatenate([values, smallest])
    half_step = np.zeros(n_cells)
    for decimals in range(5, 0, -1):
        scaled = values * 10.0**decimals
        off = np.abs(scaled - np.rint(scaled)) >= 2e-7 * scaled + 1e-9
        half_step[np.bincount(cell[off], minlength=n_cells) == 0] = 0.5 * 10.0**-decimals
    mantissas = values.astype(np.float32).view(np.int32) & 0x7FFFFF
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(n_cells))
    used = np.bitwise_or.reduceat(mantissas[order], starts) | 1 << 13
    empty = np.log2(used & -used)
    return half_step, np.maximum(ARITHMETIC, 2.0 ** (empty - 24))


def multiples(
    picks: Picks, log: float | None, n_steps: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many values of each cell are informative, the share of multiples, digits of evidence.

    A multiple is one of the smallest value divided by `n_steps`. Digits: by which chance is
    excluded, counted over different multiples.
    """
    n_cells, cell = len(picks.smallest), picks.cell
    with np.errstate(over="ignore"):
        low, linear = unlog(picks.smallest, log), unlog(picks.values, log)
    own = _relative_error(picks.values, linear, picks.half_step[cell], picks.precision[cell], log)
    low_error = _relative_error(picks.smallest, low, picks.half_step, picks.precision, log)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = n_steps * linear / low[cell]
        tolerance = found * (own + low_error[cell]) + 1e-5
    informative = (tolerance < SHARPNESS) & (found > n_steps + 5 * tolerance)
    if log is not None:  # 2^x - 1 and 10^x - 1 are whole multiples of 1 and 9 for any whole x
        informative &= picks.values != np.rint(picks.values)
    cell, found, tolerance = cell[informative], found[informative], tolerance[informative]
    nearest = np.rint(found)
    passes = np.abs(found - nearest) <= tolerance
    n_informative = np.bincount(cell, minlength=n_cells)
    share = np.bincount(cell[passes], minlength=n_cells) / np.maximum(n_informative, 1)
    keys = cell[passes] * 2**24 + np.minimum(nearest[passes], 2**24 - 1).astype(np.int64)
    _, first = np.unique(keys, return_index=True)
    digits = np.bincount(
        cell[passes][first], -np.log10(2 * tolerance[passes][first]), minlength=n_cells
    )
    return n_informative, share, digits


def _relative_error(
    values: np.ndarray,
    linear: np.ndarray,
    half_step: np.ndarray,
    precision: np.ndarray,
    log: float | None,
) -> np.ndarray:
    """Of the values before the logarithm, by what rounding may have changed in those stored."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = 1.0 if log is None else log * (linear + 1)
        return (half_step + precision * values) * slope / linear


def _verdict(
    n_informative: np.ndarray, share: np.ndarray, digits: np.ndarray, needed: float, least: float
) -> np.ndarray:
    """1 for cells whose values are multiples, -1 for those whose are not, 0 undecided; int8."""
    fits = np.zeros(len(share), np.int8)
    fits[(share >= least) & (digits >= needed)] = 1
    fits[(share < least) & (n_informative >= 2)] = -1
    return fits


@dataclass(frozen=True)
class Ragged:
    """All values of some cells: numbers of these, places of the values, and where each begins."""

    numbers: np.ndarray
    places: np.ndarray
    starts: np.ndarray


def ragged(indptr: np.ndarray, numbers: np.ndarray) -> Iterator[Ragged]:
    """Places of all values of some cells, at most some millions at once."""
    if not numbers.size:
        return
    n_values = np.diff(indptr)[numbers]
    parts = np.split(numbers, np.flatnonzero(np.diff(np.cumsum(n_values) // 2**22)) + 1)
    for part in parts:
        sizes = np.diff(indptr)[part]
        starts = np.cumsum(sizes) - sizes
        inside = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        yield Ragged(part, np.repeat(indptr[:-1][part], sizes) + inside, starts)


def fraction_figures(
    data: np.ndarray,
    indptr: np.ndarray,
    figures: Mapping[str, np.ndarray],
    picks: Picks,
    cells: np.ndarray,
) -> dict[str, np.ndarray]:
    """Sums and steps on each scale, of cells that hold other than whole numbers.

    Parameters
    ----------
    data, indptr
        Values of all cells, and where each cell's begin, as CSR has them.
    figures
        What is known of each cell: n_values, total, smallest, largest, lows, coarse, divisor.
    picks
        Some values of each cell.
    cells
        bool (n_cells,): which hold other than whole numbers.

    Returns
    -------
    Fields of `c2sflow.data.state.evidence.Evidence`.
    """
    n_cells, n_scales = len(cells), len(SCALES)
    sums, sum_errors = np.zeros((n_cells, n_scales)), np.zeros((n_cells, n_scales))
    sums[:, 0] = figures["total"]
    rounded = picks.precision * figures["coarse"]  # whole numbers that were none
    sum_errors[:, 0] = (1e-5 + rounded) * figures["total"]
    fits = np.full((n_cells, n_scales), -1, np.int8)
    # The smallest would be a count of as many steps.
    common = (figures["divisor"] > 1) & (figures["smallest"] <= MOST_STEPS * figures["divisor"])
    fits[~cells & (common | figures["coarse"]), 0] = 0
    for scale, log in enumerate(SCALES):
        judged = cells & _can_be(figures, log)
        if not judged.any():
            continue
        found = _verdict(*multiples(picks.select(judged), log), DIGITS, 1.0)
        fits[judged, scale] = found[judged]
        fits[judged & _narrow(figures, log), scale] = -1
    n_steps = _more_steps(picks, figures, cells, fits)
    shown = (fits == 1).any(axis=1)
    for scale, log in enumerate(SCALES):
        # Where one scale shows multiples, sums on those that do not are of no use.
        summed = cells & _can_be(figures, log) & ~(shown & (fits[:, scale] == -1))
        for part in ragged(indptr, np.flatnonzero(summed)):
            values = data[part.places]
            linear = unlog(values, log)
            own = np.add.reduceat(linear, part.starts, dtype=np.float64)
            sums[part.numbers, scale] = own
            errors = _sum_errors(values, linear, part, picks, log)
            sum_errors[part.numbers, scale] = errors + 1e-5 * own
    steps, step_errors = _steps(picks, figures["smallest"], n_steps, fits, cells)
    return {
        "sums": sums, "sum_errors": sum_errors, "steps": steps, "step_errors": step_errors,
        "fits": fits, "roots": _roots(picks, cells),
        "half_step": np.where(cells, picks.half_step, 0.0),
    }  # fmt: skip


def _narrow(figures: Mapping[str, np.ndarray], log: float | None) -> np.ndarray:
    """Cells of many values that differ, but by less than a count of 2 does from one of 1 or 2."""
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = unlog(figures["largest"], log) / unlog(figures["smallest"], log)
    return (figures["n_values"] >= 10) & (ratio > 1.02) & (ratio < 1.5)


def _can_be(figures: Mapping[str, np.ndarray], log: float | None) -> np.ndarray:
    """Whether the values of each cell are small enough to be logs of expression."""
    return figures["largest"] * (log or 0) <= LARGEST_LOG


def _steps(
    picks: Picks, smallest: np.ndarray, n_steps: np.ndarray, fits: np.ndarray, cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the values of the cells are multiples of on each scale, and its error."""
    steps, errors = np.zeros(fits.shape), np.zeros(fits.shape)
    for scale, log in enumerate(SCALES):
        own = cells & (fits[:, scale] >= 0)
        low = unlog(smallest[own], log)
        error = _relative_error(smallest[own], low, picks.half_step[own], picks.precision[own], log)
        steps[own, scale] = low / n_steps[own, scale]
        errors[own, scale] = error * steps[own, scale]
    return steps, errors


def _sum_errors(
    values: np.ndarray, linear: np.ndarray, part: Ragged, picks: Picks, log: float | None
) -> np.ndarray:
    """Three standard deviations of what rounding changes in the sum of a cell."""
    half_step, precision = picks.half_step[part.numbers], picks.precision[part.numbers]
    rounded = (half_step > 0) | (precision > 1e-6)
    if not rounded.any():
        return np.zeros(part.starts.size)
    sizes = np.diff(np.append(part.starts, values.size))
    slope = 1.0 if log is None else log * (linear + 1)
    error = (np.repeat(half_step, sizes) + np.repeat(precision, sizes) * values) * slope
    found = 3 * np.sqrt(np.add.reduceat(error**2, part.starts, dtype=np.float64))
    return np.where(rounded, found, 0.0)


def _more_steps(
    picks: Picks, figures: Mapping[str, np.ndarray], cells: np.ndarray, fits: np.ndarray
) -> np.ndarray:
    """Cells that fit no scale: the smallest value may be a count of 2 or more.

    Gives the counts (n_cells, 4), and changes `fits`.
    """
    counts = np.ones(fits.shape)
    left = cells & (fits == -1).all(axis=1) & (figures["n_values"] <= FEW_VALUES)
    sharp = (picks.precision <= 1e-6) & (picks.half_step <= 1e-5)
    needed = DIGITS + np.log10(MOST_STEPS * len(SCALES))
    for n_steps in range(2, MOST_STEPS + 1):
        if not left.any():
            break
        done = np.zeros(len(left), bool)
        for scale, log in enumerate(SCALES):
            judged = left & _can_be(figures, log)
            n_informative, share, digits = multiples(picks.select(judged), log, n_steps)
            found = judged & (n_informative > 0) & (share == 1)
            # A smallest count of many is one of few genes, and shows in sharp values only.
            found &= (n_steps <= 3) | ((figures["lows"] <= 3) & sharp)
            shown = digits >= needed
            found &= shown | (n_informative <= 3)  # so few show nothing, and contradict nothing
            fits[found, scale] = shown[found]
            counts[found, scale] = n_steps
            done |= found & shown
        left &= ~done
    return counts


def _roots(picks: Picks, cells: np.ndarray) -> np.ndarray:
    """Whether what is no whole number is the square root of one, in nearly all values."""
    n_cells = len(picks.smallest)
    cell = np.concatenate([picks.cell, np.arange(n_cells)])
    values = np.concatenate([picks.values, picks.smallest])
    n_all = np.bincount(cell, minlength=n_cells)
    fraction = cells[cell] & (values != np.rint(values))
    cell, values = cell[fraction], values[fraction]
    tolerance = 2 * values * (picks.half_step[cell] + picks.precision[cell] * values) + 1e-6
    informative = tolerance < SHARPNESS
    cell, squares, tolerance = cell[informative], values[informative] ** 2, tolerance[informative]
    passes = np.abs(squares - np.rint(squares)) <= tolerance
    n_informative = np.bincount(cell, minlength=n_cells)
    share = np.bincount(cell[passes], minlength=n_cells) / np.maximum(n_informative, 1)
    mostly_whole = np.bincount(cell, minlength=n_cells) < 0.7 * np.maximum(n_all, 1)
    return (n_informative >= np.where(mostly_whole, 1, 3)) & (share >= MULTIPLE_SHARE)
