"""Which matrix is read: counts where the file has them, and what was asked for."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from making import cells

from c2sflow.api.sentence_table import sentence_table
from c2sflow.common.errors import UserError
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.data.state.reading import read_evidence
from c2sflow.data.views import View, apply_view


def logged(data):
    """scanpy's tutorial: counts in a layer, X log-normalised."""
    data.layers["counts"] = data.X.copy()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    return data


def with_raw_counts(n_vars=34):
    """As CELLxGENE has it; X of the first genes only."""
    data = cells()
    made = logged(data.copy())[:, :n_vars].copy()
    made.raw, _ = data, made.layers.pop("counts")
    return made


def scaled():
    """scanpy's tutorial to its end: raw log-normalised, X scaled."""
    data = logged(cells())
    del data.layers["counts"]
    data.raw = data.copy()
    sc.pp.scale(data)
    return data


def only_layers():
    data = cells()
    made = ad.AnnData(obs=data.obs, var=data.var, layers={"counts": data.X})
    return made


CASES = {
    "counts": (cells, "X", ""),
    "a layer of counts": (lambda: logged(cells()), "layers/counts", "X holds log-normalised"),
    "raw counts": (with_raw_counts, "raw.X", "using raw.X, which holds raw counts"),
    "raw counts of more genes": (lambda: with_raw_counts(9), "raw.X", "using raw.X"),
    "no X": (only_layers, "layers/counts", "X is empty: using layers/counts"),
}


def saved(data, suffix, folder):
    path = folder / f"x{suffix}"
    data.write_zarr(path) if suffix == ".zarr" else data.write_h5ad(path)
    return path


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr", None])
def test_counts_are_read_wherever_they_are(case, suffix, tmp_path):
    make, matrix, line = CASES[case]
    data, counts = make(), cells()
    source = data if suffix is None else saved(data, suffix, tmp_path)
    with open_anndata(source, "s") as opened:
        viewed = apply_view(opened, View(), "s")
        assert viewed.view.matrix == matrix
        assert line in " ".join(viewed.lines)
        assert list(opened.var_names) == list(counts.var_names)
        assert np.array_equal(opened.rows(3, 31).toarray(), counts.X[3:31].toarray())
    figures = run_qc(
        source, tmp_path / "made.h5ad", sample="s", organism="human", state=State("counts"),
        view=viewed.view, filters=Filters(1, 1, 100.0), chunk_size=7,
    )  # fmt: skip
    plain = run_qc(
        counts, tmp_path / "plain.h5ad", sample="s", organism="human", state=State("counts"),
        filters=Filters(1, 1, 100.0),
    )  # fmt: skip
    made, expected = ad.read_h5ad(tmp_path / "made.h5ad"), ad.read_h5ad(tmp_path / "plain.h5ad")
    assert np.array_equal(made.X.toarray(), expected.X.toarray())
    assert np.array_equal(made.layers["counts"].toarray(), expected.layers["counts"].toarray())
    assert figures["matrix"] == matrix
    assert plain["n_genes_in"] == figures["n_genes_in"]
    assert any(f"{matrix} was read, not X" in w for w in figures["warnings"]) == (matrix != "X")


@pytest.mark.parametrize("n_copies", [1, 20], ids=["few cells", "many cells"])
@pytest.mark.parametrize("others", [0, 5])
@pytest.mark.parametrize("case", CASES)
def test_evidence_found_while_choosing_is_that_of_the_cells_read(case, others, n_copies):
    """Few cells are looked at once: the choice looks at all of them, and at the genes alone."""
    data = CASES[case][0]()
    if n_copies > 1:
        raw = data.raw
        data = ad.concat([data] * n_copies, merge="same", index_unique="-")
        if raw is not None:
            data.raw = ad.concat([raw.to_adata()] * n_copies, merge="same", index_unique="-")
    if others and data.raw is None and data.X is not None:
        names = data.var_names.to_numpy(dtype=object)
        names[:others] = [f"ERCC-{n:05}" for n in range(others)]
        data.var_names = names
    with open_anndata(data) as chosen, open_anndata(data) as fresh:
        viewed = apply_view(chosen, View(), "s")
        apply_view(fresh, viewed.view, "s")
        assert not fresh.made
        found, cells_found = read_evidence(chosen)
        expected, cells_expected = read_evidence(fresh)
    assert np.array_equal(cells_found, cells_expected)
    for name, values in vars(expected).items():
        assert np.array_equal(getattr(found, name), values, equal_nan=True), name


