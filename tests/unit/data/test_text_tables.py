"""Tables of text: whatever program wrote them, the same numbers and names, or one clear line."""

import csv
import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.common.errors import UserError
from c2sflow.common.separators import find_separator
from c2sflow.data.genes.excel_dates import dates_note, likely_gene
from c2sflow.data.orientation import check_orientation, genes_in_rows
from c2sflow.data.readers import open_anndata
from c2sflow.data.text_tables import decimal_mark

GENES = ["ACTB", "CD3E", "LYZ", "NA", "nan", "1-Mar", "HLA A", " padded ", "True", "Gm1234", "1e5"]
NAMES = ["001", "1e5", "NA", "nan", "True", " padded ", "-1", "a,b", 'quote "x"', "1,5", "é"]
FORMATS = [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (" ", ".")]


def read(path):
    with open_anndata(path) as data:
        matrix = data.rows(0, data.n_obs).toarray()
        return pd.DataFrame(matrix, data.obs.index, data.var.index), data.notes


@given(
    form=st.sampled_from(FORMATS),
    shape=st.tuples(st.integers(1, 11), st.integers(2, 11)),
    whole=st.booleans(),
    transposed=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    short_header=st.booleans(),
    ends=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    packed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_pandas_writes_is_read_as_it_was(
    form, shape, whole, transposed, quoting, short_header, ends, encoding, packed, seed,
    tmp_path_factory,
):  # fmt: skip
    (separator, decimal), (n, m) = form, shape
    random = np.random.default_rng(seed)
    values = random.poisson(2, (n, m)) if whole else random.uniform(0, 9, (n, m)).round(2)
    table = pd.DataFrame(values, index=NAMES[:n], columns=GENES[:m])
    text = (table.T if transposed else table).to_csv(
        sep=separator, decimal=decimal, quoting=quoting, lineterminator="\n"
    )
    if short_header:  # as R's write.table
        text = text[1:] if text.startswith(separator) else text.split(separator, 1)[1]
    content = text.replace("\n", ends).encode(encoding)
    path = tmp_path_factory.getbasetemp() / f"t.txt{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    found, notes = read(path)
    np.testing.assert_allclose(found.to_numpy(), values)
    assert list(found.index) == NAMES[:n]
    assert list(found.columns) == GENES[:m]
    assert any("transposed" in note for note in notes) == transposed


@pytest.mark.parametrize(
    ("text", "names", "genes"),
    [
        ("# made by x\n\n,ACTB,B2M\na,1,2\n\n,,\n", ["a"], ["ACTB", "B2M"]),
        ("id;ACTB;B2M;\na;1;2;\n", ["a"], ["ACTB", "B2M"]),  # a separator ends each line
        ("ACTB,B2M\na,1,2,\n", None, None),
        ("gene,s1,s2\nx1,1,2\nx2,3,4\n", ["s1", "s2"], ["x1", "x2"]),
        ("Sample ID,x1,x2\ns1,1,2\n", ["s1"], ["x1", "x2"]),
        ("x,AAACCTGAGAAACCAT-1,AAACCTGAGAAACCGC-1\nx1,1,2\nx2,3,4\n", None, ["x1", "x2"]),
        (",ENSG00000000003.1,ENSMUSG00000000028\na,1,2\n", ["a"], None),
        (",g1,g2\nFBgn0000008,1,2\nFBgn0000014,3,4\n", ["g1", "g2"], None),
    ],
)
def test_layouts(text, names, genes, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    if names is genes is None:
        with pytest.raises(UserError, match="line 2 has 4 fields"):
            read(tmp_path / "t.csv")
        return
    found, _ = read(tmp_path / "t.csv")
    assert names is None or list(found.index) == names
    assert genes is None or list(found.columns) == genes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",ACTB,B2M\na,1,2\nb,1\n", r"line 3 has 2 fields, not 3.*separator: comma"),
        (",ACTB,B2M\na,1,x\n", r"line 2, column 'B2M' holds text \('x'\)"),
        (",ACTB,B2M\na,1,\n", r"line 2, column 'B2M' is empty; write 0"),
        (",ACTB,B2M\na,1,NA\n", "line 2, column 'B2M' is 'NA'; write 0"),
        (",ACTB,B2M\na,1,nan\n", "line 2, column 'B2M' is 'nan'; write 0"),
        (',ACTB,B2M\na,1,"1,234"\n', "without separators of thousands"),
        (";ACTB;B2M\na;1,234;1.234,5\n", "'1.234,5' has a separator of thousands"),
        (";ACTB;B2M\na;1,5;1.5\n", "a point and a comma as decimal marks"),
        (";ACTB;B2M\na;1,234;5\n", "'1,234' may be a thousand or a fraction"),
        (";ACTB;B2M\na;1.234;5\n", "'1.234' may be a thousand or a fraction"),
        ("Sample,Path\na,b.h5ad\n", r"looks like a samplesheet.*'Sample', 'Path'.*spelled so"),
        (",x1,x2\ny1,1,2\n", r"neither the rows \(such as 'y1'\).*'x1'.*call the first column"),
        ("words\n", "cannot be read as samples × genes"),
        (",ACTB,B2M\n,1,2\n", "line 2 has no name"),
        (",ACTB,B2M\n", r"no data \(0 rows × 2 columns\)"),
        ("a\0b\n", "cannot be read as samples"),
        (b",ACTB,B2M\n\xe4,1,2\n", r"not UTF-8 \(byte 0xe4\).*iconv"),
        (b',ACTB,B2M\n"a,1,2\n', "cannot be read as samples × genes"),
    ],
)
def test_one_clear_line(text, message, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert "Error" not in str(error.value)


def test_separator_needs_a_constant_count():
    assert find_separator(["a;b,c;d\n", "1;2,5;3\n"]) == ";"
    assert find_separator(["a,b\n", "x,1,2\n", "y,1,2\n"]) == ","
    assert find_separator(["a\tb\n", "1\t2\t3\t4\n"]) == "\t"  # the line is named later
    assert find_separator(["abc\n"]) is None


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=30), st.sampled_from(".,"))
def test_decimal_mark_is_right_or_refused(values, mark):
    fields = [repr(float(value)).replace(".", mark) for value in values]
    marked = [text for text in fields if mark in text]
    if all(len(text.split(mark)[1]) == 3 and text[0] != "0" for text in marked):
        marked.append(f"0{mark}5")  # without it they may be thousands
    assert decimal_mark(marked) == mark


