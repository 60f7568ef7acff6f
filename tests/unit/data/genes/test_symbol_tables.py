"""Tables from gene identifiers to symbols: read as people export them, used by QC."""

import anndata as ad
import pandas as pd
import pytest
from making import SYMBOLS, cells

from c2sflow.common.errors import UserError
from c2sflow.data.genes.symbol_tables import COLUMN, is_table, read_symbols, with_symbols
from c2sflow.data.genes.symbols import is_identifier
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.state.normalization import State

IDS = [f"ENSG{n:011}" for n in range(len(SYMBOLS))]


@pytest.mark.parametrize(
    ("value", "table"),
    [("a b.TSV", True), ("x.csv", True), ("auto", False), ("feature_name", False), (None, False)],
)
def test_what_is_a_table(value, table):
    assert is_table(value) == table


@pytest.mark.parametrize(("name", "separator"), [("s.csv", ","), ("s.tsv", "\t"), ("s.txt", "\t")])
def test_reading(tmp_path, name, separator):
    lines = ["Gene stable ID,Gene name,more", "E1.4,TP53,x", "E2,,x", "E3, CD4 ,x", "E1,again,x"]
    text = "\n".join(lines).replace(",", separator)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_symbols(tmp_path / name).to_dict() == {"E1": "TP53", "E3": "CD4"}


def test_names_are_text_and_separators_are_found(tmp_path):
    (tmp_path / "s.csv").write_text("\ufeffid;symbol\r\nNA;NA\r\n1e5;1-Mar\r\n001;True\r\n")
    assert read_symbols(tmp_path / "s.csv").to_dict() == {"NA": "NA", "1e5": "1-Mar", "001": "True"}
    (tmp_path / "s.txt").write_text("id,symbol\nE1,TP53\nE2,NA\nE3,NA\n")  # R's missing values
    assert read_symbols(tmp_path / "s.txt").to_dict() == {"E1": "TP53"}


def test_a_second_copy_of_a_gene_has_the_symbol_of_the_first():
    names = [IDS[0], f"{IDS[1]}.4", f"{IDS[2]}.15_PAR_Y", f"{IDS[3]}_PAR_Y"]
    table = pd.Series(["A", "B", "C", "D"], index=IDS[:4])
    made = with_symbols(pd.DataFrame(index=names), table, "x")
    assert made[COLUMN].tolist() == ["A", "B", "C", "D"]
    assert is_identifier(names).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read as a table"), (b"id\nE1\n", "one column only"), (b"\xff\xfe", "cannot")],
)
def test_bad_tables(tmp_path, content, message):
    (tmp_path / "s.tsv").write_bytes(content)
    with pytest.raises(UserError, match=f"--gene_symbols s.tsv: .*{message}"):
        read_symbols(tmp_path / "s.tsv")


def test_qc_calls_genes_by_the_table(tmp_path):
    data = cells()
    data.var_names = [f"{name}.{n % 5}" for n, name in enumerate(IDS)]
    pd.DataFrame({"id": IDS[:-1], "symbol": SYMBOLS[:-1]}).to_csv(tmp_path / "s.csv", index=False)
    options = {"sample": "s", "organism": "human", "state": State("counts")}
    summary = run_qc(
        data, tmp_path / "s.h5ad", symbols_column=COLUMN, symbols_table=tmp_path / "s.csv",
        filters=Filters(skip=True), **options,
    )  # fmt: skip
    made = ad.read_h5ad(tmp_path / "s.h5ad")
    assert list(made.var_names) == [*SYMBOLS[:-1], data.var_names[-1]]
    assert list(made.var["input_id"]) == list(data.var_names)
    assert "pct_counts_mt" in made.obs
    assert summary["warnings"] == ["1 of 34 genes without a symbol keep their id"]
    with pytest.raises(
        UserError, match="x: --gene_symbols: the table has symbols of 0% of the genes"
    ):
        with_symbols(data.var, pd.Series({"Q1": "A"}), "x")
