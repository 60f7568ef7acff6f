"""Gene symbols, and the organism they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

from c2sflow.anndata_io import ENSEMBL
from c2sflow.cells import CellData
from c2sflow.errors import UserError
from c2sflow.gene_names import is_transcript, without_ids

# Columns of var that hold symbols in files of CELLxGENE, Cell Ranger, Seurat, monocle and others.
SYMBOL_COLUMNS = (
    "gene_symbols",
    "gene_symbol",
    "feature_name",
    "gene_name",
    "gene_names",
    "symbol",
    "Symbol",
    "SYMBOL",
    "gene_short_name",
    "hgnc_symbol",
    "mgi_symbol",
    "name",
    "gene",
    "Gene",
)
ORGANISM_COLUMNS = ("organism", "species", "organism_ontology_term_id")
# The names of the published models' prompts, and what files call these organisms.
ORGANISMS = {
    "human": ("homo sapiens", "h. sapiens", "ncbitaxon:9606", "9606", "hsapiens"),
    "mouse": ("mus musculus", "m. musculus", "ncbitaxon:10090", "10090", "mmusculus", "mice"),
}
# Columns that hold identifiers, for genes without a name.
ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id", "Accession", "input_id")
PER_CELL = "obs"
_IDENTIFIER = re.compile(rf"{ENSEMBL}|^\d+$|^$|^nan$|^None$|^<NA>$")


def is_identifier(names: Iterable[object]) -> np.ndarray:
    """Which names are no symbols: Ensembl ids (with or without version), ids of transcripts,
    numbers, or missing."""
    names = [str(name).strip() for name in names]
    identifiers = np.array([bool(_IDENTIFIER.match(name)) for name in names], dtype=bool)
    return identifiers | is_transcript(names)


def find_symbols(
    var: pd.DataFrame, column: str, where: str, text_table: bool = False
) -> str | None:
    """Where the gene symbols are.

    Parameters
    ----------
    var
        Annotation of the genes.
    column
        "auto", or a column of `var`.
    where
        The sample's name and file, for messages.
    text_table
        Whether the data is a table of text, to which no column can be added.

    Returns
    -------
    A column of `var`, or None for the names of the genes.

    Raises
    ------
    UserError
        If there is no such column, or nothing in `var` looks like symbols.
    """
    columns = ", ".join(map(str, var.columns)) or "none"
    if column != "auto":
        if column not in var:
            raise UserError(f"{where}: --gene_symbols {column}: var has no such column ({columns})")
        if is_identifier(var[column]).mean() > 0.5:
            example = next(iter(var[column]))
            raise UserError(
                f"{where}: --gene_symbols {column}: the column holds no symbols (such as {example})"
            )
        return column
    if is_identifier(var.index).mean() <= 0.5:
        return None
    for name in SYMBOL_COLUMNS:
        if name in var and is_identifier(var[name]).mean() <= 0.5:
            return name
    what = "identifiers"
    if is_transcript(var.index).mean() > 0.5:
        what = "identifiers of transcripts, which are to be summed by gene"
    names = f"{where}: gene names are {what} (such as {var.index[0]})"
    if text_table:
        raise UserError(
            f"{names}; give a table of two columns, identifier and symbol: --gene_symbols "
            "symbols.tsv"
        )
    raise UserError(
        f"{names}, and no column of var (has: {columns}) holds symbols; add one and name it with "
        "--gene_symbols, or give a table of identifiers and symbols: --gene_symbols symbols.tsv"
    )


def gene_symbols(
    var: pd.DataFrame, column: str | None, where: str = "var"
) -> tuple[pd.Index, dict[str, int]]:
    """Symbol of each gene, unique as scanpy makes them ("-1", "-2", …).

    Parameters
    ----------
    var
        Annotation of the genes.
    column
        As from `find_symbols`. A gene without a symbol keeps its identifier.
    where
        The sample's name and file, for messages.

    Returns
    -------
    The symbols, and how many genes are ``missing`` a symbol, are ``duplicates``, or had an Ensembl
    id beside the symbol, which is taken off (``cleaned``).

    Raises
    ------
    UserError
        If a gene has neither a name nor an identifier: it would be an empty word.
    """
    names, missing = _named(var, where)
    names, n_cleaned = without_ids(names)
    missing |= is_identifier(names)
    if column is not None:
        symbols, n_cleaned = without_ids(var[column].astype(str).str.strip())
        missing = is_identifier(symbols)
        names = np.where(missing, names, symbols)
    index = pd.Index(names)
    counts = {"missing": int(missing.sum()), "duplicates": int(index.duplicated().sum())}
    if n_cleaned:
        counts["cleaned"] = n_cleaned
    return (index if index.is_unique else make_index_unique(index)), counts


def _named(var: pd.DataFrame, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Names of the genes, of those without one their identifiers; and which have none."""
    names = var.index.astype(str).to_numpy(dtype=object)
    blank = np.array([not name.strip() for name in names], dtype=bool)
    unnamed = blank.copy()
    for column in ID_COLUMNS:
        if blank.any() and column in var:
            ids = var[column].astype(object).where(var[column].notna(), "").astype(str).str.strip()
            names = np.where(blank, ids.to_numpy(dtype=object), names)
            blank &= names == ""
    if blank.any():
        place = int(np.flatnonzero(blank)[0])
        raise UserError(
            f"{where}: {int(blank.sum())} of {len(names)} genes have neither a name nor an "
            f"identifier (the first is gene {place + 1}); name them or drop them"
        )
    return names, unnamed


