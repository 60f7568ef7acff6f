"""Random files whose values are in known states: pure ones, and mixtures of two or three."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse, stats

from c2sflow.data.state.normalization import LOG_BASES, State

COUNTS, NORMALIZED = State("counts"), State("normalized")
LOGS = [State("lognormalized", base) for base in LOG_BASES]
# Too few different values to tell a cell of these from any other.
FEW = 2


@dataclass(frozen=True)
class File:
    """Values of a file, what is true of each cell, and how it was made."""

    rows: sparse.csr_matrix
    obs: pd.DataFrame
    truths: list[State | None]  # of each cell; None: in no state that c2sflow knows
    kinds: tuple[str, ...]
    about: str

    @property
    def is_pure(self) -> bool:
        return len(set(self.kinds)) == 1

    def is_wrong(self, state: State) -> bool:
        """Whether this answer is a silent mistake: wrong for a cell that shows what it is."""
        for number, truth in enumerate(self.truths):
            if truth != state and np.unique(self.rows[number].data).size > FEW:
                return True
        return False


def draw_counts(random: np.random.Generator) -> np.ndarray:
    """Negative binomial or Poisson counts of cells of very different depth."""
    n_cells = int(np.exp(random.uniform(np.log(2), np.log(300))))
    n_genes = int(np.exp(random.uniform(np.log(20), np.log(5000))))
    genes = random.lognormal(0, random.uniform(0.5, 2), n_genes)
    depth = random.lognormal(0, random.uniform(0.2, 1), (n_cells, 1))
    per_gene = np.exp(random.uniform(np.log(0.05), np.log(3 if n_genes > 500 else 20)))
    means = depth * genes / genes.mean() * per_gene
    if random.random() < 0.5:
        means = means * random.gamma(2, 0.5, means.shape)
    return random.poisson(means).astype(float)


def normalise(counts, target):
    totals = counts.sum(axis=1, keepdims=True)
    return (
        counts / np.where(totals > 0, totals, 1) * (np.median(totals) if target is None else target)
    )


def _log(values, state):
    return np.log1p(values) / np.log(LOG_BASES[state.log_base])


def _fractions(counts, random, arbitrary):
    share = random.uniform(0.005, 0.25)
    chosen = (counts > 0) & (random.random(counts.shape) < share)
    added = random.random(counts.shape) if arbitrary else random.choice([0.5, 1 / 3], counts.shape)
    return counts + chosen * added


def _lengths(counts, random):
    return counts / random.lognormal(0, 0.7, counts.shape[1])


def _tfidf(counts):
    idf = np.log1p(len(counts) / (1 + (counts > 0).sum(axis=0)))
    return normalise(counts, 1) * idf


def _residuals(counts):
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / max(1, counts.sum())
    return (counts - expected) / np.sqrt(expected + expected**2 / 100 + 1e-9)


def _scaled(counts, center):
    values = np.log1p(normalise(counts, 1e4))
    values = (values - values.mean(0) * center) / (values.std(0) + 1e-9)
    return np.minimum(values, 10)


def _ranks(counts):
    ranks = stats.rankdata(counts, axis=1)
    return ranks * (counts > 0)


def _downsample(counts, random):
    target = max(1, int(np.quantile(counts.sum(1), 0.1)))
    made = np.zeros_like(counts)
    for number, row in enumerate(counts.astype(int)):
        if row.sum():
            taken = min(target, row.sum())
            made[number] = random.multivariate_hypergeometric(row, taken)
    return made


def _total(random):
    return random.choice([1e4, 1e6, None, 1.0], p=[0.4, 0.2, 0.35, 0.05])


# Kind: (what makes it of counts, its state). The first ones are what users bring.
KINDS = {
    "counts": (lambda c, _: c, COUNTS),
    "normalized": (lambda c, r: normalise(c, _total(r)), NORMALIZED),
    **{f"log {s.log_base}": (lambda c, r, s=s: _log(normalise(c, _total(r)), s), s) for s in LOGS},
    "counts with halves and thirds": (lambda c, r: _fractions(c, r, False), COUNTS),
    "counts with fractions": (lambda c, r: _fractions(c, r, True), COUNTS),
    "TPM": (lambda c, r: normalise(_lengths(c, r), 1e6), NORMALIZED),
    **{
        f"log {s.log_base} of TPM": (lambda c, r, s=s: _log(normalise(_lengths(c, r), 1e6), s), s)
        for s in LOGS
    },
    "mostly fractional counts": (lambda c, r: c * r.uniform(0.5, 1, c.shape), COUNTS),
    "counts without background": (lambda c, _: np.maximum(c - c.mean(0) * 0.1, 0), COUNTS),
    "downsampled counts": (lambda c, r: _downsample(c, r), COUNTS),
    "log of counts": (lambda c, r: _log(c, LOGS[r.integers(3)]), None),
    "square root": (lambda c, _: np.sqrt(c), None),
    "arcsinh": (lambda c, r: np.arcsinh(c / r.choice([1.0, 5.0])), None),
    "square root of normalised": (lambda c, _: np.sqrt(normalise(c, 1e4)), None),
    "TF-IDF": (lambda c, _: _tfidf(c), None),
    "log of TF-IDF": (lambda c, _: np.log1p(_tfidf(c) * 1e4), None),
    "scaled": (lambda c, _: _scaled(c, 1), None),
    "scaled, not centred": (lambda c, _: _scaled(c, 0), None),
    "Pearson residuals": (lambda c, _: _residuals(c), None),
    "ranks": (lambda c, _: _ranks(c), None),
    "binary": (lambda c, _: (c > 0).astype(float), None),
    "rounded to integers": (lambda c, r: np.rint(normalise(c, r.choice([1e4, 1e6]))), NORMALIZED),
}
USUAL = ("counts", "normalized", "log e", "log 2", "log 10")
N_FREQUENT = 7


def draw_file(seed: int) -> File:
    """A file, the same for the same seed."""
    random = np.random.default_rng(seed)
    names, counts = list(KINDS), draw_counts(random)
    n_parts = int(random.choice([1, 2, 3], p=[0.5, 0.4, 0.1]))
    n_parts = min(n_parts, len(counts) // 2)
    weights = np.where(np.arange(len(names)) < N_FREQUENT, 3.0, 1.0)
    kinds = random.choice(names, max(1, n_parts), p=weights / weights.sum())
    part = np.repeat(np.arange(len(kinds)), 2)
    part = np.concatenate([part, random.integers(0, len(kinds), len(counts))])[: len(counts)]
    if len(kinds) > 1 and random.random() < 0.5:  # a small minority
        part[2 * len(kinds) :][random.random(len(counts) - 2 * len(kinds)) < 0.8] = 0
    values = np.zeros_like(counts)
    states = [KINDS[kind][1] for kind in kinds]
    for number, kind in enumerate(kinds):
        own = counts[part == number]
        values[part == number] = KINDS[kind][0](own, random)
        if kind == "normalized" and np.array_equal(values[part == number], own):
            states[number] = COUNTS  # cells of one total, normalised to the median of the totals
    about = f"{len(counts)} × {counts.shape[1]}"
    # Rounded values whose sums are gone look like counts of many molecules: nothing tells them.
    told = "rounded to integers" not in kinds
    if told and random.random() < 0.35:  # a panel, or the most variable genes, chosen afterwards
        kept = random.random(counts.shape[1]) < random.uniform(0.05, 0.95)
        kept[:10] = True
        values, about = values[:, kept], f"{about}, {kept.sum()} of the genes"
    values, stored = _store(values, random)
    obs = pd.DataFrame({"batch": [f"b{n}" for n in part]}, [f"c{n}" for n in range(len(part))])
    truths = [states[n] for n in part]
    return File(sparse.csr_matrix(values), obs, truths, tuple(kinds), f"{about}, {stored}")


def _store(values, random):
    stored = random.choice(["float32", "float64", "float16", "decimals"], p=[0.6, 0.15, 0.1, 0.15])
    if stored == "decimals":
        decimals = int(random.integers(2, 5))
        return np.round(values, decimals).astype(np.float32), f"{decimals} decimals"
    if stored == "float16" and np.abs(values).max(initial=0) < 6e4:
        return values.astype(np.float16).astype(np.float32), stored
    return values.astype(np.float64 if stored == "float64" else np.float32), stored
