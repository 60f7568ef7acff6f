"""Gene symbols and organism: found where files hold them, or a clear error."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from making import SYMBOLS, cells

from c2sflow.common.errors import UserError
from c2sflow.data.genes.organisms import cell_organisms, find_organism
from c2sflow.data.genes.symbols import find_symbols, gene_symbols
from c2sflow.data.readers import open_anndata

ENSEMBL = [f"ENSG{n:011}.{n % 3 + 1}" for n in range(6)]
NAMES = ["TP53", "MYC", "TP53", np.nan, "", "ACTB"]


def var(index, **columns):
    return pd.DataFrame(columns, index=pd.Index(index, dtype=str))


@pytest.mark.parametrize("column", ["gene_symbols", "feature_name", "gene_short_name", "Symbol"])
@pytest.mark.parametrize("index", [ENSEMBL, [str(n) for n in range(6)]], ids=["Ensembl", "digits"])
def test_symbols_from_a_column(index, column):
    frame = var(index, chromosome="1", **{column: NAMES})
    assert find_symbols(frame, "auto", "x") == column
    symbols, found = gene_symbols(frame, column)
    assert list(symbols) == ["TP53", "MYC", "TP53-1", index[3], index[4], "ACTB"]
    assert found == {"missing": 2, "duplicates": 1}


def test_names_that_are_symbols_are_taken():
    frame = var(SYMBOLS, gene_symbols="other")
    assert find_symbols(frame, "auto", "x") is None
    assert list(gene_symbols(frame, None)[0]) == SYMBOLS


@pytest.mark.parametrize(
    ("frame", "column", "message"),
    [
        (var(ENSEMBL), "auto", r"identifiers \(such as ENSG0.*has: none.*--gene_symbols"),
        (var(ENSEMBL, gene_symbols=ENSEMBL), "auto", "has: gene_symbols"),
        (var(ENSEMBL, a=NAMES), "b", r"no such column \(a\)"),
        (var(SYMBOLS[:6], a=ENSEMBL), "a", "holds no symbols"),
    ],
)
def test_no_symbols(frame, column, message):
    with pytest.raises(UserError, match=message):
        find_symbols(frame, column, "x")


def organism(symbols, option="auto", obs=None, uns=None, **columns):
    n = len(symbols)
    obs = pd.DataFrame(obs or {}, index=["a", "b"])
    data = ad.AnnData(np.ones((2, n)), obs=obs, var=var(symbols, **columns), uns=uns or {})
    with open_anndata(data) as opened:
        return find_organism(option, opened, opened.var_names, "x")


MOUSE = ["Actb", "Gapdh", "Cd3e", "Rps27rt", "H2-K1"]


@pytest.mark.parametrize(
    ("symbols", "details", "expected"),
    [
        (SYMBOLS, {}, "human"),
        (["C1orf112", "ACTB", "CD3E"], {}, "human"),
        (MOUSE, {}, "mouse"),
        (["mt-Co1", "x", "y"], {}, "mouse"),
        (["1", "2"], {"ensembl": ["ENSMUSG00000000001", "ENSMUSG00000000028"]}, "mouse"),
        (SYMBOLS, {"obs": {"organism": "Mus musculus"}}, "mouse"),
        (SYMBOLS, {"obs": {"species": "NCBITaxon:10090"}}, "mouse"),
        (SYMBOLS, {"obs": {"organism_ontology_term_id": "NCBITaxon:9606"}}, "human"),
        (SYMBOLS, {"obs": {"organism": ["Homo sapiens", "Mus musculus"]}}, "obs"),
        (
            SYMBOLS,
            {"obs": {"organism_ontology_term_id": ["NCBITaxon:9606", "NCBITaxon:10090"]}},
            "obs",
        ),
        (SYMBOLS, {"obs": {"species": pd.Categorical([10090, 10090])}}, "mouse"),
        (MOUSE, {"uns": {"organism_ontology_term_id": "NCBITaxon:9606"}}, "human"),
        (MOUSE, {"obs": {"organism": [None, None]}}, "mouse"),  # says nothing
        (["MT-CO1", "Actb", "Gapdh", "Cd3e"], {}, "human"),  # mitochondrial genes go first
        (SYMBOLS, {"obs": {"organism": ["human", "Homo sapiens"]}}, "human"),
        (MOUSE, {"uns": {"organism": "Rattus norvegicus"}}, "Rattus norvegicus"),
        (MOUSE, {"option": "Homo sapiens"}, "human"),
        (MOUSE, {"option": "zebrafish"}, "zebrafish"),
    ],
)
def test_organism(symbols, details, expected):
    assert organism(symbols, **details) == expected


@pytest.mark.parametrize(
    ("symbols", "details", "message"),
    [
        (["abc", "def"], {}, "--organism human"),
        (SYMBOLS, {"obs": {"organism": ["human", None]}}, "empty for 1 cells"),
    ],
)
def test_no_organism(symbols, details, message):
    with pytest.raises(UserError, match=message):
        organism(symbols, **details)


def test_organism_per_cell():
    terms = {"organism_ontology_term_id": ["NCBITaxon:9606", "NCBITaxon:10090", "mice"]}
    assert list(cell_organisms(pd.DataFrame(terms))) == ["human", "mouse", "mouse"]
    obs = cells().obs.assign(organism=pd.Categorical(["Homo sapiens", "Mus musculus"] * 20))
    assert list(cell_organisms(obs)[:3]) == ["human", "mouse", "human"]
