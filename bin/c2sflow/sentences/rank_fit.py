"""Between rank and expression: the linear model of Cell2Sentence.

A cell's log-normalised expression falls linearly with log10 of the gene's rank (Levine et al.,
2024, "expression ≈ intercept + slope · log10(rank)"). The fit is kept as sums, so that shards and
samples are fitted apart and the sums added give the fit of the whole data set, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from scipy import sparse

from c2sflow.data.state.normalization import LOG_BASE, LOG_BASES


@cache
def _log_ranks(n: int) -> np.ndarray:
    """log10 of the ranks 1 to n; asked for powers of 2 only, so that few are kept."""
    return np.log10(np.arange(1, n + 1))


@dataclass
class RankFit:
    """Sums of an ordinary least-squares fit of expression (y) on log10 rank (x)."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def add_cells(self, values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> None:
        """Add cells.

        Parameters
        ----------
        values
            float (n_words,): of one cell after the other, expression in descending order.
        lengths
            int (n_cells,): how many are each cell's.
        """
        y = np.asarray(values, dtype=np.float64)
        log_ranks = _log_ranks(1 << int(max(lengths, default=0)).bit_length())
        x = np.concatenate([log_ranks[:0], *(log_ranks[:length] for length in lengths)])
        self.n += y.size
        self.x += x.sum()
        self.y += y.sum()
        # Not "@": its sum depends on the number of cores.
        self.xx += np.einsum("i,i", x, x)
        self.xy += np.einsum("i,i", x, y)
        self.yy += np.einsum("i,i", y, y)

    def __add__(self, other: RankFit) -> RankFit:
        sums = {name: own + getattr(other, name) for name, own in asdict(self).items()}
        return RankFit(**sums)

    def astuple(self) -> tuple[float, ...]:
        """The sums, in the order of the fields."""
        return tuple(asdict(self).values())

    def solve(self) -> dict[str, float]:
        """Slope, intercept, r_squared and n; NaN where the sums do not decide them.

        Of log10 (1 + x), whatever the base of the results: `log_base` records it.
        """
        base = LOG_BASES[LOG_BASE]
        sxx = self.xx - self.x**2 / self.n if self.n else 0.0
        if sxx <= 0:
            unknown = {"slope": np.nan, "intercept": np.nan, "r_squared": np.nan}
            return {**unknown, "n": self.n, "log_base": base}
        sxy = self.xy - self.x * self.y / self.n
        syy = self.yy - self.y**2 / self.n
        slope = sxy / sxx
        return {
            "slope": float(slope),
            "intercept": float((self.y - slope * self.x) / self.n),
            "r_squared": float(sxy**2 / (sxx * syy)) if syy > 0 else np.nan,
            "n": self.n,
            "log_base": base,
        }


def expression_from_ranks(
    sentences: Iterable[Sequence[int] | np.ndarray], n_vars: int, slope: float, intercept: float
) -> sparse.csr_matrix:
    """Log-normalised expression of sentences by a rank fit.

    Parameters
    ----------
    sentences
        For each cell the columns of its genes, highest expression first, each gene once.
    n_vars
        Number of columns.
    slope, intercept
        From `RankFit.solve`.

    Returns
    -------
    CSR float32 (n_cells, n_vars). Genes whose fitted value is not above 0 are not expressed.
    """
    rows = [np.asarray(genes, dtype=np.int64) for genes in sentences]
    lengths = np.array([row.size for row in rows], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    by_rank = intercept + slope * np.log10(np.arange(1, longest + 1))
    matrix = sparse.csr_matrix(
        (
            np.concatenate([by_rank[:n] for n in lengths] or [by_rank]).astype(np.float32),
            np.concatenate(rows or [np.empty(0, np.int64)]),
            np.concatenate([[0], np.cumsum(lengths)]),
        ),
        shape=(len(rows), n_vars),
    )
    np.maximum(matrix.data, 0, out=matrix.data)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix
