"""What the cells of a map are coloured by: which columns of obs, and in which colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from natsort import natsorted

from c2sflow.data.obs.figure_cells import known_labels
from c2sflow.report.markers import read_markers

# Okabe & Ito (2008), which readers with any colour vision can distinguish; grey in place of black,
# which a dark page would hide. With more groups than colours, the points' shapes change as well.
BLUE, VERMILLION = "#0072b2", "#d55e00"
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", BLUE, VERMILLION, "#cc79a7", "#999999")
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
MOST_GROUPS = 50  # of a column: names of cells or barcodes are no groups
MOST_COLUMNS = 16
FEW = 20  # different whole numbers that are groups (clusters), not amounts
TYPES, CLUSTERS = "c2s_cell_type", "c2s_leiden"
# Shown before the other columns of obs, if they are there, after those that the run names.
FIRST = (
    TYPES, CLUSTERS, "sample", "condition", "perturbation", "leiden", "louvain", "cell_type",
    "n_genes_by_counts", "total_counts", "pct_counts_mt", "c2s_cell_type_probability",
    "c2s_cell_type_spread", "c2s_embedding_spread",
)  # fmt: skip


@dataclass
class Colourings:
    """What a map may be coloured by, a row for each cell shown.

    Parameters
    ----------
    columns
        Of obs, from `read_colours`.
    genes
        Expression of genes, from `c2sflow.report.markers.read_markers`.
    marked
        The column whose groups these genes mark; "" without one.
    """

    columns: pd.DataFrame = field(default_factory=pd.DataFrame)
    genes: pd.DataFrame = field(default_factory=pd.DataFrame)
    marked: str = ""


def read_colourings(
    file: h5py.File, rows: np.ndarray, named: Iterable[str], label_column: str | None
) -> Colourings:
    """Columns of obs, and the genes that mark the labels, or else clusters or predicted types.

    Parameters
    ----------
    file
        c2s.h5ad, open. Of X only these rows are read.
    rows, named
        Those of `read_colours`.
    label_column
        Column of obs with labels.
    """
    found = Colourings(read_colours(file["obs"], rows, named))
    for column in filter(None, (label_column, CLUSTERS, TYPES)):
        if column in found.columns and not is_number(found.columns[column]):
            groups = as_groups(pd.Series(known_labels(found.columns[column])))
            found.genes = read_markers(file, rows, groups)
            if len(found.genes.columns):
                found.marked = column
                break
    return found


def read_colours(obs: h5py.Group, rows: np.ndarray, named: Iterable[str]) -> pd.DataFrame:
    """Columns of obs that a map is worth colouring by.

    At most `MOST_COLUMNS`: those that the run names, then `FIRST`, then the others in their order.
    Left out are columns with one value, columns of text with more than `MOST_GROUPS` (but for the
    named ones), columns that only repeat another one, and c2s columns that describe no cell.

    Parameters
    ----------
    obs
        obs of an h5ad file, open.
    rows
        Positions of the cells shown.
    named
        Columns that the run is about, the label column first; those that are not there are passed
        over.

    Returns
    -------
    A row per cell shown; categories where the values are groups, numbers otherwise.
    """
    present = list(map(str, obs.attrs["column-order"]))
    named = [name for name in dict.fromkeys(named) if name in present]
    known = [name for name in FIRST if name in present]
    others = [name for name in present if not name.startswith("c2s_")]
    columns: dict[str, pd.Series] = {}
    for name in dict.fromkeys([*named, *known, *others]):
        values = as_groups(pd.Series(read_elem(obs[name])).iloc[rows].reset_index(drop=True))
        if _is_worth_showing(values, any_number=name in named) and not any(
            _same(values, other) for other in columns.values()
        ):
            columns[name] = values
        if len(columns) == MOST_COLUMNS:
            break
    return pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))


def as_groups(values: pd.Series) -> pd.Series:
    """Categories of text in natural order, or numbers; infinite numbers are unknown."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.astype(float).where(lambda found: np.isfinite(found))
        known = numbers.dropna().unique()
        if len(known) > FEW or (known != np.round(known)).any():
            return numbers
        values = numbers.astype("Int64")
    texts = values.astype(object).where(values.notna(), None)
    texts = texts.map(
        lambda value: str(value) if value is not None and value is not pd.NA else None
    )
    return pd.Series(pd.Categorical(texts, natsorted(texts.dropna().unique())))


def is_number(values: pd.Series) -> bool:
    """Whether a column of `as_groups` holds amounts."""
    return not isinstance(values.dtype, pd.CategoricalDtype)


def _is_worth_showing(values: pd.Series, any_number: bool) -> bool:
    n = values.nunique()
    return n > 1 and (any_number or is_number(values) or n <= MOST_GROUPS)


def _same(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns part the cells alike."""
    if is_number(one) != is_number(other):
        return False
    if is_number(one):
        return bool(np.array_equal(one, other, equal_nan=True))
    if one.cat.categories.size != other.cat.categories.size:
        return False
    pairs = pd.DataFrame({"one": one.cat.codes, "other": other.cat.codes}).drop_duplicates()
    return len(pairs) == pairs["one"].nunique() == pairs["other"].nunique()


def group_styles(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Each group with its colour and shape."""
    for place, name in enumerate(names):
        shape = SHAPES[place // len(COLOURS) % len(SHAPES)]
        yield name, COLOURS[place % len(COLOURS)], shape
