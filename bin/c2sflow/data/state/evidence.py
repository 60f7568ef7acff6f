"""What the values of each cell show about how they were made: a few figures a cell, vectorised.

Four scales are tried: the values themselves, and what they were before log(1 + x) to base e, 2 or
10. On the right one the values of a cell are whole multiples of one step (a count of 1), and
normalising to a total has left the same sum in every cell.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import sparse

# Natural logarithm of the base of each scale; None: the values as they are.
SCALES: tuple[float | None, ...] = (None, 1.0, float(np.log(2)), float(np.log(10)))
# No natural logarithm of an expression value is larger: 10^15 is beyond any count.
LARGEST_LOG = float(np.log(1e15))
PER_CELL = 64  # values of a cell that are tested for being multiples
MULTIPLE_SHARE = 0.9  # of them must be
SHARPNESS = 0.1  # a value tells only where rounding leaves its multiple sharper than this
DIGITS = 4.0  # decimal digits by which chance is excluded
# The smallest value of a cell is a count of up to this many (few genes, deep cells).
MOST_STEPS, FEW_VALUES = 32, 500
FEW_COUNTS = 20  # up to this many, how often each occurs is looked at
LEAST_OF_EACH = 10  # values that are 1, that are 2, …, for a comparison
GAP = 30  # values on both sides of a number that none has
ARITHMETIC = 3e-7  # relative error of float32 values after a division and a logarithm
FAULTS = ("", "NaN", "infinite values", "negative values")


@dataclass(frozen=True)
class Evidence:
    """Figures of each cell; arrays of (n_cells,) or (n_cells, 4 scales).

    Cells without values and cells with a fault have zeros.
    """

    fault: np.ndarray  # position in `FAULTS`
    n_values: np.ndarray  # that are not zero
    total: np.ndarray  # their sum
    smallest: np.ndarray
    largest: np.ndarray
    whole: np.ndarray  # share of whole numbers
    n_above: np.ndarray  # values of 2 and more
    whole_above: np.ndarray  # share of whole numbers among them
    ones: np.ndarray  # values of exactly 1
    lows: np.ndarray  # values equal to the smallest
    coarse: np.ndarray  # stored so coarsely that the smallest may have been rounded to a whole
    gaps: np.ndarray  # a small number is missing between frequent ones, in whole numbers
    bumps: np.ndarray  # how far whole numbers are from counts: see `_bumps`
    halves: np.ndarray  # all values are whole multiples of 0.5
    divisor: np.ndarray  # greatest common divisor, of cells of whole numbers
    stepped: np.ndarray  # whole numbers: digits of evidence that they are rounded multiples of a
    # step, -1 if they are not, 0 where nothing tells
    ranks: np.ndarray  # the values are the ranks of the cell's genes
    roots: np.ndarray  # the values are square roots of whole numbers
    half_step: np.ndarray  # rounding to decimals
    sums: np.ndarray  # on each scale
    sum_errors: np.ndarray  # what rounding may have changed
    steps: np.ndarray  # what the values are multiples of, on each scale
    step_errors: np.ndarray
    fits: np.ndarray  # 1 whole multiples, -1 not, 0 not to be decided

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.n_values)

    @staticmethod
    def concat(parts: list[Evidence]) -> Evidence:
        """Evidence of blocks of cells, in order."""
        names = [field.name for field in fields(Evidence)]
        return Evidence(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in names)
        )

    def take(self, cells: np.ndarray) -> Evidence:
        """Evidence of some cells."""
        return Evidence(*(getattr(self, field.name)[cells] for field in fields(self)))


def unlog(values: np.ndarray, log: float | None) -> np.ndarray:
    """Values before log(1 + x) to the base whose natural logarithm is `log`; None: as they are."""
    return values if log is None else np.expm1(values * log)


def cell_evidence(block: sparse.csr_matrix) -> Evidence:
    """Evidence of the cells of a block.

    Parameters
    ----------
    block
        Cells × genes, CSR without explicit zeros.
    """
    n_cells = block.shape[0]
    made = {
        **{name: np.zeros(n_cells) for name in _FLOATS},
        **{name: np.zeros(n_cells, dtype) for name, dtype in _OTHERS.items()},
        **{name: np.zeros((n_cells, len(SCALES))) for name in _SCALED},
        "fits": np.zeros((n_cells, len(SCALES)), np.int8),
    }
    n_values = np.diff(block.indptr)
    made["n_values"][:] = n_values
    made["fault"] = _faults(block, n_values)
    sound = np.flatnonzero((n_values > 0) & (made["fault"] == 0))
    if sound.size:
        rows = block if sound.size == n_cells else block[sound]
        for name, values in _figures(rows).items():
            made[name][sound] = values
    return Evidence(**made)


_FLOATS = (
    "total", "smallest", "largest", "whole", "whole_above", "divisor", "half_step", "stepped",
    "bumps",
)  # fmt: skip
_OTHERS = {
    "n_values": np.int64, "n_above": np.int64, "ones": np.int64, "lows": np.int64,
    "coarse": bool, "gaps": bool, "halves": bool, "ranks": bool, "roots": bool,
}  # fmt: skip
_SCALED = ("sums", "sum_errors", "steps", "step_errors")


def _faults(block: sparse.csr_matrix, n_values: np.ndarray) -> np.ndarray:
    """Position in `FAULTS` of what makes a cell's values no expression."""
    fault = np.zeros(block.shape[0], np.int8)
    data = block.data
    if not data.size or (data.dtype.kind in "ub"):
        return fault
    low, total = data.min(), data.sum(dtype=np.float64)
    if low >= 0 and np.isfinite(total):
        return fault
    cell = np.repeat(np.arange(len(n_values)), n_values)
    for number, wrong in ((3, data < 0), (2, np.isinf(data)), (1, np.isnan(data))):
        fault[cell[wrong]] = number
    return fault


