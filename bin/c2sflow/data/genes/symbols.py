"""Symbols of the genes of a file, from its names, columns or a table."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

from c2sflow.common.errors import UserError
from c2sflow.data.genes.names import once_a_name, texts_of
from c2sflow.data.readers import ENSEMBL

_ID = r"ENS[A-Z]{0,6}G\d{6,}(?:\.\d+)?(?:_PAR_Y)?"
# ENSG…_SYMBOL (STARsolo, Seurat's "-"), and SYMBOL_ENSG… (CELLxGENE's repeated names).
_FIRST = re.compile(rf"^{_ID}(?:[_:;\- ]|\.(?=[A-Za-z]))(.+)$")
_LAST = re.compile(rf"^(.+)[_:;\-. ]{_ID}$")
_WHOLE = re.compile(rf"^{_ID}$")
# Transcripts and proteins of Ensembl and RefSeq, whatever follows: no names of genes.
_TRANSCRIPT = re.compile(r"^(?:ENS[A-Z]{0,6}[TP]\d{6,}|[NX][MR]_\d{6,})(?:\W|_|$)")


def is_transcript(names: Iterable[object]) -> np.ndarray:
    """Which names are of transcripts or proteins: ENST…, ENSMUST…, NM_…, ``ENST…|GENE``."""
    return np.array(list(map(_is_transcript, texts_of(names))), dtype=bool)


@once_a_name
def _is_transcript(name: str) -> bool:
    return bool(_TRANSCRIPT.match(name.strip()))


def without_ids(names: Iterable[object]) -> tuple[np.ndarray, int]:
    """Symbols alone.

    Parameters
    ----------
    names
        Such as ``ENSG00000000003_TSPAN6``, ``TSPAN6|ENSG00000000003.15`` or ``TSPAN6``.

    Returns
    -------
    The names, object (n_genes,), and of how many an id was taken off.
    """
    texts = texts_of(names)
    cleaned, n_cleaned = np.array(texts, dtype=object), 0
    for place in [place for place, text in enumerate(texts) if "ENS" in text]:
        cleaned[place] = _symbol(texts[place])
        n_cleaned += cleaned[place] != texts[place]
    return cleaned, n_cleaned


@once_a_name
def _symbol(text: str) -> str:
    text = text.strip()
    if _WHOLE.match(text) or _TRANSCRIPT.match(text):
        return text
    if "|" in text:
        fields = [field.strip() for field in text.split("|")]
        words = [field for field in fields if field and not _WHOLE.match(field)]
        return words[0] if words and len(words) < len(fields) else text
    found = _FIRST.match(text) or _LAST.match(text)
    # An id twice is an id.
    return found.group(1) if found and not _WHOLE.match(found.group(1)) else text


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
# Columns that hold identifiers, for genes without a name.
ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_id", "Accession", "input_id")
_IDENTIFIER = re.compile(rf"{ENSEMBL}|^\d+$|^$|^nan$|^None$|^<NA>$")


def is_identifier(names: Iterable[object]) -> np.ndarray:
    """Which names are no symbols: Ensembl ids (with or without version), ids of transcripts,
    numbers, or missing."""
    return np.array(list(map(_is_identifier, texts_of(names))), dtype=bool)


@once_a_name
def _is_identifier(name: str) -> bool:
    text = name.strip()
    return bool(_IDENTIFIER.match(text) or _TRANSCRIPT.match(text))


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
        what = "identifiers of transcripts; sum them by gene first"
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
    names, missing = _named(var)
    names, n_cleaned = without_ids(names)
    missing |= is_identifier(names)
    if column is not None:
        symbols, n_cleaned = without_ids(var[column].astype(str).str.strip())
        # R writes NA where there is none; one gene of that name is a gene.
        several = (symbols == "NA") & ((symbols == "NA").sum() > 1)
        missing = is_identifier(symbols) | several
        names = np.where(missing, names, symbols)
    _check_named(names, where)
    index = pd.Index(names)
    counts = {"missing": int(missing.sum()), "duplicates": int(index.duplicated().sum())}
    if n_cleaned:
        counts["cleaned"] = n_cleaned
    return (index if index.is_unique else make_index_unique(index)), counts


def _named(var: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Names of the genes, of those without one their identifiers; and which have none."""
    names = var.index.astype(str).to_numpy(dtype=object)
    blank = np.array([not name for name in map(str.strip, names.tolist())], dtype=bool)
    unnamed = blank.copy()
    for column in ID_COLUMNS:
        if blank.any() and column in var:
            ids = var[column].astype(object).where(var[column].notna(), "").astype(str).str.strip()
            names = np.where(blank, ids.to_numpy(dtype=object), names)
            blank &= names == ""
    return names, unnamed


def _check_named(names: np.ndarray, where: str) -> None:
    texts = map(str.strip, texts_of(names.tolist()))
    blank = [place for place, name in enumerate(texts) if not name]
    if blank:
        raise UserError(
            f"{where}: {len(blank)} of {len(names)} genes have neither a name nor an identifier "
            f"(the first is gene {blank[0] + 1}); name them or drop them"
        )


_MITOCHONDRIAL = frozenset(["MT-", "Mt-", "mT-", "mt-"])


def is_mitochondrial(symbols: pd.Index) -> np.ndarray:
    """Which genes are mitochondrial: MT- in human, mt- in mouse, Mt- in rat."""
    return np.array([symbol[:3] in _MITOCHONDRIAL for symbol in texts_of(symbols)], dtype=bool)
