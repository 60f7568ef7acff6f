"""Which side of a table holds the genes: decided from all names, never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from c2sflow.common.errors import UserError
from c2sflow.data.genes.known_symbols import KNOWN_SYMBOLS

ENSEMBL = re.compile(r"^(?:ENS[A-Z]{0,6}[GT]\d{6,}|FBgn\d{7}|WBGene\d{8})(?:\.\d+)?(?:_.+)?$")
MITOCHONDRIAL = re.compile(r"^MT-[A-Z]", re.IGNORECASE)
BARCODE = re.compile(r"(?:^|[^A-Za-z])[ACGT]{10,}(?:$|[^A-Za-z])")
# What people call the first column, in the field over the names of the rows.
GENE_WORD = re.compile(r"^(gene|symbol|hgnc|hugo|ensembl|feature|transcript)s?(_|id|name|symbol|$)")
CELL_WORD = re.compile(r"^(sample|cell|barcode|donor|patient|well|spot)s?(_|id|name|barcode|$)")
# One side counts as genes where it has so many times the known names of the other.
CLEARLY, BARCODE_SHARE = 5, 0.5
# Genes in rows are another layout than the documented one: more of the rows must be known.
LEAST_SHARE, LEAST_GENES = 0.2, 2
LOOKED_AT = 2000  # names of each side of a file that is no table, spread evenly


def known_genes(names: Sequence[str]) -> int:
    """How many names are genes beyond doubt: known symbols or identifiers."""
    return sum(
        (len(name) > 2 and name.upper() in KNOWN_SYMBOLS)  # c2 and f3 are cells, too
        or bool(ENSEMBL.match(name) or MITOCHONDRIAL.match(name))
        for name in map(str.strip, map(str, names))
    )


def barcode_share(names: Sequence[str]) -> float:
    """Share of the names that hold a cell's barcode: ten and more of ACGT, as ``AAAC…-1``."""
    return sum(bool(BARCODE.search(str(name))) for name in names) / max(1, len(names))


def genes_in_rows(rows: Sequence[str], columns: Sequence[str], corner: str = "") -> bool | None:
    """Whether the rows are genes and the columns cells or samples; None if that is not clear.

    Parameters
    ----------
    rows, columns
        Names of both sides.
    corner
        What the table calls the names of its rows ("gene", "sample", …), if anything: it decides
        where the names do not.
    """
    in_rows, in_columns = known_genes(rows), known_genes(columns)
    row_share, column_share = in_rows / max(1, len(rows)), in_columns / max(1, len(columns))
    if in_columns and column_share >= CLEARLY * row_share:
        return False
    if in_rows >= LEAST_GENES and row_share >= max(LEAST_SHARE, CLEARLY * column_share):
        return True
    barcodes = [barcode_share(names) >= BARCODE_SHARE for names in (rows, columns)]
    if barcodes[0] != barcodes[1]:
        return barcodes[1]
    word = re.sub(r"[\s.\-]+", "_", corner.strip().lower())
    if GENE_WORD.match(word) or CELL_WORD.match(word):
        return bool(GENE_WORD.match(word))
    return None


def check_orientation(cells: Sequence[str], genes: Sequence[str], where: str) -> None:
    """Raise UserError if the names of the cells are genes, and those of the genes are not."""
    rows, columns = (
        [
            str(names[place])
            for place in np.unique(np.linspace(0, len(names) - 1, LOOKED_AT, dtype=int))
        ]
        for names in (cells, genes)
    )
    if genes_in_rows(rows, columns):
        raise UserError(
            f"{where}: obs_names are genes (such as {rows[0]}) and var_names are none (such as "
            f"{columns[0]}): cells belong in rows; write adata.T"
        )