def _figures(rows: sparse.csr_matrix) -> dict[str, np.ndarray]:
    """Figures of cells that all have values, none of them faulty."""
    n_values, starts = np.diff(rows.indptr), rows.indptr[:-1]
    data = rows.data if rows.data.dtype.kind == "f" else rows.data.astype(np.float64)
    integers = data == np.rint(data)
    above = data >= 2
    n_above = np.add.reduceat(above, starts, dtype=np.int64)
    figures = {
        "n_values": n_values,
        "total": np.add.reduceat(data, starts, dtype=np.float64),
        "smallest": np.minimum.reduceat(data, starts).astype(np.float64),
        "largest": np.maximum.reduceat(data, starts).astype(np.float64),
        "whole": np.add.reduceat(integers, starts, dtype=np.int64) / n_values,
        "n_above": n_above,
        "whole_above": np.add.reduceat(integers & above, starts, dtype=np.int64)
        / np.maximum(n_above, 1),
        "ones": np.add.reduceat(data == 1, starts, dtype=np.int64),
    }
    smallest = figures["smallest"]
    low = np.repeat(smallest.astype(data.dtype), n_values)
    figures["lows"] = np.add.reduceat(data == low, starts, dtype=np.int64)
    picks = _Picks.of(data, starts, n_values, figures["smallest"])
    is_whole = figures["whole"] == 1
    figures["coarse"] = smallest * picks.precision >= 0.25
    few = _few(data, n_values)
    figures["gaps"] = is_whole & _gaps(few)
    figures["bumps"] = np.where(is_whole, _bumps(few), 0.0)
    figures["halves"] = ~is_whole & (picks.half_step == 0.05) & _all_halves(picks)
    figures |= _of_whole_numbers(data, rows.indptr, figures, picks, is_whole)
    figures["ranks"] = _ranks(data, rows.indptr, figures, rows.shape[1])
    figures |= _of_fractions(data, rows.indptr, figures, picks, ~is_whole)
    return figures


def _few(data: np.ndarray, n_values: np.ndarray) -> np.ndarray:
    """(n_cells, FEW_COUNTS + 1): how many values of each cell are 0 (none), 1, 2, …"""
    n_cells = len(n_values)
    small = (data <= FEW_COUNTS) & (data >= 1)
    cell = np.repeat(np.arange(n_cells), n_values)[small]
    place = cell * (FEW_COUNTS + 1) + data[small].astype(np.int64)
    return np.bincount(place, minlength=n_cells * (FEW_COUNTS + 1)).reshape(n_cells, -1)


