"""Which genes of several samples are one: by Ensembl id where both have one, else by symbol.

Symbols alone do not decide: a reference may list two genes of one symbol, which then become "DUP"
and "DUP-1" by their order, and another reference lists them the other way round.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from anndata.utils import make_index_unique

REPEATED = "repeated_symbol"  # column of var, from QC
UNKNOWN = ""
# Columns of var with ids of the genes (not of their orthologues), in lower case; the first is QC's.
ID_COLUMNS = (
    "input_id", "gene_ids", "gene_id", "ensembl_ids", "ensembl_id", "ensembl_gene_id", "ensembl",
    "feature_ids", "feature_id", "accession", "id",
)  # fmt: skip
# Of Ensembl, FlyBase or WormBase, and its version.
ID = re.compile(r"(ENS[A-Z]{0,6}G\d{6,}|FBgn\d{7}|WBGene\d{8})(?:\.\d+)?$")


def repeated_symbols(symbols: pd.Index) -> np.ndarray:
    """Which of the unique symbols were one before they were made unique: DUP, DUP-1, ….

    Parameters
    ----------
    symbols
        Of all genes of a reference, from `c2sflow.data.genes.symbols.gene_symbols`.

    Returns
    -------
    bool (n_genes,).
    """
    parts = symbols.to_series().str.extract(r"^(.+)-\d+$")[0]
    again = parts.isin(symbols).to_numpy()
    return again | symbols.isin(parts[again])


def ensembl_ids(var: pd.DataFrame) -> list[str]:
    """Ensembl id of each gene without its version, "" where none is known; empty if none is at all.

    They are in the first of `ID_COLUMNS` that holds more of them than of anything else, or are the
    names of the genes. A repeated id decides nothing, and is left out.
    """
    for name in (*id_columns(var.columns), None):
        ids = [*map(_plain_id, map(str, var.index if name is None else var[name]))]
        n_known = len(ids) - ids.count(UNKNOWN)
        if n_known > len(ids) / 2:
            if len(set(ids) - {UNKNOWN}) == n_known:
                return ids
            n_of = Counter(ids)
            return [own if n_of[own] == 1 else UNKNOWN for own in ids]
    return []


@lru_cache(2**17)  # the samples' genes are about the same
def _plain_id(text: str) -> str:
    # The part before "_" is a genome's name, such as GRCh38.
    found = ID.match(text.rpartition("_")[2].strip())
    return found[1] if found else UNKNOWN


def id_columns(columns: Iterable[Hashable]) -> list[Hashable]:
    """Those of var's columns that may hold ids, in the order of `ID_COLUMNS`."""
    by_name = {str(name).lower(): name for name in columns}
    return [by_name[name] for name in ID_COLUMNS if name in by_name]


