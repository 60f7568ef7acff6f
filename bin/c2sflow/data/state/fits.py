"""Which states each cell's evidence supports, allows or contradicts; sums seen over all cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from c2sflow.data.state.evidence import Evidence
from c2sflow.data.state.multiples import MOST_STEPS, SCALES
from c2sflow.data.state.normalization import State

# States by column of `Fits.table`; all but the first are a scale of the evidence each.
COLUMNS = (
    State("counts"),
    State("normalized"),
    State("lognormalized", "e"),
    State("lognormalized", 2),
    State("lognormalized", 10),
)
COUNTS, NORMALIZED = 0, 1
# Counts may hold fractions (reads of several genes are shared out): this share is whole.
WHOLE_SHARE = 0.6
# Equal sums: in at least so many cells, this share, and by chance excluded to so many digits.
LEAST_CELLS, CELL_SHARE, DIGITS = 3, 0.05, 6.0
TYPICAL_SPREAD = 0.02  # of sums that nobody made equal; cells differ more
# Sums of values that were rounded more coarsely show nothing; those of values that are no whole
# multiples (TPM, but also TF-IDF of genes that nearly all cells have) must be sharper.
LARGEST_ERROR, LARGEST_ERROR_ALONE = 1e-3, 1e-4
MOST_TOTALS = 6
CLEAR_DIGITS = 8.0  # of a cell alone


@dataclass
class Fits:
    """What is known of each cell, from its own values and those of all.

    `table` is (n_cells, 5 states): 1 supports, 0 allows, -1 contradicts.
    """

    table: np.ndarray
    by_sum: np.ndarray  # (n_cells, 4 scales): has a total that other cells have, too
    totals: list[list[float]]  # of each scale, the largest group first
    logged_counts: np.ndarray  # the values are log(1 + count), never normalised


def fit_cells(evidence: Evidence) -> Fits:
    """Compare each cell with each state."""
    table = np.zeros((len(evidence), len(COLUMNS)), np.int8)
    table[:, COUNTS] = _counts(evidence)
    table[:, NORMALIZED:] = evidence.fits
    # Halves and thirds among counts are multiples of a sixth: no more than that.
    shared = (evidence.ones > 0) & (evidence.whole >= 0.5) & (evidence.fits[:, 0] == 1)
    table[shared & _is_share(evidence.steps[:, 0]), NORMALIZED] = 0
    table[(table[:, COUNTS] == 1) & (evidence.whole < 1), NORMALIZED] = -1
    roots = table[:, NORMALIZED:][evidence.roots & (evidence.n_values >= 10)]
    table[evidence.roots & (evidence.n_values >= 10), NORMALIZED:] = np.where(roots == 1, 1, -1)
    by_sum = np.zeros((len(evidence), len(SCALES)), bool)
    totals = []
    for scale in range(len(SCALES)):
        by_sum[:, scale], found = _equal_sums(evidence, scale)
        totals.append(found)
    for scale in range(len(SCALES)):
        column = NORMALIZED + scale
        table[_common_step(evidence, scale, by_sum), column] = -1
        table[by_sum[:, scale], column] = 1
        _other_sums(evidence, table[:, column], by_sum[:, scale])
    logged = _logged_counts(evidence, by_sum)
    table[:, NORMALIZED + 1 :][logged] = -1
    _whole_cells(evidence, by_sum, table)
    _rare_fractions(evidence, table)
    table[evidence.n_values == 0] = 0
    return Fits(table, by_sum, totals, np.any(logged, axis=1))


def _counts(evidence: Evidence) -> np.ndarray:
    whole = evidence.whole == 1
    unnormalised = (evidence.fits[:, 1:] == 1) & _is_one(evidence)[:, 1:]
    possible = ~whole & ~evidence.roots & ~unnormalised.any(axis=1)
    possible &= (evidence.ones > 0) | (evidence.n_values < 10)
    possible &= (evidence.whole >= 0.3) | (evidence.fits < 1).all(axis=1)
    mostly = (evidence.whole >= WHOLE_SHARE) & (evidence.whole_above >= WHOLE_SHARE)
    fits = np.full(len(evidence), -1, np.int8)
    fits[possible & ((evidence.whole >= 0.5 * WHOLE_SHARE) | (evidence.n_values < 20))] = 0
    has_ones = evidence.ones >= np.maximum(1, 0.02 * evidence.n_values)
    fits[possible & mostly & has_ones & (evidence.n_above >= 8)] = 1
    fits[whole] = 0
    fits[whole & (evidence.n_values >= 3) & (evidence.largest >= 2) & ~evidence.coarse] = 1
    fits[rounded_cells(evidence)] = -1
    return fits


def rounded_cells(evidence: Evidence) -> np.ndarray:
    """Cells of whole numbers that are multiples of a step, rounded: normalised ones once.

    Normalising gives each cell a step of its own: one for all is a factor, and the values counts.
    """
    digits = evidence.stepped
    clear = digits >= CLEAR_DIGITS
    some = digits >= 1
    # Each alone may be chance; most of those that can show it, together, are not.
    if some.sum() > 0.5 * (digits != 0).sum() and digits[some].sum() >= DIGITS:
        clear |= some
    # Counts of 2 and more do not occur many times, and none of 1.
    none = (evidence.whole == 1) & (evidence.smallest >= 2) & (evidence.lows >= 6)
    clear |= none & ((evidence.lows >= 12) | (none.mean() >= CELL_SHARE))
    multiples = (evidence.divisor >= 2) & (evidence.n_values >= 10)
    clear |= multiples & (evidence.largest >= 8 * evidence.divisor)
    whole = (evidence.whole == 1) & (evidence.n_values >= 3)
    factor = np.median(evidence.divisor[whole]) if whole.sum() > 1 else 1
    by_factor = whole & (factor > 1) & (evidence.divisor % max(factor, 1) == 0)
    by_factor &= evidence.smallest <= MOST_STEPS * factor  # coarse storage has one, too
    return clear & ~(by_factor & (by_factor.sum() > 0.8 * whole.sum()))


def _is_share(steps: np.ndarray) -> np.ndarray:
    """Whether a step is 1/2, 1/3, … 1/12."""
    parts = 1 / np.maximum(steps, 1e-9)
    return (parts < 12.5) & (np.abs(parts - np.rint(parts)) < 1e-2)


def _is_one(evidence: Evidence) -> np.ndarray:
    """(n_cells, 4): whether the step of the values is 1."""
    return np.abs(evidence.steps - 1) <= evidence.step_errors + 1e-5


def _equal_sums(evidence: Evidence, scale: int) -> tuple[np.ndarray, list[float]]:
    """Cells whose sums are those of many others, and these sums."""
    member = np.zeros(len(evidence), bool)
    sums = evidence.sums[:, scale]
    found: list[float] = []
    alone = evidence.fits[:, scale] < 0
    sharp = (
        evidence.sum_errors[:, scale] <= np.where(alone, LARGEST_ERROR_ALONE, LARGEST_ERROR) * sums
    )
    fractional = np.flatnonzero((sums > 0) & (evidence.whole < 1) & sharp)
    if fractional.size < LEAST_CELLS:
        return member, found
    order = fractional[np.argsort(sums[fractional])]
    values, errors = sums[order], evidence.sum_errors[order, scale]
    free = np.ones(order.size, bool)
    least = max(LEAST_CELLS, CELL_SHARE * fractional.size)
    while len(found) < MOST_TOTALS and free.sum() >= least:
        own, error = values[free], np.median(errors[free])
        width = 4 * np.maximum(errors[free], error)
        stop = np.searchsorted(own, own + width, "right")
        size = stop - np.arange(own.size)
        first = int(np.argmax(size))
        total = float(np.median(own[first : stop[first]]))
        near = np.searchsorted(own, [total - 25 * width[first], total + 25 * width[first]])
        by_chance = (near[1] - near[0] - size[first]) / 50
        digits = (size[first] - 1) * np.log10(TYPICAL_SPREAD * total / error)
        if size[first] < max(least, 10 * by_chance) or digits < DIGITS:
            break
        found.append(total)
        free &= np.abs(values - total) > 2 * np.maximum(errors, error)
    for total in list(found):
        error = np.maximum(evidence.sum_errors[:, scale], 1e-5 * total)
        own = (np.abs(sums - total) <= 2 * error) & (evidence.n_values > 0)
        if _other_reason(evidence, own):
            found.remove(total)
        else:
            member |= own
    if scale:
        member &= evidence.whole < 1
    return member, found


def _other_reason(evidence: Evidence, cells: np.ndarray) -> bool:
    """Whether sums are equal for another reason: one largest value that is clipped, or ranks."""
    several = cells & (evidence.n_values > 2)
    if not several.any():
        return False
    largest = evidence.largest[several]
    clipped = several.sum() > 1 and (largest == np.median(largest)).mean() > 0.5
    return clipped or evidence.halves[several].mean() > 0.5


def _other_sums(evidence: Evidence, fits: np.ndarray, by_sum: np.ndarray) -> None:
    """Where normalised cells have one total, no gene is missing: other cells have it, too.

    Cells that show another total by their steps are let be. In place.
    """
    normalised = (fits == 1) & (evidence.n_values > 0)
    if by_sum.any() and by_sum[normalised].mean() >= 0.8:
        fits[(fits == 0) & ~by_sum] = -1


def _common_step(evidence: Evidence, scale: int, by_sum: np.ndarray) -> np.ndarray:
    """Cells of one step in more than half of the cells: a factor for all, no normalisation.

    Normalising divides by the cell's own total; cells of equal totals have equal sums, too.
    """
    cells = (evidence.fits[:, scale] == 1) & ~by_sum[:, scale]
    none = np.zeros(len(evidence), bool)
    if cells.sum() < 2:
        return none
    steps = evidence.steps[:, scale]
    middle = np.median(steps[cells])
    same = np.abs(steps - middle) <= evidence.step_errors[:, scale] + 1e-5 * middle
    common = (same & cells).sum() > 0.5 * max(2, cells.sum())
    # A step of 1 has its own message: the log of counts.
    is_one = scale and abs(middle - 1) < 1e-3
    return none if not common or is_one else same & cells


def _ties(evidence: Evidence, scale: int, is_one: np.ndarray) -> int:
    """How many cells may have a step of exactly 1 by having the median's total; 0 for none.

    scanpy normalises to the median of the totals by default: then half of the steps are below 1
    and half above, and 1 occurs no more often than any other step.
    """
    others = (evidence.fits[:, scale] == 1) & ~is_one
    steps = evidence.steps[others, scale]
    if steps.size < 2 or not 0.35 <= (steps < 1).mean() <= 0.65:
        return 0
    _, many = np.unique(np.round(np.log(steps) / 1e-5), return_counts=True)
    return int(many.max())


def _logged_counts(evidence: Evidence, by_sum: np.ndarray) -> np.ndarray:
    """(n_cells, 3 bases): log(1 + count) of counts that were never normalised."""
    logged = (evidence.fits[:, 1:] == 1) & _is_one(evidence)[:, 1:] & ~by_sum[:, 1:]
    for base in range(logged.shape[1]):
        if 0 < logged[:, base].sum() <= _ties(evidence, base + 1, logged[:, base]):
            logged[:, base] = False
    return logged


def _whole_cells(evidence: Evidence, by_sum: np.ndarray, table: np.ndarray) -> None:
    """Cells of whole numbers among normalised ones. In place."""
    whole = (evidence.whole == 1) & (evidence.n_values > 0)
    normalised = (evidence.n_values > 0) & ~whole
    if not whole.any() or not normalised.any():
        return
    coarse = np.median(evidence.half_step[normalised]) >= 5e-4
    coarse |= np.median(evidence.step_errors[normalised].max(axis=1)) > 1e-5
    tiny = whole & (evidence.n_values <= 2) & coarse
    table[:, NORMALIZED + 1 :][tiny] = 0
    plain = whole & (evidence.divisor == 1) & ~by_sum[:, 0]
    if plain.sum() <= _ties(evidence, 0, whole):
        table[plain, NORMALIZED] = 0
    if by_sum[normalised, 0].mean() > 0.9:  # all genes are there: the sum decides
        table[whole & ~by_sum[:, 0], NORMALIZED] = -1


def _rare_fractions(evidence: Evidence, table: np.ndarray) -> None:
    """Cells with fractions among counts: no more of them than the other cells have. In place."""
    sure = table[:, COUNTS] == 1
    values = evidence.n_values[sure].sum()
    fractions = ((1 - evidence.whole[sure]) * evidence.n_values[sure]).sum()
    rate = min(0.6, 2 * fractions / max(1, values))
    unsure = np.flatnonzero((table[:, COUNTS] == 0) & (evidence.whole < 1) & sure.any())
    n_values = evidence.n_values[unsure]
    chance = stats.binom.cdf(np.rint(evidence.whole[unsure] * n_values), n_values, 1 - rate)
    table[unsure[chance < 1e-4], COUNTS] = -1