def _gaps(few: np.ndarray) -> np.ndarray:
    """Whether no value is 2 though many are 1 and many 3, and so on.

    Counts grow rarer step by step; rounded normalised values leave some numbers out.
    """
    before, here, after = few[:, 1:-2], few[:, 2:-1], few[:, 3:]
    return ((here == 0) & (before >= GAP) & (after >= GAP)).any(axis=1)


def _bumps(few: np.ndarray) -> np.ndarray:
    """By how many standard errors the numbers of 1, 2, 3, … are not those of counts, at most.

    Counts of genes of any means are a mixture of Poisson distributions: there
    (k + 1) n(k + 1) / n(k) is the mean of the genes with a count of k (Robbins 1956), and grows
    with k. Values rounded after normalising rise and fall.
    """
    before, here, after = (few[:, 1 + k : few.shape[1] - 2 + k].astype(float) for k in range(3))
    enough = np.minimum(np.minimum(before, here), after) >= LEAST_OF_EACH
    k = np.arange(1, few.shape[1] - 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log((k + 2) / (k + 1)) + np.log(after * before / here**2)
        error = np.sqrt(1 / before + 4 / here + 1 / after)
        return np.where(enough, -growth / error, 0.0).max(axis=1, initial=0.0)


@dataclass(frozen=True)
class _Picks:
    """Some values above the smallest of each cell, and how sharp the cell's values are."""

    cell: np.ndarray  # of each value
    values: np.ndarray
    smallest: np.ndarray  # of each cell
    half_step: np.ndarray  # of each cell: values rounded to decimals
    precision: np.ndarray  # of each cell: relative

    @staticmethod
    def of(
        data: np.ndarray, starts: np.ndarray, n_values: np.ndarray, smallest: np.ndarray
    ) -> _Picks:
        """Evenly over the genes of each cell."""
        above = data > np.repeat(smallest, n_values) * 1.001
        n_found = np.add.reduceat(above, starts, dtype=np.int64)
        places, firsts = np.flatnonzero(above), np.cumsum(n_found) - n_found
        n_picked = np.minimum(n_found, PER_CELL)
        cell = np.repeat(np.arange(len(n_values)), n_picked)
        number = np.arange(cell.size) - np.repeat(np.cumsum(n_picked) - n_picked, n_picked)
        offset = number * n_found[cell] // n_picked[cell]
        values = data[places[firsts[cell] + offset]].astype(np.float64)
        half_step, precision = _sharpness(cell, values, smallest)
        return _Picks(cell, values, smallest, half_step, precision)

    def only(self, cells: np.ndarray) -> _Picks:
        """Those of some cells (bool); the others have none."""
        kept = cells[self.cell]
        return _Picks(
            self.cell[kept], self.values[kept], self.smallest, self.half_step, self.precision
        )


def _sharpness(
    cell: np.ndarray, values: np.ndarray, smallest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Half the step of values rounded to 1 to 5 decimals (else 0), and their precision.

    The precision is told by the low bits of float32 that no value of the cell uses: values that
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


def _multiples(
    picks: _Picks, log: float | None, n_steps: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many values of each cell tell, the share that are multiples, and digits of evidence.

    A multiple is one of the smallest value divided by `n_steps`. Digits: by which chance is
    excluded, counted over different multiples.
    """
    n_cells, cell = len(picks.smallest), picks.cell
    with np.errstate(over="ignore"):
        low, linear = unlog(picks.smallest, log), unlog(picks.values, log)
    own = _relative_error(picks.values, linear, picks.half_step[cell], picks.precision[cell], log)
    of_low = _relative_error(picks.smallest, low, picks.half_step, picks.precision, log)
    with np.errstate(divide="ignore", invalid="ignore"):
        multiples = n_steps * linear / low[cell]
        tolerance = multiples * (own + of_low[cell]) + 1e-5
    tells = (tolerance < SHARPNESS) & (multiples > n_steps + 5 * tolerance)
    if log is not None:  # 2^x - 1 and 10^x - 1 are whole multiples of 1 and 9 for any whole x
        tells &= picks.values != np.rint(picks.values)
    cell, multiples, tolerance = cell[tells], multiples[tells], tolerance[tells]
    nearest = np.rint(multiples)
    passes = np.abs(multiples - nearest) <= tolerance
    n_telling = np.bincount(cell, minlength=n_cells)
    share = np.bincount(cell[passes], minlength=n_cells) / np.maximum(n_telling, 1)
    keys = cell[passes] * 2**24 + np.minimum(nearest[passes], 2**24 - 1).astype(np.int64)
    _, first = np.unique(keys, return_index=True)
    digits = np.bincount(
        cell[passes][first], -np.log10(2 * tolerance[passes][first]), minlength=n_cells
    )
    return n_telling, share, digits


def _relative_error(values, linear, half_step, precision, log):
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = 1.0 if log is None else log * (linear + 1)
        return (half_step + precision * values) * slope / linear


def _verdict(n_telling, share, digits, needed: float, least: float) -> np.ndarray:
    fits = np.zeros(len(share), np.int8)
    fits[(share >= least) & (digits >= needed)] = 1
    fits[(share < least) & (n_telling >= 2)] = -1
    return fits


def _of_whole_numbers(data, indptr, figures, picks: _Picks, cells) -> dict[str, np.ndarray]:
    """Divisor, and whether the whole numbers are rounded multiples of a step, or ranks."""
    n_cells, smallest = len(cells), figures["smallest"]
    divisor = np.ones(n_cells)
    for cell in _ragged(indptr, np.flatnonzero(cells & (smallest > 1))):
        own = data[cell.places].astype(np.int64)
        divisor[cell.numbers] = np.gcd.reduceat(own, cell.starts)
    stepped = np.zeros(n_cells)
    coarse = cells & (smallest >= 5)
    if coarse.any():
        rounded = _Picks(
            picks.cell, picks.values, smallest, np.full(n_cells, 0.5), picks.precision
        ).only(coarse)
        n_telling, share, digits = _multiples(rounded, None)
        stepped = np.where(share >= MULTIPLE_SHARE, digits, -1) * (coarse & (n_telling > 0))
    return {"divisor": divisor, "stepped": stepped}


@dataclass(frozen=True)
class _Ragged:
    numbers: np.ndarray
    places: np.ndarray
    starts: np.ndarray


def _ragged(indptr: np.ndarray, numbers: np.ndarray):
    """Places of all values of some cells, at most some millions at once."""
    if not numbers.size:
        return
    n_values = np.diff(indptr)[numbers]
    parts = np.split(numbers, np.flatnonzero(np.diff(np.cumsum(n_values) // 2**22)) + 1)
    for part in parts:
        sizes = np.diff(indptr)[part]
        starts = np.cumsum(sizes) - sizes
        inside = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        yield _Ragged(part, np.repeat(indptr[:-1][part], sizes) + inside, starts)


def _all_halves(picks: _Picks) -> np.ndarray:
    off = picks.values * 2 != np.rint(picks.values * 2)
    return np.bincount(picks.cell[off], minlength=len(picks.smallest)) == 0


def _ranks(data, indptr, figures, n_genes: int, most: int = 64) -> np.ndarray:
    """Whether a cell's values are ranks, among its values or all genes, whatever is done with ties.

    Ordinal and average ranks show in the sum. For the others some cells of the block are looked
    at: ranks are made of all cells or of none.
    """
    n_values, total = np.diff(indptr), figures["total"]
    ranks = np.zeros(len(n_values), bool)
    many = n_values >= 8
    for below in (0, n_genes - n_values):  # genes that are lower: the zeros
        ranks |= many & (np.abs(total - n_values * (2 * below + n_values + 1) / 2) < 0.25)
        near = many & ~ranks & (figures["whole"] == 1) & (figures["largest"] >= 8)
        near &= figures["largest"] <= below + n_values
        places = np.flatnonzero(near)
        for number in places[:: max(1, places.size // most)]:
            values = (
                data[indptr[number] : indptr[number + 1]]
                - np.broadcast_to(below, n_values.shape)[number]
            )
            distinct, first, equal = np.unique(
                np.sort(values), return_index=True, return_counts=True
            )
            same = np.array_equal(distinct, first + 1) or np.array_equal(distinct, first + equal)
            ranks[number] = same and distinct.size >= 8
    return ranks


def _of_fractions(data, indptr, figures, picks: _Picks, cells) -> dict[str, np.ndarray]:
    """Sums and steps on each scale, of cells that hold other than whole numbers."""
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
        found = _verdict(*_multiples(picks.only(judged), log), DIGITS, 1.0)
        fits[judged, scale] = found[judged]
        fits[judged & _narrow(figures, log), scale] = -1
    n_steps = _more_steps(picks, figures, cells, fits)
    shown = (fits == 1).any(axis=1)
    for scale, log in enumerate(SCALES):
        # Where one scale shows multiples, sums on those that do not are of no use.
        summed = cells & _can_be(figures, log) & ~(shown & (fits[:, scale] == -1))
        for part in _ragged(indptr, np.flatnonzero(summed)):
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


def _narrow(figures, log: float | None) -> np.ndarray:
    """Cells of many values that differ, but by less than a count of 2 does from one of 1 or 2."""
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = unlog(figures["largest"], log) / unlog(figures["smallest"], log)
    return (figures["n_values"] >= 10) & (ratio > 1.02) & (ratio < 1.5)


def _can_be(figures, log: float | None) -> np.ndarray:
    """Whether the values of each cell are small enough to be logs of expression."""
    return figures["largest"] * (log or 0) <= LARGEST_LOG


def _steps(picks: _Picks, smallest, n_steps, fits, cells) -> tuple[np.ndarray, np.ndarray]:
    """What the values of the cells are multiples of on each scale, and its error."""
    steps, errors = np.zeros(fits.shape), np.zeros(fits.shape)
    for scale, log in enumerate(SCALES):
        own = cells & (fits[:, scale] >= 0)
        low = unlog(smallest[own], log)
        error = _relative_error(smallest[own], low, picks.half_step[own], picks.precision[own], log)
        steps[own, scale] = low / n_steps[own, scale]
        errors[own, scale] = error * steps[own, scale]
    return steps, errors


def _sum_errors(values, linear, part: _Ragged, picks: _Picks, log) -> np.ndarray:
    """Three standard deviations of what rounding changes in the sum of a cell."""
    half_step, precision = picks.half_step[part.numbers], picks.precision[part.numbers]
    if half_step.any() or (precision > 1e-6).any():
        sizes = np.diff(np.append(part.starts, values.size))
        slope = 1.0 if log is None else log * (linear + 1)
        error = (np.repeat(half_step, sizes) + np.repeat(precision, sizes) * values) * slope
        return 3 * np.sqrt(np.add.reduceat(error**2, part.starts, dtype=np.float64))
    return np.zeros(part.starts.size)


def _more_steps(picks: _Picks, figures, cells, fits) -> np.ndarray:
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
            n_telling, share, digits = _multiples(picks.only(judged), log, n_steps)
            found = judged & (n_telling > 0) & (share == 1)
            # A smallest count of many is one of few genes, and shows in sharp values only.
            found &= (n_steps <= 3) | ((figures["lows"] <= 3) & sharp)
            shown = digits >= needed
            found &= shown | (n_telling <= 3)  # so few show nothing, and contradict nothing
            fits[found, scale] = shown[found]
            counts[found, scale] = n_steps
            done |= found & shown
        left &= ~done
    return counts


def _roots(picks: _Picks, cells) -> np.ndarray:
    """Whether what is no whole number is the square root of one, in nearly all values."""
    n_cells = len(picks.smallest)
    cell = np.concatenate([picks.cell, np.arange(n_cells)])
    values = np.concatenate([picks.values, picks.smallest])
    n_all = np.bincount(cell, minlength=n_cells)
    fraction = cells[cell] & (values != np.rint(values))
    cell, values = cell[fraction], values[fraction]
    tolerance = 2 * values * (picks.half_step[cell] + picks.precision[cell] * values) + 1e-6
    tells = tolerance < SHARPNESS
    cell, squares, tolerance = cell[tells], values[tells] ** 2, tolerance[tells]
    passes = np.abs(squares - np.rint(squares)) <= tolerance
    n_telling = np.bincount(cell, minlength=n_cells)
    share = np.bincount(cell[passes], minlength=n_cells) / np.maximum(n_telling, 1)
    mostly_whole = np.bincount(cell, minlength=n_cells) < 0.7 * np.maximum(n_all, 1)
    return (n_telling >= np.where(mostly_whole, 1, 3)) & (share >= MULTIPLE_SHARE)