@dataclass
class GeneTable:
    """The genes of one sample.

    Attributes
    ----------
    symbols
        Unique names of the genes.
    ids
        Ensembl id of each, "" where none is known; empty if none of any is.
    repeated
        Symbols that the reference has more than once.
    """

    symbols: Sequence[str]
    ids: Sequence[str] = ()
    repeated: Sequence[str] = ()

    @classmethod
    def from_var(cls, var: pd.DataFrame) -> GeneTable:
        """From the var that QC writes."""
        again = var.index[var[REPEATED].to_numpy(dtype=bool)] if REPEATED in var else ()
        return cls(var.index.astype(str).tolist(), ensembl_ids(var), list(again))

    @classmethod
    def from_file(cls, file: h5py.File) -> GeneTable:
        """The same from QC's h5ad, of whose var only what is needed is read."""
        var = file["var"]
        columns = list(var.attrs["column-order"])
        wanted = [*id_columns(columns), *([REPEATED] if REPEATED in columns else [])]
        index = read_elem(var[var.attrs["_index"]])
        return cls.from_var(pd.DataFrame({name: read_elem(var[name]) for name in wanted}, index))

    @classmethod
    def from_summary(cls, summary: Mapping) -> GeneTable:
        """From <id>.sentences.json."""
        return cls(summary["symbols"], summary.get("gene_ids", ()), summary.get("repeated", ()))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Symbol and id of each gene."""
        return zip(self.symbols, self.ids or [UNKNOWN] * len(self.symbols), strict=True)


@dataclass
class GeneAlignment:
    """The genes of all samples, a column each, in order of appearance.

    `add` every sample, then ask; memory holds what differs between samples, not the samples.

    A gene has the column of its id. Two ids are one gene if both have the same symbol only,
    in every sample, and no reference has it twice: they are of two releases of Ensembl. A gene
    without an id has the column of its symbol, unless several genes have that.
    """

    _pairs: dict[tuple[str, str], int] = field(default_factory=dict)
    _repeated: set[str] = field(default_factory=set)
    _n_samples: int = 0
    _names: pd.Index | None = None
    _ids: list[str] = field(default_factory=list)

    def add(self, table: GeneTable) -> None:
        """Take in one sample."""
        for pair in table.pairs():
            self._pairs.setdefault(pair, -1)
        self._repeated.update(table.repeated)
        self._n_samples += 1
        self._names = None

    @property
    def names(self) -> pd.Index:
        """Unique name of each column: the symbol that its gene has in the first sample with it."""
        self._align()
        return self._names

    @property
    def ids(self) -> list[str]:
        """Ensembl id of each column, "" where none is known."""
        return self._ids if len(self.names) else []

    def columns(self, table: GeneTable) -> np.ndarray:
        """Column of each gene of a sample that was added, int32 (n_genes,)."""
        self._align()
        return np.fromiter((self._pairs[pair] for pair in table.pairs()), np.int32)

    def columns_in(self, other: GeneAlignment) -> dict[int, int]:
        """Of each column that has genes of `other`, all of one column there: that column.

        All genes of `other` were added here too.
        """
        self._align()
        other._align()
        found: dict[int, set[int]] = {}
        for pair, column in other._pairs.items():
            found.setdefault(self._pairs[pair], set()).add(column)
        return {own: min(columns) for own, columns in found.items() if len(columns) == 1}

    def _align(self) -> None:
        """Give each pair its column, once all samples are there."""
        if self._names is not None:
            return
        ids_of, symbols_of = self._ids_and_symbols()
        columns: dict[tuple[str, str], int] = {}
        names: list[str] = []
        self._ids = []
        for symbol, own in self._pairs:
            is_plain = symbol not in self._repeated and all(
                len(symbols_of[known]) == 1 for known in ids_of.get(symbol, ())
            )
            if is_plain or symbol not in ids_of:
                key = ("symbol", symbol)
            else:
                key = ("id", own) if own else ("without id", symbol)
            column = columns.setdefault(key, len(columns))
            if column == len(names):
                names.append(symbol)
                self._ids.append(own)
            self._ids[column] = self._ids[column] or own
            self._pairs[symbol, own] = column
        index = pd.Index(names, dtype=object)
        self._names = index if index.is_unique else make_index_unique(index)

    def _ids_and_symbols(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Ids of each symbol that has some, and symbols of each id."""
        ids_of: dict[str, list[str]] = {}
        symbols_of: dict[str, list[str]] = {}
        for symbol, own in self._pairs:
            if own:
                ids_of.setdefault(symbol, []).append(own)
                symbols_of.setdefault(own, []).append(symbol)
        return ids_of, symbols_of

    def notices(self) -> list[str]:
        """What a user should know of genes that are not plainly one, a line each."""
        if self._n_samples < 2:
            return []
        self._align()
        ids_of, symbols_of = self._ids_and_symbols()
        columns_of = {
            symbol: {self._pairs[symbol, own] for own in ids} for symbol, ids in ids_of.items()
        }
        several = {symbol for symbol, columns in columns_of.items() if len(columns) > 1}
        found = {
            "genes have different symbols in different samples, and share a column by Ensembl id": [
                " and ".join(symbols) for symbols in symbols_of.values() if len(symbols) > 1
            ],
            "symbols have another Ensembl id in another sample, as in another release of Ensembl, "
            "and one column": [
                f"{symbol}: {' and '.join(ids)}"
                for symbol, ids in ids_of.items()
                if len(ids) > 1 and symbol not in several
            ],
            "symbols belong to several genes, which get one column each by Ensembl id": [*several],
            "symbols of several genes are in samples without Ensembl ids, where they cannot be "
            "distinguished, and have columns of their own": [
                symbol
                for symbol, columns in columns_of.items()
                if self._pairs.get((symbol, UNKNOWN), min(columns)) not in columns
            ],
            "symbols are repeated in references without Ensembl ids: their genes are aligned by "
            "their order": sorted(self._repeated - set(ids_of)),
        }
        return [
            f"{len(names)} {text} (such as {min(names)})" for text, names in found.items() if names
        ]


def word_columns(summary: Mapping, genes: GeneAlignment) -> dict[str, int]:
    """Column of each word of a sample, from its <id>.sentences.json."""
    columns = genes.columns(GeneTable.from_summary(summary)).tolist()
    return dict(zip(summary["genes"], columns, strict=True))
