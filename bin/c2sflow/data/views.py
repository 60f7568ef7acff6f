"""What is read of a file: one matrix, the features that are genes, the genes of one genome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

from c2sflow.data.backed import CellData
from c2sflow.data.genes.features import ALL, GENES, Features, find_features
from c2sflow.data.genes.other_features import obsm_key
from c2sflow.data.genes.references import GENOME_SHARE, choose_genome, find_genomes
from c2sflow.data.matrices import choose_matrix, matrix_label, take_matrix
from c2sflow.data.state.normalization import State, linear_values

SETTINGS = ("matrix", "features", "genome")
# Left-out features of a kind are kept in obsm up to this many: peaks stay in the input.
MOST_KEPT = 5000


@dataclass(frozen=True)
class View:
    """Settings of a sample, as given or as VALIDATE decided them.

    Attributes
    ----------
    matrix
        "auto", "X", "raw.X" or "layers/NAME".
    features
        See `c2sflow.data.genes.features.find_features`.
    genome
        A genome of a reference of several; None if it is of one.
    """

    matrix: str = "auto"
    features: str = GENES
    genome: str | None = None

    @classmethod
    def from_settings(cls, settings: Mapping) -> View:
        """From the options or the settings of a sample."""
        return cls(**{name: settings[name] for name in SETTINGS if settings.get(name)})


@dataclass
class Viewed:
    """What `apply_view` did.

    Attributes
    ----------
    view
        As decided, for the steps that follow.
    lines
        For the log.
    left_out
        Features of each kind that are no genes, by number.
    others
        Of each kind that is kept in obsm: columns of the stored matrix, and names.
    genome_genes
        Genes by genome, if there are several.
    in_genome, in_others
        Columns of the stored matrix: genes of the chosen genome, and of other organisms' genomes;
        None if there are none of these.
    """

    view: View
    lines: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    others: dict[str, tuple[np.ndarray, pd.Index]] = field(default_factory=dict)
    genome_genes: dict[str, int] = field(default_factory=dict)
    in_genome: np.ndarray | None = None
    in_others: np.ndarray | None = None

    @property
    def warnings(self) -> list[str]:
        """For the report: the lines, and which matrix was read if it was not X."""
        matrix = self.view.matrix
        return [*([f"{matrix} was read, not X"] if matrix != "X" else []), *self.lines]

    @property
    def figures(self) -> dict:
        """For qc.json: what was read and what was left out, by number of features."""
        figures: dict[str, object] = {
            "matrix": self.view.matrix,
            "features_left_out": self.left_out,
        }
        if self.genome_genes:
            figures |= {"genome": self.view.genome, "genome_genes": self.genome_genes}
        return figures


def apply_view(data: CellData, view: View, where: str, input_state: str = "auto") -> Viewed:
    """Narrow open data to what is read of it.

    Parameters
    ----------
    data
        The open input, changed: X is the matrix chosen, var the genes, prefixes of genomes removed.
    view
        As asked for, or as VALIDATE decided.
    where
        The sample's name and file, for messages.
    input_state
        What the user declares X to be.

    Raises
    ------
    UserError
        If there is no such matrix, type of feature or genome, no gene, or several genomes of which
        none is chosen.
    """

    def is_gene(var: pd.DataFrame) -> np.ndarray:
        return find_features(var, view.features, where).is_gene

    path, lines = choose_matrix(data, view.matrix, input_state, is_gene, where)
    lines += take_matrix(data, path)
    result = Viewed(View(matrix_label(path), view.features, view.genome), lines)
    features = find_features(data.var, view.features, where)
    _describe(features, view, result)
    _choose_genes(data, features, view.genome, result, where)
    return result


def _describe(features: Features, view: View, result: Viewed) -> None:
    """Kinds of features that are left out, in figures and words."""
    result.left_out = features.counts
    for kind, n in result.left_out.items():
        columns = np.flatnonzero(features.kinds == kind)
        place = f'obsm["{obsm_key(kind)}"]' if len(columns) <= MOST_KEPT else "the input only"
        result.lines.append(f"{n} features are {kind.replace('_', ' ')}, no genes: in {place}")
    if view.features == ALL:
        result.lines.append("--features all: every feature is taken for a gene")


def _choose_genes(
    data: CellData, features: Features, genome: str | None, result: Viewed, where: str
) -> None:
    reference = find_genomes(data.var, features.is_gene)
    chosen = choose_genome(reference, features.is_gene, genome, where)
    for name, n in reference.n_prefixed.items():
        result.lines.append(f"{n} names of features lost the prefix of the genome {name}")
    names = reference.var.index
    for kind, n in result.left_out.items():
        if n <= MOST_KEPT:
            columns = np.flatnonzero(features.kinds == kind)
            own = names[columns]
            result.others[kind] = columns, own if own.is_unique else make_index_unique(own)
    kept = features.is_gene
    if chosen is not None:
        foreign = features.is_gene & (reference.genome != chosen) & (reference.genome != "")
        kept = features.is_gene & ~foreign
        result.genome_genes = reference.n_genes(features.is_gene)
        line = f"{foreign.sum()} genes are not of the genome {chosen}: left out"
        # An infected cell is a cell; a virus's genes are no other organism's cells.
        rival = foreign & np.isin(reference.genome, reference.major(features.is_gene))
        if rival.any():
            result.in_genome, result.in_others = np.flatnonzero(kept), np.flatnonzero(rival)
            line += f", and cells with less than {GENOME_SHARE:.0%} of their counts from {chosen}"
        result.lines.append(line)
        result.view = View(result.view.matrix, result.view.features, chosen)
    elif genome is not None:
        result.lines.append(f"--genome {genome}: the genes are of one genome: no effect")
        result.view = View(result.view.matrix, result.view.features, None)
    data.var = reference.var
    if not kept.all():
        data.keep(kept)


def genome_shares(data: CellData, viewed: Viewed, state: State) -> np.ndarray | None:
    """Share of each cell's expression that comes from the chosen genome.

    Parameters
    ----------
    data
        The open input, after `apply_view`.
    viewed
        What that made.
    state
        Of the values.

    Returns
    -------
    float64 (n_obs,), NaN for a cell without counts; None if there is no other
    organism's genome.
    """
    if viewed.in_genome is None or viewed.in_others is None:
        return None
    shares = np.full(data.n_obs, np.nan)
    both = np.concatenate([viewed.in_genome, viewed.in_others])
    for start, block in data.chunks(columns=both):
        linear = linear_values(block, state)
        total = np.asarray(linear.sum(axis=1)).ravel().astype(float)
        own = np.asarray(linear[:, : len(viewed.in_genome)].sum(axis=1)).ravel()
        rows = slice(start, start + len(total))
        shares[rows] = np.divide(own, total, out=np.full(len(total), np.nan), where=total > 0)
    return shares
