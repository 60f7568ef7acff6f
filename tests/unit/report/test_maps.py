"""The maps of the report: what colours them, the genes named, and predicted cells among others."""

import json
import re

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

from c2sflow.report.colours import (
    COLOURS,
    MOST_COLUMNS,
    as_groups,
    group_styles,
    is_number,
    read_colourings,
    read_colours,
)
from c2sflow.report.map import read_map
from c2sflow.report.map_plot import map_plot
from c2sflow.report.markers import MOST_GENES, group_scores, read_markers, strongest
from c2sflow.report.predicted_map import read_predicted_map

N = 60
RNG = np.random.default_rng(0)


def some_cells(**columns):
    """Cells of three types, each with genes of its own."""
    types = np.array(["B", "NK", "T"])[np.arange(N) % 3]
    expression = RNG.poisson(0.5, (N, 40)).astype(np.float32)
    for place, name in enumerate("BNT"):
        expression[[t.startswith(name) for t in types], 10 * place : 10 * place + 3] += 4 - place
    obs = pd.DataFrame({"type": pd.Categorical(types)}, index=[f"c{n}" for n in range(N)])
    obs = obs.assign(sample="one", c2s_n_genes=np.arange(N), n_genes_by_counts=np.arange(N) + 5)
    cells = ad.AnnData(sparse.csr_matrix(np.log10(1 + expression)), obs=obs.assign(**columns))
    cells.var_names = [f"G{n}" for n in range(40)]
    cells.obsm["X_c2s"] = RNG.normal(size=(N, 5)).astype(np.float32)
    cells.uns["log1p"] = {"base": 10.0}
    cells.obsm["X_c2s"] += 9 * (np.arange(N) % 3)[:, None]
    return cells


def stored(cells, folder, name="c2s.h5ad"):
    cells.write_h5ad(folder / name)
    return h5py.File(folder / name)


