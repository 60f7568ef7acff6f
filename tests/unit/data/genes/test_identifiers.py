"""Names of cells and genes are text: the same in every format, and unchanged to the result."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from making import counts, write_input
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.data.genes.symbols import gene_symbols
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.results.merge import unique_names
from c2sflow.sentences.ranking import gene_words
from c2sflow.sentences.shards import write_shards

CELLS = ["001", "1e5", "NA", "nan", "True", " padded ", "None", "-1", "1.10", "2020-01-01", "é"]
GENES = ["NA", "nan", "1-Mar", "001", "1e5", "True", "HLA A", "a,b", "ACTB", "MT-CO1", "B2M"]
FORMATS = ["csr-h5ad", "dense-zarr", "10x-h5", "10x-directory", "loom", "csv", "tsv.gz"]


def named():
    data = ad.AnnData(counts(len(CELLS), len(GENES)))
    data.obs_names, data.var_names = CELLS, GENES
    return data


def ascii_only(data):
    return data[[name.isascii() for name in data.obs_names]].copy()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_from_every_format_to_the_shards(kind, tmp_path):
    data = named()
    data = ascii_only(data) if kind in ("10x-h5", "loom") else data  # of NumPy's bytes
    path = write_input(data, kind, tmp_path)
    with open_anndata(path) as opened:
        assert list(opened.obs.index) == list(data.obs_names)
        assert list(opened.var_names) == GENES
    run_qc(
        path, tmp_path / "s.h5ad", sample="NA", organism="human", state=State("counts"),
        filters=Filters(skip=True),
    )  # fmt: skip
    kept = ad.read_h5ad(tmp_path / "s.h5ad")
    assert list(kept.obs_names) == list(data.obs_names)
    assert list(kept.var_names) == GENES
    assert list(unique_names([kept.obs_names], ["NA"])[0]) == list(data.obs_names)
    with open_anndata(tmp_path / "s.h5ad") as opened:
        write_shards(opened, [(0, opened.n_obs)], "s", tmp_path)
    shard = pd.read_parquet(tmp_path / "shards/s.00000.parquet")
    assert list(shard["cell_id"]) == list(data.obs_names)
    assert set(shard["sample"]) == {"NA"}
    words = {word for text in shard["cell_sentence"] for word in text.split(" ")}
    assert words == {"NA", "NAN", "1-MAR", "001", "1E5", "TRUE", "HLA_A", "A_B", "ACTB", "MT-CO1",
                     "B2M"}  # fmt: skip


def test_a_gene_without_a_name_is_called_by_its_id_or_refused(tmp_path):
    var = pd.DataFrame({"gene_ids": ["E1", "E2", "E3"]}, index=["ACTB", "", "  "])
    symbols, found = gene_symbols(var, None)
    assert list(symbols) == ["ACTB", "E2", "E3"]
    assert found["missing"] == 2
    nameless = var.drop(columns="gene_ids")
    with pytest.raises(UserError, match=r"s \(x.h5ad\): 2 of 3 genes have neither a name nor an"):
        gene_symbols(nameless, None, "s (x.h5ad)")
    with_symbols = nameless.assign(symbol=["A", "B", "C"])
    assert list(gene_symbols(with_symbols, "symbol")[0]) == ["A", "B", "C"]
    with pytest.raises(UserError, match="gene 2 of 3 has no name"):
        gene_words(["ACTB", " ", "B2M"])
    (tmp_path / "x.csv").write_text(",ACTB,,B2M\na,1,2,3\n")
    with open_anndata(tmp_path / "x.csv") as data, pytest.raises(UserError, match="1 of 3 genes"):
        gene_symbols(data.var, None, "x.csv")


def test_missing_symbols_of_a_column_are_no_words():
    names = ["TP53", np.nan, "", "  ", None, "NA"]
    var = pd.DataFrame({"symbol": names}, index=[f"ENSG{n:011}" for n in range(6)])
    symbols, found = gene_symbols(var, "symbol")
    assert list(symbols) == ["TP53", *var.index[1:5], "NA"]
    assert found["missing"] == 4
    var["symbol"] = pd.array(["TP53", pd.NA, "", "  ", pd.NA, "NA"], dtype="string")
    assert list(gene_symbols(var, "symbol")[0]) == list(symbols)
    several = var.assign(symbol=["TP53", "NA", "NA", "NA", "NA", "NA"])  # R's missing values
    assert list(gene_symbols(several, "symbol")[0]) == ["TP53", *var.index[1:]]


def test_words_are_one_word_each():
    words = gene_words(["HLA A", "HLA\tA", "a,b", "A_B", " x "])
    assert list(words) == ["HLA_A", "HLA_A-1", "A_B", "A_B-1", "X"]
    assert sparse.csr_matrix((1, len(words))).shape[1] == len(set(words))
