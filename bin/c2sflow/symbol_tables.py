"""A table from gene identifiers to symbols, for data that hold identifiers only."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from c2sflow.errors import UserError

COLUMN = "c2s_gene_symbol"  # of var, which gets what the table says
VERSION = r"\.\d+$"


def is_table(value: object) -> bool:
    """Whether --gene_symbols names a table rather than a column of var."""
    return isinstance(value, str) and bool(re.search(r"\.(csv|tsv|txt)$", value.strip(), re.I))


def read_symbols(path: str | Path) -> pd.Series:
    """Symbol of each identifier, without the identifiers' versions.

    Parameters
    ----------
    path
        CSV, or TSV with any other ending: identifiers in the first column, symbols in the second;
        a first line that names the columns. Further columns, empty symbols and repeated
        identifiers (but the first) are ignored.

    Raises
    ------
    UserError
        If it cannot be read so.
    """
    path = Path(path)
    where = f"--gene_symbols {path.name}"
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig").iloc[:, :2]
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: cannot be read as a table: {reason}") from None
    if table.shape[1] < 2:
        raise UserError(
            f"{where}: one column only; give identifiers in the first and symbols in the second, "
            f"with {'commas' if separator == ',' else 'tabs'} between"
        )
    table = table.dropna()
    names = table.iloc[:, 0].str.strip().str.replace(VERSION, "", regex=True)
    symbols = table.iloc[:, 1].str.strip().set_axis(names)
    return symbols[(symbols != "") & ~names.duplicated().to_numpy()]


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