def test_orientation_is_not_guessed():
    assert genes_in_rows(["s1", "s2"], ["ACTB", "xyz"]) is False
    assert genes_in_rows(["ACTB", "B2M", "x"], ["s1", "s2"]) is True
    assert genes_in_rows(["CD3E", "LYZ"], ["ACTB", "B2M"]) is None  # samples named by their genes
    assert genes_in_rows(["CD3E", "LYZ"], ["ACTB", "B2M"], "sample") is False
    assert genes_in_rows(["a"], ["b"], "Gene symbol") is True
    assert genes_in_rows(["c2", "c7", "f3"], ["x1", "x2"]) is None  # C2, C7 and F3 are genes, too


def test_genes_in_obs_names_are_refused():
    barcodes = [f"ACGTACGTAC{a}{b}-1" for a in "ACGT" for b in "ACGT"]
    symbols = ["CD3E", "LYZ", "MS4A1", "x"]
    check_orientation(barcodes, symbols, "x")
    check_orientation(["a"], ["b"], "x")
    with pytest.raises(UserError, match=r"obs_names are genes \(such as CD3E\).*adata\.T"):
        check_orientation(symbols, barcodes, "x")


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("1-Mar", "MARCHF1"), ("Mar-01", "MARCHF1"), ("11-mar", "MARCHF11"), ("2-Sep", "SEPTIN2"),
        ("Sep-02", "SEPTIN2"), ("2001-03-01", "MARCHF1"), ("2006-09-01", "SEPTIN1 or SEPTIN6"),
        ("2021-09-02 00:00:00", "SEPTIN2"), ("1-Dec", "DELEC1"), ("15-Sep", "SELENOF"),
        ("01. Mrz", "MARCHF1"), ("1-Mar-20", "MARCHF1"), ("3-Jan", ""), ("MARCHF1", None),
        ("MARCH1", None), ("SEPT2", None), ("DEC1", None), ("2021-13-01", None), ("CD3-E", None),
    ],
)  # fmt: skip
def test_dates_of_spreadsheets(name, gene):
    assert likely_gene(name) == gene


def test_dates_are_named_in_a_line():
    assert dates_note(["ACTB", "MARCHF1"]) == []
    (line,) = dates_note(["ACTB", "1-Mar", "2-Sep", "3-Jan"])
    assert line.startswith("3 gene names are dates")
    assert "1-Mar (MARCHF1), 2-Sep (SEPTIN2), 3-Jan" in line