def test_columns_worth_a_look_are_shown_the_named_ones_first(tmp_path):
    cells = some_cells(
        leiden=pd.Categorical([str(n % 4) for n in range(N)]),
        condition=["ctrl", "stim"] * (N // 2),
        treated=[0, 1] * (N // 2),  # the same groups as condition
        barcode=[f"AAC{n}" for n in range(N)],  # names of cells
        c2s_truncated=[True, False] * (N // 2),
        pct_counts_mt=np.linspace(0, 9, N),
        cluster=[n % 5 for n in range(N)],  # whole numbers, but groups
        organism="human",
    )
    with stored(cells, tmp_path) as file:
        found = read_colours(file["obs"], np.arange(N), ["type", "missing"])
        half = read_colours(file["obs"], np.arange(0, N, 2), ["type", "barcode"])
    # sample and organism have one value: never a map of one colour.
    assert list(found) == [
        "type", "condition", "leiden", "n_genes_by_counts", "pct_counts_mt", "cluster",
    ]  # fmt: skip
    assert [name for name in found if is_number(found[name])] == [
        "n_genes_by_counts", "pct_counts_mt",
    ]  # fmt: skip
    assert found["type"].tolist() == cells.obs["type"].tolist()
    assert "condition" not in half  # one value among these cells
    assert list(half)[:2] == ["type", "barcode"]  # the run names it
    assert half["n_genes_by_counts"].tolist() == cells.obs["n_genes_by_counts"].tolist()[::2]


def test_the_number_of_columns_is_bounded(tmp_path):
    cells = some_cells(**{f"score_{n}": RNG.random(N) for n in range(40)})
    with stored(cells, tmp_path) as file:
        found = read_colours(file["obs"], np.arange(N), ["type"])
    assert len(found.columns) == MOST_COLUMNS
    assert list(found)[:3] == ["type", "n_genes_by_counts", "score_0"]


def test_groups_are_in_natural_order_and_unknown_ones_are_missing():
    found = as_groups(pd.Series(["10", "9", None, "B"], dtype=object))
    assert list(found.cat.categories) == ["9", "10", "B"]
    assert found.isna().tolist() == [False, False, True, False]
    assert as_groups(pd.Series([1.0, 2.0, np.nan])).tolist() == ["1", "2", np.nan]
    assert is_number(as_groups(pd.Series([1.5, 2.0])))
    assert as_groups(pd.Series([1.5, np.inf])).isna().tolist() == [False, True]
    assert as_groups(pd.Series([True, False])).tolist() == ["True", "False"]


def test_no_two_groups_look_alike():
    styles = [style[1:] for style in group_styles(map(str, range(50)))]
    assert len(set(styles)) == 50
    assert len({color for color, _ in styles[:8]}) == len(COLOURS) == 8


def test_genes_are_ranked_as_scanpy_does():
    cells = some_cells()
    scores = group_scores(cells.X, cells.obs["type"])
    sc.tl.rank_genes_groups(cells, "type", method="t-test", n_genes=40)
    for group, row in zip(cells.obs["type"].cat.categories, scores, strict=True):
        table = sc.get.rank_genes_groups_df(cells, group).set_index("names")["scores"]
        np.testing.assert_allclose(row, table[cells.var_names], rtol=1e-4, atol=1e-4)


def test_each_group_has_a_gene_and_their_number_is_bounded(tmp_path):
    cells = some_cells()
    with stored(cells, tmp_path) as file:
        genes = read_markers(file, np.arange(N), cells.obs["type"].reset_index(drop=True))
        one = read_markers(file, np.arange(N), pd.Series(pd.Categorical(["B"] * N)))
    assert len(genes.columns) == MOST_GENES
    assert {int(name[1:]) // 10 for name in genes.columns[:3]} == {0, 1, 2}
    own = cells[:, list(genes.columns)].X.toarray()
    np.testing.assert_allclose(genes.to_numpy(), own, rtol=1e-6)
    assert one.empty
    assert len(one) == N
    scores = np.array([[3.0, 9.0, -1.0], [5.0, 4.0, -2.0]])
    assert strongest(scores, 3).tolist() == [1, 0]  # none of a negative score


def test_markers_are_of_labels_then_clusters_then_predicted_types(tmp_path):
    names = ["x", "y", "z"] * (N // 3)
    cells = some_cells(c2s_leiden=pd.Categorical(names), c2s_cell_type=["k", "k", "l"] * (N // 3))
    with stored(cells, tmp_path) as file:
        rows = np.arange(N)
        assert read_colourings(file, rows, ["type"], "type").marked == "type"
        assert read_colourings(file, rows, [], None).marked == "c2s_leiden"
        assert read_colourings(file, rows, [], "sample").marked == "c2s_leiden"
    cells.obs["type"] = "unknown"
    cells.obs = cells.obs.drop(columns="c2s_leiden")
    with stored(cells, tmp_path, "more.h5ad") as file:
        assert read_colourings(file, rows, ["type"], "type").marked == "c2s_cell_type"
    cells.obs = cells.obs.drop(columns="c2s_cell_type")
    with stored(cells, tmp_path, "none.h5ad") as file:
        found = read_colourings(file, rows, ["type"], "type")
    assert (found.marked, len(found.genes.columns)) == ("", 0)


def content(html):
    return json.loads(re.search(r"json\">(.*?)</script>", html)[1])


def test_the_page_holds_each_point_once_and_its_colours():
    points = RNG.normal(size=(4, 2))
    groups = pd.Categorical(["b", "<b>", "b", None], ["b", "<b>", "unused"])
    table = pd.DataFrame({"name": groups, "n": [1.23456, np.nan, 3, 4]})
    html = map_plot("here", points, {"Cells": table, "Genes": pd.DataFrame()}, {"n": "number"})
    assert "<b>" not in html
    found = content(html)
    assert np.allclose(np.transpose([found["x"], found["y"]]), points, atol=1e-3)
    assert list(found["parts"]) == ["Cells"]
    name, number = found["parts"]["Cells"]
    assert number == {"name": "number", "values": [1.235, None, 3, 4]}
    assert name["codes"] == [0, 1, 0, -1]
    assert [group["name"] for group in name["groups"]] == ["b", "&lt;b&gt;"]
    assert name["rest"]["name"] == "unknown"
    assert name["groups"][1]["at"] == [found["x"][1], found["y"][1]]


def test_a_group_in_two_parts_is_named_in_one_of_them():
    points = np.array([[0, 0], [0, 1], [9, 0], [9, 1]], dtype=float)
    found = content(
        map_plot("a", points, {"Cells": pd.DataFrame({"g": pd.Categorical(["g"] * 4)})})
    )
    assert found["parts"]["Cells"][0]["groups"][0]["at"] in points.tolist()


def test_the_page_is_bounded():
    """10,000 cells with as many columns and genes as there can be."""
    n = 10_000
    columns = {f"c{m}": pd.Categorical(RNG.integers(0, 50, n).astype(str)) for m in range(8)}
    columns |= {f"n{m}": RNG.random(n) for m in range(MOST_COLUMNS - 8)}
    genes = pd.DataFrame(RNG.random((n, MOST_GENES)), columns=[f"G{m}" for m in range(MOST_GENES)])
    html = map_plot("a", RNG.normal(size=(n, 2)), {"A": pd.DataFrame(columns), "B": genes})
    assert len(html) < 2.5e6


def test_stored_coordinates_are_used(tmp_path):
    cells = some_cells()
    cells.obsm["X_c2s_umap"] = RNG.normal(size=(N, 2)).astype(np.float32)
    with stored(cells, tmp_path) as file:
        found = read_map(file, ["type"])
        half = read_map(file, ["type"], held_out=np.arange(N) % 2 == 0)
    assert found.stored
    assert np.array_equal(found.coordinates, cells.obsm["X_c2s_umap"])
    assert np.array_equal(half.coordinates, cells.obsm["X_c2s_umap"][::2])
    del cells.obsm["X_c2s_umap"]
    with stored(cells, tmp_path, "without.h5ad") as file:
        assert not read_map(file, ["type"]).stored


def predictions(sources, condition="stim", n_no_ops=3):
    """Predicted cells, one for each source, and answers to no-ops."""
    n = len(sources) + n_no_ops
    obs = pd.DataFrame(
        {
            "c2s_condition": [condition] * len(sources) + ["no-op: control"] * n_no_ops,
            "c2s_perturbation": [condition] * len(sources) + ["control"] * n_no_ops,
            "c2s_source_cell": [*sources, *sources[:n_no_ops]], "c2s_n_predicted_genes": 30,
            "c2s_no_op": [False] * len(sources) + [True] * n_no_ops, "sample": "one", "type": "B",
        },
        index=[f"p{place}" for place in range(n)],
    )  # fmt: skip
    return ad.AnnData(obs=obs, obsm={"X_c2s": RNG.normal(size=(n, 5)).astype(np.float32) - 20})


def test_control_predicted_and_measured_cells_are_on_one_map(tmp_path):
    state = np.array(["ctrl", "stim", "other"])[np.arange(N) % 3]
    cells = some_cells(state=state)
    sources = [f"c{n}" for n in range(0, 30, 3)]
    predictions(sources).write_h5ad(tmp_path / "p.h5ad")
    held_out = np.arange(N) < 45
    with stored(cells, tmp_path) as file:
        found = read_predicted_map(file, tmp_path / "p.h5ad", held_out, "state", "type")
        without = read_predicted_map(file, tmp_path / "p.h5ad", held_out, None, None)
    kinds = found.colours["kind"].value_counts(dropna=False)
    assert kinds["predicted"] == len(sources)  # without the no-ops
    assert kinds["control"] == len(sources)
    assert kinds["measured"] == 15
    assert found.colours["kind"].isna().sum() == 45 - 10 - 15  # no cell of the training
    assert len(found.coordinates) == len(found.colours) == len(sources) + 45
    under = found.colours.groupby("kind", observed=True)["perturbation"].unique()
    assert under["predicted"].tolist() == under["measured"].tolist() == ["stim"]
    assert under["control"].isna().all()
    assert set(found.colours["type"][found.colours["kind"] == "measured"]) == {"NK"}
    assert found.lengths == (30, np.median(np.arange(N)))
    assert "measured" not in set(without.colours["kind"])
    # Predicted cells, far from all others in the embedding, are so on the map.
    own = (found.colours["kind"] == "predicted").to_numpy()
    apart = np.linalg.norm(found.coordinates[own].mean(0) - found.coordinates[~own].mean(0))
    assert apart > 2 * found.coordinates[own].std(axis=0).max()


@pytest.mark.parametrize("n_cells", [3, 0])
def test_too_few_cells_have_no_map(tmp_path, n_cells):
    predictions([f"c{n}" for n in range(n_cells)], n_no_ops=n_cells).write_h5ad(tmp_path / "p.h5ad")
    with stored(some_cells(), tmp_path) as file:
        none = np.zeros(N, dtype=bool)
        assert read_predicted_map(file, tmp_path / "p.h5ad", none, None, None) is None
