"""Which cells and genes QC keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.references import GENOME_SHARE

# Reasons to drop a cell, in order: the first that holds is counted.
REASONS = ("no_genes", "min_genes", "max_pct_mt")
# With a reference of several genomes: before the filters, and whatever --skip_qc leaves out.
GENOME_REASONS = ("other_genome", "mixed_genomes")


@dataclass(frozen=True)
class Filters:
    """Which cells and genes are kept."""

    min_genes: int = 200
    min_cells: int = 3
    max_pct_mt: float = 20.0
    skip: bool = False

    def for_bulk(self) -> Filters:
        """What bulk samples must pass: to have genes; and genes, to be in one of the samples."""
        return Filters(0, 1, 100.0, self.skip)

    def reason(self, metrics: pd.DataFrame) -> np.ndarray:
        """Position in `REASONS` of why each cell is dropped; -1 for kept cells."""
        reason = np.full(len(metrics), -1)
        if self.skip:
            return reason
        n_genes = metrics["n_genes_by_counts"].to_numpy()
        # Later assignments win: the first reason comes last.
        if "pct_counts_mt" in metrics:
            reason[metrics["pct_counts_mt"].to_numpy() > self.max_pct_mt] = 2
        reason[n_genes < self.min_genes] = 1
        reason[n_genes == 0] = 0
        return reason


def of_other_genomes(reason: np.ndarray, shares: np.ndarray) -> None:
    """Mark cells of another genome and mixtures (doublets) in `reason`, by `GENOME_SHARE`."""
    reason[shares < GENOME_SHARE] = len(REASONS) + 1
    reason[shares <= 1 - GENOME_SHARE] = len(REASONS)