def organism_name(name: object) -> str:
    """The prompt's name of an organism: "human" for Homo sapiens or NCBITaxon:9606, and so on."""
    text = str(name).strip()
    lower = text.lower().replace("_", " ")
    for known, synonyms in ORGANISMS.items():
        if lower == known or lower in synonyms:
            return known
    return text


def find_organism(organism: str, data: CellData, symbols: pd.Index, where: str) -> str:
    """Organism of the cells.

    Parameters
    ----------
    organism
        "auto", or a name, which is taken.
    data
        The cells: their obs and uns may tell.
    symbols
        As from `gene_symbols`.
    where
        The sample's name and file, for messages.

    Returns
    -------
    "human", "mouse" or another name; "obs" if it differs from cell to cell, as obs says.

    Raises
    ------
    UserError
        If neither annotation nor the genes tell.
    """
    if organism != "auto":
        return organism_name(organism)
    obs, column = data.obs, organism_column(data.obs)
    if column is not None:
        if obs[column].isna().any():
            raise UserError(
                f"{where}: obs[{column!r}] is empty for {int(obs[column].isna().sum())} cells; "
                "fill it in, or give --organism"
            )
        names = {organism_name(name) for name in obs[column].unique()}
        return names.pop() if len(names) == 1 else PER_CELL
    for name in ORGANISM_COLUMNS:
        recorded = data.recorded(name)
        if isinstance(recorded, str):
            return organism_name(recorded)
    return _organism_of_genes(data.var, symbols, where)


def organism_column(obs: pd.DataFrame) -> str | None:
    """Column of obs that names the organism, if it has one that says something."""
    return next(
        (name for name in ORGANISM_COLUMNS if name in obs and obs[name].notna().any()), None
    )


def cell_organisms(obs: pd.DataFrame) -> np.ndarray:
    """Organism of each cell, as obs has it."""
    names = obs[organism_column(obs)]
    known = {name: organism_name(name) for name in names.unique()}
    return names.astype(object).map(known).to_numpy(dtype=object)


def _organism_of_genes(var: pd.DataFrame, symbols: pd.Index, where: str) -> str:
    """By Ensembl ids, then mitochondrial genes, then the case of the symbols."""
    identifiers = [var.index, *(var[name] for name in var if var[name].dtype.kind == "O")]
    for names in identifiers:
        text = pd.Series(names).astype(str).to_numpy()
        share = {
            organism: np.mean([name.startswith(prefix) for name in text])
            for organism, prefix in (("human", "ENSG0"), ("mouse", "ENSMUSG0"))
        }
        best = max(share, key=share.get)
        if share[best] > 0.5:
            return best
    mitochondrial = {
        "human": sum(name.startswith("MT-") for name in symbols),
        "mouse": sum(name.startswith("mt-") for name in symbols),
    }
    if any(mitochondrial.values()) and not all(mitochondrial.values()):
        return max(mitochondrial, key=mitochondrial.get)
    letters = [name for name in symbols if sum(map(str.isalpha, name)) > 1]
    if letters:
        # Open reading frames (C1orf112) are the human symbols with small letters.
        upper = np.mean([re.sub(r"orf", "", name).isupper() for name in letters])
        title = np.mean([name[0].isupper() and name[1:].islower() for name in letters])
        if upper > 0.8:
            return "human"
        if title > 0.6:
            return "mouse"
    raise UserError(
        f"{where}: the organism is not told by obs['organism'] nor by the gene names; "
        "give --organism human, --organism mouse or another"
    )


def is_mitochondrial(symbols: pd.Index) -> np.ndarray:
    """Which genes are mitochondrial: MT- in human, mt- in mouse, Mt- in rat."""
    return symbols.str.upper().str.startswith("MT-")
