"""Names that hold an id beside the symbol, and ids of transcripts."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.data.genes.symbol_tables import with_symbols
from c2sflow.data.genes.symbols import find_symbols, gene_symbols, is_transcript, without_ids


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("ENSG00000000003_TSPAN6", "TSPAN6"),
        ("ENSG00000000003.15_TSPAN6", "TSPAN6"),
        ("ENSG00000000003-TSPAN6", "TSPAN6"),
        ("ENSMUSG00000000003:H2-K1", "H2-K1"),
        ("ENSG00000000003.TSPAN6", "TSPAN6"),
        ("ENSG00000000003|TSPAN6", "TSPAN6"),
        ("TSPAN6|ENSG00000000003.15", "TSPAN6"),
        ("TSPAN6|ENSG00000000003|chrX", "TSPAN6"),
        ("TSPAN6_ENSG00000000003", "TSPAN6"),
        ("HLA-A_ENSG00000000003.1", "HLA-A"),
        ("Y_RNA_ENSG00000000003", "Y_RNA"),
        ("ENSG00000000003.15", "ENSG00000000003.15"),
        ("ENSG00000182378.14_PAR_Y", "ENSG00000182378.14_PAR_Y"),
        ("ENSG00000000003_ENSG00000000003", "ENSG00000000003_ENSG00000000003"),
        ("ENST00000000439.2|TSPAN6", "ENST00000000439.2|TSPAN6"),
        ("TSPAN6", "TSPAN6"),
        ("ENSA", "ENSA"),
    ],
)
def test_the_symbol_is_taken_out(name, symbol):
    found, n_cleaned = without_ids([name])
    assert (found[0], n_cleaned) == (symbol, int(symbol != name))


@given(
    st.from_regex(r"[A-Z][A-Z0-9]{1,6}(-[A-Z0-9]{1,3})?", fullmatch=True),
    st.integers(0, 99_999_999_999),
    st.sampled_from(["_", "|", ":"]),
    st.booleans(),
)
def test_any_symbol_survives(symbol, number, mark, is_first):
    parts = [symbol, f"ENSG{number:011}"]
    assert without_ids([mark.join(parts if is_first else parts[::-1])])[0][0] == symbol


def test_duplicates_of_cellxgene_are_handled_as_usual():
    var = pd.DataFrame(index=["A", "B", "A_ENSG00000000007"])
    symbols, counts = gene_symbols(var, None)
    assert list(symbols) == ["A", "B", "A-1"]
    assert counts == {"missing": 0, "duplicates": 1, "cleaned": 1}


@pytest.mark.parametrize(
    "name", ["ENST00000000439.2", "ENSMUST00000000439", "ENST00000000439.2|TSPAN6", "NM_000014.6"]
)
def test_transcripts_are_refused_unless_a_table_names_them(name):
    assert is_transcript([name]).all()
    names = [name.replace("439", f"{n:03}").replace("014", f"{n:03}") for n in range(9)]
    var = pd.DataFrame(index=names)
    with pytest.raises(UserError, match=r"s: gene names are identifiers of transcripts.*--gene_sy"):
        find_symbols(var, "auto", "s")
    table = pd.Series("GENE", [n.split("|")[0].split(".")[0] for n in names])
    assert list(with_symbols(var, table, "s").iloc[:, 0]) == ["GENE"] * 9
