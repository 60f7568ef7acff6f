"""Whole numbers that may be no counts: what speaks against it."""

from __future__ import annotations

import numpy as np

from c2sflow.data.state.evidence import Evidence

FEW = 20  # counts or values of a cell: fewer may be equal by chance
MANY = 20  # cells from which on a spread is taken without the tails
# Counts of so many genes span more than this factor; ranks do not, in at least this share of cells.
RANGE_GENES, RANGE, RANGE_SHARE = 50, 3.0, 0.15
BUMP, BUMPS_BY_CHANCE = 4.0, 1e-3  # standard errors, and the share of cells that reaches them


def doubt_about_counts(evidence: Evidence) -> str | None:
    """Why values that look like counts may be none, or None.

    Parameters
    ----------
    evidence
        Of cells whose values are counts as far as each cell alone can show.
    """
    cells = evidence.take(np.flatnonzero(evidence.n_values > 0))
    if (cells.largest == 1).all() and (cells.whole == 1).all():
        return "all values are 1: made binary?"
    binary = (cells.largest == 1) & (cells.n_values >= FEW)
    if binary.mean() >= 0.5 and (cells.smallest[~binary] > 2).any():
        return f"in {int(binary.sum()):,} cells all are 1: made binary?"
    if cells.ranks.mean() >= (0.15 if cells.ranks.sum() >= 3 else 0.5):
        return "the values of a cell are the ranks of its genes"
    if cells.gaps.any():
        return (
            f"in {int(cells.gaps.sum()):,} cells a small number is missing between frequent ones: "
            "normalised and rounded?"
        )
    if (bumps := cells.bumps > BUMP).sum() > BUMPS_BY_CHANCE * len(cells):
        return (
            f"in {int(bumps.sum()):,} cells 1, 2, 3 and so on occur as often as in no counts: "
            "normalised and rounded?"
        )
    return _narrow_ranges(cells) or _equal_maxima(cells) or _equal_totals(cells)


def _narrow_ranges(cells: Evidence) -> str | None:
    """Ranks and quantiles may begin high; the rarest of many genes has few counts."""
    informative = (cells.n_values >= RANGE_GENES) & (cells.smallest > 2)
    narrow = informative & (cells.largest < RANGE * cells.smallest)
    if narrow.sum() < max(1, RANGE_SHARE * len(cells)):
        return None
    low, high = cells.smallest[narrow].min(), cells.largest[narrow].max()
    return f"those of {narrow.sum():,} cells are between {low:,.0f} and {high:,.0f}: ranks?"


def _equal_maxima(cells: Evidence) -> str | None:
    deep = cells.largest[cells.n_values >= 10]
    top = deep.max(initial=0)
    if deep.size < MANY or top < 10 or (deep == top).mean() < 0.95:
        return None
    return f"the largest value is {top:g} in nearly every cell: binned or clipped?"


def _equal_totals(cells: Evidence) -> str | None:
    """Counts vary at least as Poisson draws do, and with the number of genes found."""
    totals, n_cells = cells.total, len(cells)
    middle = np.median(totals)
    if n_cells >= 2 and middle >= FEW and np.ptp(totals) == 0:
        return f"the values of every cell sum to {middle:,.0f}"
    if n_cells >= 2 and middle >= 50:
        if n_cells >= MANY:
            spread, least = np.diff(np.quantile(totals, [0.1, 0.9]))[0], np.sqrt(middle)
        else:
            rounding = np.sqrt(np.median(cells.n_values) / 12)
            spread = np.ptp(totals)
            least = max((0.3 if n_cells > 2 else 0.1) * np.sqrt(middle), 4 * rounding)
        if spread <= least:
            return f"the values of nearly every cell sum to {middle:,.0f}"
    if n_cells >= 10:
        genes = _spread(np.log(cells.n_values))
        if genes > 0.15 and _spread(np.log(totals)) < 0.5 * genes:
            return "the sums of the cells vary less than their numbers of genes"
    total = _many_of_one_total(cells)
    if total is None:
        return None
    return f"many cells sum to {total:,.0f}, and few to about that"


def _spread(values: np.ndarray) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low)


def _many_of_one_total(cells: Evidence) -> float | None:
    """A total of many more cells than those nearly as large."""
    totals = np.sort(cells.total)
    least = max(5, 0.05 * totals.size)
    if totals.size < least or totals[-1] < 100:
        return None
    width = np.maximum(1, np.maximum(0.3 * np.sqrt(np.median(cells.n_values)), 1e-5 * totals))
    size = np.searchsorted(totals, totals + width, "right") - np.arange(totals.size)
    first = int(np.argmax(size))
    total, width = float(totals[first]), width[first]
    near = np.searchsorted(totals, [total - 20 * width, total + 21 * width])
    if total < 100 or size[first] < max(least, 0.75 * (near[1] - near[0])):
        return None
    # Totals so sparse that any window holds all that are near show nothing.
    return total if size[first] > 5 * totals.size * _share_expected(totals, width) else None


def _share_expected(totals: np.ndarray, width: float) -> float:
    low, high = np.quantile(totals, [0.05, 0.95])
    return min(1.0, width / max(high - low, width))