def test_scaled_values_give_way_to_logged_ones_in_raw():
    data = scaled()
    with open_anndata(data) as opened:
        viewed = apply_view(opened, View(), "s")
        assert viewed.view.matrix == "raw.X"
        assert "using raw.X, which holds log-normalised values" in viewed.lines[0]
        assert np.array_equal(opened.rows(0, 9).toarray(), data.raw.X[:9].toarray())


def test_counts_in_x_stay_and_more_genes_in_raw_are_mentioned():
    data = cells()
    few = data[:, :9].copy()
    few.raw = data
    with open_anndata(few) as opened:
        viewed = apply_view(opened, View(), "s")
        assert (viewed.view.matrix, opened.n_vars) == ("X", 9)
        assert "X holds counts of 9 genes, raw.X has 34" in viewed.lines[0]


def test_raw_of_fewer_genes_is_not_taken():
    data, counts = logged(cells()), cells()
    del data.layers["counts"]
    data.raw = counts[:, :9]
    with open_anndata(data) as opened:
        assert apply_view(opened, View(), "s").view.matrix == "X"


def test_what_is_asked_for_is_read():
    data = with_raw_counts()
    data.layers["spliced"] = data.X * 0.5
    for name, wanted in [("X", data.X), ("raw.X", data.raw.X), ("layers/spliced", data.X * 0.5)]:
        with open_anndata(data) as opened:
            assert apply_view(opened, View(name), "s").view.matrix == name
            assert np.array_equal(opened.rows(0, 40).toarray(), wanted.toarray())
    with open_anndata(data) as opened:
        assert apply_view(opened, View(), "s", "lognormalized").view.matrix == "X"
    with (
        open_anndata(data) as opened,
        pytest.raises(UserError, match=r"s: --matrix x: .*has: X, layers/spliced, raw.X"),
    ):
        apply_view(opened, View("x"), "s")


def test_layers_of_other_genes_are_left_out_with_a_line(tmp_path):
    data = with_raw_counts(9)
    data.layers["spliced"] = data.X * 0.5
    figures = run_qc(
        data, tmp_path / "made.h5ad", sample="s", organism="human", state=State("counts"),
        view=View("raw.X"), filters=Filters(1, 1, 100.0),
    )  # fmt: skip
    assert set(ad.read_h5ad(tmp_path / "made.h5ad").layers) == {"counts"}
    assert any("layers spliced do not match the genes of raw.X" in w for w in figures["warnings"])


def test_raw_gets_the_symbols_of_var():
    """CELLxGENE's raw.var may lack feature_name."""
    data = cells()
    ids = [f"ENSG{n:011}" for n in range(34)]
    symbols, data.var_names = list(data.var_names), ids
    made = logged(data.copy())
    made.raw, _ = data, made.layers.pop("counts")
    made.var["feature_name"] = pd.Categorical(symbols)
    made.var["feature_is_filtered"] = [False] * 30 + [True] * 4
    with open_anndata(made) as opened:
        apply_view(opened, View(), "s")
        assert list(opened.var["feature_name"]) == symbols
    with open_anndata(made) as opened:
        lines = apply_view(opened, View("X"), "s").lines
        assert lines == ["4 genes are empty in X (feature_is_filtered), and in no sentence"]


def test_a_notebook_reads_the_same(caplog):
    with caplog.at_level(logging.WARNING):
        found = sentence_table(with_raw_counts(9), organism="human")
    assert "using raw.X" in caplog.text
    expected = sentence_table(cells(), organism="human")
    assert found["cell_sentence"].equals(expected["cell_sentence"])


def test_a_notebook_reads_cells_of_one_genome():
    human, mouse = cells()[:20], cells()[20:]
    human.var_names = [f"GRCh38_{name}" for name in human.var_names]
    mouse.var_names = [f"mm10___{name}" for name in mouse.var_names]
    both = ad.concat([human, mouse], join="outer", fill_value=0)
    with pytest.raises(UserError, match="several genomes"):
        sentence_table(both)
    found = sentence_table(both, organism="human", view=View(genome="mm10"))
    expected = sentence_table(cells()[20:], organism="human")
    assert (found["n_genes"][:20] == 0).all()
    assert list(found["cell_sentence"][20:]) == list(expected["cell_sentence"])
