"""A table from gene identifiers to symbols, for data that hold identifiers only."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_text
from c2sflow.common.separators import find_separator
from c2sflow.data.backed import CellData
from c2sflow.data.genes.symbols import is_identifier

COLUMN = "c2s_gene_symbol"  # of var, filled from the table
VERSION = r"(?:\.\d+)?(?:_PAR_Y)?$"  # GENCODE's second copy of a gene has the symbol of the first
FIRST_LINES = 30  # by which the separator is found


def is_table(value: object) -> bool:
    """Whether --gene_symbols names a table rather than a column of var."""
    return isinstance(value, str) and bool(re.search(r"\.(csv|tsv|txt)$", value.strip(), re.I))


def read_symbols(path: str | Path) -> pd.Series:
    """Symbol of each identifier, without the identifiers' versions.

    Parameters
    ----------
    path
        CSV or TSV, also with semicolons: identifiers in the first column, symbols in the second; a
        first line that names the columns. Further columns, empty symbols and repeated
        identifiers (but the first) are ignored.

    Raises
    ------
    UserError
        If it cannot be read so.
    """
    path = Path(path)
    where = f"--gene_symbols {path.name}"
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    lines = read_text(path, where).splitlines()
    separator = find_separator(lines[:FIRST_LINES]) or separator
    try:
        # Names are text: a gene may be called NA.
        table = pd.read_csv(
            path, sep=separator, dtype=str, encoding="utf-8-sig", keep_default_na=False
        ).iloc[:, :2]
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        reason = "a quote is not closed" if "EOF inside string" in reason else reason
        reason = "it is empty" if "No columns" in reason else reason
        raise UserError(f"{where}: cannot be read as a table: {reason}") from None
    if table.shape[1] < 2:
        raise UserError(
            f"{where}: one column only; give identifiers in the first and symbols in the second, "
            f"with {'commas' if separator == ',' else 'tabs'} between"
        )
    names = table.iloc[:, 0].str.strip().str.replace(VERSION, "", regex=True)
    symbols = table.iloc[:, 1].str.strip().set_axis(names)
    # R writes NA where there is none; one gene of that name is a gene.
    missing = symbols.isin(["NA", "nan", "NULL", "None"]) & symbols.duplicated(keep=False)
    return symbols[(symbols != "") & ~missing & ~names.duplicated().to_numpy()]


def add_symbols(data: CellData, symbols: pd.Series, where: str) -> str | None:
    """Add the column `COLUMN` to var if the genes' names are identifiers.

    Parameters
    ----------
    symbols
        From `read_symbols`.
    where
        The sample's name and file, for messages.

    Returns
    -------
    `COLUMN`, or None where the names are symbols.

    Raises
    ------
    UserError
        See `with_symbols`.
    """
    if is_identifier(data.var_names).mean() <= 0.5:
        return None
    data.var = with_symbols(data.var, symbols, where)
    return COLUMN


def with_symbols(var: pd.DataFrame, symbols: pd.Series, where: str) -> pd.DataFrame:
    """var with the column `COLUMN`: symbols of its names, empty where the table has none.

    Raises
    ------
    UserError
        If the table knows less than half of the genes.
    """
    names = pd.Series(var.index.astype(str), index=var.index).str.split("|").str[0]  # ENST…|GENE
    names = names.str.replace(VERSION, "", regex=True)
    found = names.map(symbols)
    if (share := float(found.notna().mean())) < 0.5:
        raise UserError(
            f"{where}: --gene_symbols: the table has symbols of {share:.0%} of the genes (such as "
            f"{var.index[0]}); is it of this organism, by these identifiers?"
        )
    return var.assign(**{COLUMN: found.fillna("").astype(str)})
