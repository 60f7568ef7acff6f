"""What the values of each cell show about how they were made: a few figures a cell, vectorised.

Whole numbers are looked at here: whether they are counts, ranks, or rounded values. What is none
is looked at on four scales, in `c2sflow.data.state.multiples`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from scipy import sparse

from c2sflow.data.state.multiples import (
    MULTIPLE_SHARE,
    SCALES,
    Picks,
    fraction_figures,
    multiples,
    ragged,
)

FEW_COUNTS = 20  # up to this many, how often each occurs is looked at
LEAST_OF_EACH = 10  # values that are 1, that are 2, …, for a comparison
COARSE = 5  # from here on a smallest whole number may be a rounded step
GAP = 30  # values on both sides of a number that none has
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
    # step, -1 if they are not, 0 where nothing shows it
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
    def of_none(n_cells: int) -> Evidence:
        """Zeros, to `put` the evidence of blocks of cells into as it is found."""
        return Evidence(
            **{name: np.zeros(n_cells) for name in _FLOATS},
            **{name: np.zeros(n_cells, dtype) for name, dtype in _OTHERS.items()},
            **{name: np.zeros((len(SCALES), n_cells)).T for name in _SCALED},  # scale by scale
            fits=np.zeros((n_cells, len(SCALES)), np.int8),
        )

    def put(self, start: int, part: Evidence) -> None:
        """Take in the evidence of the cells from `start` on."""
        for field in fields(self):
            found, place = getattr(part, field.name), getattr(self, field.name)
            # Zeros, most of what counts have, are there: memory that is never written takes none.
            np.copyto(place[start : start + len(part)], found, where=found != 0)

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


def cell_evidence(block: sparse.csr_matrix) -> Evidence:
    """Evidence of the cells of a block.

    Parameters
    ----------
    block
        Cells × genes, CSR without explicit zeros.
    """
    found = Evidence.of_none(block.shape[0])
    n_values = np.diff(block.indptr)
    found.n_values[:] = n_values
    found.fault[:] = _faults(block, n_values)
    sound = np.flatnonzero((n_values > 0) & (found.fault == 0))
    if sound.size:
        rows = block if sound.size == len(found) else block[sound]
        for name, values in _figures(rows).items():
            getattr(found, name)[sound] = values
    return found


_FLOATS = (
    "total", "smallest", "largest", "whole", "whole_above", "divisor", "half_step", "stepped",
    "bumps",
)  # fmt: skip
_OTHERS: dict[str, type] = {
    "fault": np.int8, "n_values": np.int64, "n_above": np.int64, "ones": np.int64, "lows": np.int64,
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
    few = _few(data, n_values)
    smallest = np.minimum.reduceat(data, starts).astype(np.float64)
    figures = {
        "n_values": n_values,
        "total": np.add.reduceat(data, starts, dtype=np.float64),
        "smallest": smallest,
        "largest": np.maximum.reduceat(data, starts).astype(np.float64),
        **_occurrences(data, starts, n_values, few, smallest),
    }
    is_whole = figures["whole"] == 1
    # Whole numbers that begin low show by what they are not: that a step was never rounded.
    picks = Picks.pick(data, rows.indptr, smallest, ~is_whole | (smallest >= COARSE))
    figures["coarse"] = smallest * picks.precision >= 0.25
    figures["gaps"] = is_whole & _gaps(few)
    figures["bumps"] = np.where(is_whole, _bumps(few), 0.0)
    figures["halves"] = ~is_whole & (picks.half_step == 0.05) & _all_halves(picks)
    figures |= _whole_number_figures(data, rows.indptr, figures, picks, is_whole)
    figures["ranks"] = _ranks(data, rows.indptr, figures, rows.shape[1])
    figures |= fraction_figures(data, rows.indptr, figures, picks, ~is_whole)
    return figures


def _occurrences(
    data: np.ndarray,
    starts: np.ndarray,
    n_values: np.ndarray,
    few: np.ndarray,
    smallest: np.ndarray,
) -> dict[str, np.ndarray]:
    """How many values are whole, 2 and more, 1, or the smallest."""
    integers = data == np.rint(data)
    n_above = n_values - few[:, 0] - few[:, 1]
    if integers.all() and smallest.max() <= FEW_COUNTS:  # as counts are: `few` has it all
        lows = few[np.arange(len(few)), smallest.astype(np.int64)]
        whole, whole_above, ones = n_values, n_above, few[:, 1]
    else:
        whole, whole_above = _count(integers, starts), _count(integers & (data >= 2), starts)
        ones = _count(data == 1, starts)
        lows = _count(data == np.repeat(smallest.astype(data.dtype), n_values), starts)
    return {
        "whole": whole / n_values,
        "n_above": n_above,
        "whole_above": whole_above / np.maximum(n_above, 1),
        "ones": ones,
        "lows": lows,
    }


def _count(mask: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """int64 (n_cells,): how many values of each cell are in the mask."""
    return np.add.reduceat(mask.view(np.uint8), starts, dtype=np.int32).astype(np.int64)


def _few(data: np.ndarray, n_values: np.ndarray) -> np.ndarray:
    """(n_cells, FEW_COUNTS + 2): values of each cell below 1, from 1 to below 2, …, the rest."""
    width = FEW_COUNTS + 2
    places = np.repeat(np.arange(len(n_values), dtype=np.int32) * np.int32(width), n_values)
    places += np.minimum(data, FEW_COUNTS + 1).astype(np.int32)
    return np.bincount(places, minlength=len(n_values) * width).reshape(-1, width)


def _gaps(few: np.ndarray) -> np.ndarray:
    """Whether no value is 2 though many are 1 and many 3, and so on.

    Counts grow rarer step by step; rounded normalised values leave some numbers out.
    """
    before, here, after = few[:, 1:-3], few[:, 2:-2], few[:, 3:-1]
    return ((here == 0) & (before >= GAP) & (after >= GAP)).any(axis=1)


def _bumps(few: np.ndarray) -> np.ndarray:
    """By how many standard errors the numbers of 1, 2, 3, … are not those of counts, at most.

    Counts of genes of any means are a mixture of Poisson distributions: there
    (k + 1) n(k + 1) / n(k) is the mean of the genes with a count of k (Robbins 1956), and grows
    with k. Values rounded after normalising rise and fall.
    """
    before, here, after = (few[:, 1 + k : FEW_COUNTS - 1 + k].astype(float) for k in range(3))
    enough = np.minimum(np.minimum(before, here), after) >= LEAST_OF_EACH
    k = np.arange(1, FEW_COUNTS - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log((k + 2) / (k + 1)) + np.log(after * before / here**2)
        error = np.sqrt(1 / before + 4 / here + 1 / after)
        return np.where(enough, -growth / error, 0.0).max(axis=1, initial=0.0)


def _whole_number_figures(
    data: np.ndarray,
    indptr: np.ndarray,
    figures: Mapping[str, np.ndarray],
    picks: Picks,
    cells: np.ndarray,
) -> dict[str, np.ndarray]:
    """Divisor, and whether the whole numbers are rounded multiples of a step, or ranks."""
    n_cells, smallest = len(cells), figures["smallest"]
    divisor = np.ones(n_cells)
    for cell in ragged(indptr, np.flatnonzero(cells & (smallest > 1))):
        own = data[cell.places].astype(np.int64)
        divisor[cell.numbers] = np.gcd.reduceat(own, cell.starts)
    stepped = np.zeros(n_cells)
    coarse = cells & (smallest >= COARSE)
    if coarse.any():
        rounded = Picks(
            picks.cell, picks.values, smallest, np.full(n_cells, 0.5), picks.precision
        ).select(coarse)
        n_informative, share, digits = multiples(rounded, None)
        stepped = np.where(share >= MULTIPLE_SHARE, digits, -1) * (coarse & (n_informative > 0))
    return {"divisor": divisor, "stepped": stepped}


def _all_halves(picks: Picks) -> np.ndarray:
    off = picks.values * 2 != np.rint(picks.values * 2)
    return np.bincount(picks.cell[off], minlength=len(picks.smallest)) == 0


def _ranks(
    data: np.ndarray,
    indptr: np.ndarray,
    figures: Mapping[str, np.ndarray],
    n_genes: int,
    most: int = 64,
) -> np.ndarray:
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
        places = places[:: max(1, places.size // most)]
        # As smallest ranks the lowest value is 1, as largest ones how many genes share it.
        lowest = figures["smallest"] - below
        begins = (lowest == 1) | (lowest == figures["lows"])
        for number in places[begins[places]]:
            values = (
                data[indptr[number] : indptr[number + 1]]
                - np.broadcast_to(below, n_values.shape)[number]
            )
            if 1 == lowest[number] < figures["lows"][number] and (values == 2).any():
                continue  # of several that share rank 1 the next rank is higher than 2
            distinct, first, equal = np.unique(
                np.sort(values), return_index=True, return_counts=True
            )
            same = np.array_equal(distinct, first + 1) or np.array_equal(distinct, first + equal)
            ranks[number] = same and distinct.size >= 8
    return ranks
