"""Names of cells and genes: plain, odd, repeated; Ensembl ids with and without symbols beside."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from making import SYMBOLS

ODD = ["1", "001", "1e5", "NA", "nan", "None", "True", "é 細胞", "A B", "a\tb", "x" * 300, "-",
       "1-Mar", "a/b", "a,b", "'\"", " lead", "_index", "..", "a-1", "A-1", "a"]  # fmt: skip
# Columns that are looked up for symbols, and one that is not.
SYMBOL_COLUMNS = ["gene_symbols", "feature_name", "gene_name", "Symbol", "gene", "my name"]
TABLE = "symbols.tsv"
_PLAIN = re.compile(r"[A-Z][A-Z0-9.-]{2,30}")


@dataclass
class Genes:
    """Annotation of the genes, and what is true of it.

    Attributes
    ----------
    words
        What a sentence calls each gene; None for odd and repeated names, which may be changed.
    species
        What the identifiers are of; "" for symbols.
    params
        ``gene_symbols``, where it is given.
    table
        Content of the file `TABLE`, if there is one.
    refused
        Why VALIDATE has to refuse, if it has to.
    """

    var: pd.DataFrame
    words: list[str | None]
    species: str = ""
    params: dict = field(default_factory=dict)
    table: str = ""
    refused: str = ""


@st.composite
def names(draw, n: int, stem: str) -> list[str]:
    """Names of rows: plain, or some of them odd or repeated."""
    made = [f"{stem}{i}" for i in range(n)]
    for i in range(n):
        if draw(st.integers(0, 9)) == 0:
            made[i] = draw(st.one_of(st.sampled_from(ODD), st.just(made[0]), st.just("")))
    return made


@st.composite
def genes(draw, n: int) -> Genes:
    """Symbols, identifiers, or both in one name, beside a column or a table of symbols."""
    made = draw(
        st.sampled_from([_symbols, _symbols, _symbols, _ids, _ids, _both]).flatmap(lambda f: f(n))
    )
    repeated = Counter(made.words)
    made.words = [
        word if word and repeated[word] == 1 and _PLAIN.fullmatch(word) else None
        for word in made.words
    ]
    return made


@st.composite
def _symbols(draw, n: int) -> Genes:
    """Symbols, some of them odd; a column of others counts only where it is asked for."""
    made = SYMBOLS[:n]
    for i in range(n):
        if draw(st.integers(0, 19)) == 0:
            made[i] = draw(st.sampled_from([*ODD, made[0], ""]))
    found = Genes(pd.DataFrame(index=made), made)
    if draw(st.integers(0, 4)) == 0:
        other = [f"OTHER{i}" for i in range(n)]
        name = draw(st.sampled_from(SYMBOL_COLUMNS))
        found.var[name] = other
        if draw(st.booleans()):
            found.params["gene_symbols"], found.words = name, other
    if not found.params and draw(st.integers(0, 19)) == 0:
        found.params["gene_symbols"] = "no such column"
        found.refused = "no such column of symbols"
    return found


@st.composite
def _both(draw, n: int) -> Genes:
    """ENSG…_SYMBOL or SYMBOL_ENSG…."""
    ids, symbols, mark = draw(_identifiers(n, "ENSG")), SYMBOLS[:n], draw(st.sampled_from("_|"))
    pairs = zip(*((ids, symbols) if draw(st.booleans()) else (symbols, ids)), strict=True)
    return Genes(pd.DataFrame(index=[mark.join(pair) for pair in pairs]), symbols)


@st.composite
def _identifiers(draw, n: int, prefix: str) -> list[str]:
    version = draw(st.sampled_from(["", ".1", ".12", "mixed"]))
    made = []
    for i in range(n):
        own = draw(st.sampled_from(["", ".3", ".4_PAR_Y"])) if version == "mixed" else version
        made.append(f"{prefix}{i * 37 + 3:011}{own}")
    return made


@st.composite
def _ids(draw, n: int) -> Genes:
    """Identifiers with a column of symbols, with a table of them, or alone."""
    prefix, species = draw(st.sampled_from([("ENSG", "human"), ("ENSMUSG", "mouse")]))
    ids = draw(_identifiers(n, prefix))
    found = Genes(pd.DataFrame(index=ids), ids, species)
    symbols = SYMBOLS[:n]
    missing = draw(st.lists(st.integers(0, 3 * n), max_size=3))
    words = [name if i in missing else symbol for i, (name, symbol) in enumerate(zip(ids, symbols))]  # noqa: B905
    beside = draw(st.sampled_from(["column", "column", "table", "nothing"]))
    if beside == "column":
        name = draw(st.sampled_from(SYMBOL_COLUMNS))
        found.var[name] = draw(_column(ids, symbols, missing))
        if name == "my name" or draw(st.booleans()):
            found.params["gene_symbols"] = name
        found.words = words
    elif beside == "table":
        found.params["gene_symbols"] = TABLE
        known = draw(st.booleans())  # the table's identifiers have versions
        lines = [
            f"{name if known else name.split('.')[0]}\t{'' if i in missing else symbol}"
            for i, (name, symbol) in enumerate(zip(ids, symbols, strict=True))
        ]
        found.table = "\n".join(["id\tsymbol", *draw(st.permutations(lines))]) + "\n"
        found.words = words
    else:
        found.refused = "identifiers alone"
    return found


@st.composite
def _column(draw, ids: list[str], symbols: list[str], missing: list[int]) -> object:
    """Symbols with gaps, as R, pandas and CELLxGENE leave them."""
    values = np.array(symbols, dtype=object)
    for i in missing:
        if i < len(ids):
            values[i] = draw(st.sampled_from(["", None, np.nan, "nan", ids[i]]))
    kind = draw(st.sampled_from(["object", "category", "string"]))
    if kind == "object":  # anndata writes no None between texts
        return np.array(["" if pd.isna(value) else value for value in values], dtype=object)
    return pd.Categorical(values) if kind == "category" else pd.array(values, "string")
