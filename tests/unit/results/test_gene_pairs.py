"""The table of gene pairs against plain pandas over all maps; the files that it is made from."""

import re
import time
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from c2sflow.common.errors import UserError
from c2sflow.model.attention_files import read_cells, write_attention
from c2sflow.results.gene_pairs import COLUMNS, least_cells, pair_table
from c2sflow.steps.pairs import main

N_HEADS = 3
GENES = [f"G{n}" for n in range(25)]


def make_cell(number, label, genes=None, random=None):
    """A cell of these genes, or of some in any order, its causal map and one of other orders."""
    random = random or np.random.default_rng(number)
    if genes is None:
        genes = random.permutation(GENES)[: random.integers(2, 20)]
    cell = {
        "cell_id": f"cell {number}",
        "sample": f"s{number % 2}",
        "label": label,
        "cell_sentence": " ".join(genes),
    }
    maps = np.tril(random.random((2, N_HEADS, len(genes), len(genes)), dtype=np.float32))
    return cell, *(maps / maps.sum(axis=3, keepdims=True))


@pytest.fixture(scope="module")
def made():
    labels = ["T cell, 'α'"] * 35 + ["NA"] * 6 + ["rare"]
    cells = [make_cell(number, label) for number, label in enumerate(labels)]
    return [cells[number] for number in np.random.default_rng(1).permutation(len(cells))]


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    """The cells in three shards."""
    folder = tmp_path_factory.mktemp("maps")
    for shard, cells in enumerate((made[:20], made[20:41], made[41:])):
        write_attention(folder / f"s.{shard}.attention.h5", cells, layer=2, n_heads=N_HEADS)
    return folder


def table_of(folder):
    return pair_table(
        cell for path in sorted(folder.glob("*.h5")) for cell in read_cells(path)
    ).reset_index(drop=True)


def reference(made):
    """Every pair of every cell as a row; then pandas."""
    heads = [f"head{n}" for n in range(N_HEADS)]
    by_position = pd.DataFrame(
        [
            (cell["label"], q, k, *shuffled[:, q, k].astype(float))
            for cell, _, shuffled in made
            for q in range(shuffled.shape[1])
            for k in range(shuffled.shape[1])
        ],
        columns=["label", "q", "k", *heads],
    ).groupby(["label", "q", "k"])[heads].mean().to_dict("index")  # fmt: skip
    rows = []
    for cell, attention, _ in made:
        genes = cell["cell_sentence"].split()
        for q, query in enumerate(genes):
            for k, key in enumerate(genes):
                if q != k:
                    base = [by_position[cell["label"], q, k][name] for name in heads]
                    own = attention[:, q, k].astype(float)
                    rows.append((cell["label"], query, key, *own, *base))
    bases = [f"base{n}" for n in range(N_HEADS)]
    names = ["label", "query_gene", "key_gene"]
    table = pd.DataFrame(rows, columns=[*names, *heads, *bases])
    table["excess"] = table[heads].mean(axis=1) - table[bases].mean(axis=1)
    groups = table.groupby(names)
    table = groups[[*heads, *bases, "excess"]].mean()
    table["excess_se"] = groups["excess"].sem()
    table["attention"] = table[heads].mean(axis=1)
    table["shuffled_attention"] = table[bases].mean(axis=1)
    apart = table[heads].to_numpy() - table[bases].to_numpy()
    head, row = apart.argmax(axis=1), np.arange(len(table))
    table["strongest_head"] = head
    table["strongest_head_attention"] = table[heads].to_numpy()[row, head]
    table["strongest_head_shuffled"] = table[bases].to_numpy()[row, head]
    table["n_cells"] = groups.size()
    table = table.drop(columns=[*heads, *bases]).reset_index()
    sizes = pd.Series([cell["label"] for cell, *_ in made]).value_counts()
    table["n_cells_label"] = table["label"].map(sizes)
    least = {"T cell, 'α'": 4, "NA": 2, "rare": 1}
    table = table[(table["n_cells"] >= table["label"].map(least)) & (table["attention"] > 0)]
    table = table.sort_values(
        ["label", "excess", "query_gene", "key_gene"], ascending=[True, False, True, True]
    )
    return table.groupby("label").head(100).reset_index(drop=True)[COLUMNS]


def test_table_equals_plain_pandas(folder, made):
    table = table_of(folder)
    expected = reference(made)
    assert expected.groupby("label").size().to_dict().keys() == {"T cell, 'α'", "NA", "rare"}
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=1e-9)


def test_table_does_not_depend_on_shards_or_order(folder, made, tmp_path):
    for number, cell in enumerate(reversed(made)):
        path = tmp_path / f"t.{number:02d}.attention.h5"
        write_attention(path, [cell], layer=2, n_heads=N_HEADS)
    pd.testing.assert_frame_equal(table_of(tmp_path), table_of(folder), check_exact=True)


@pytest.mark.parametrize(
    ("n_cells", "least"), [(1, 1), (2, 2), (3, 2), (20, 2), (21, 3), (30, 3), (101, 11)]
)
def test_cells_that_a_pair_needs(n_cells, least):
    assert least_cells(n_cells) == least


def test_ties_go_by_the_genes_names(tmp_path):
    cells = []
    for number in range(2):
        cell, attention, _ = make_cell(number, "x", [f"B{n:02d}" for n in range(30)])
        even = np.tril(np.ones_like(attention))
        cells.append((cell, even / 32, even / 64))  # sums are exact
    write_attention(tmp_path / "s.attention.h5", cells, layer=1, n_heads=N_HEADS)
    table = table_of(tmp_path)
    pairs = list(zip(table["query_gene"], table["key_gene"], strict=True))
    assert pairs == [(f"B{q:02d}", f"B{k:02d}") for q in range(30) for k in range(q)][:100]
    assert (table["strongest_head"] == 0).all()


def test_script(folder, made, tmp_path):
    arguments = [f"--maps-dir={folder}", f"--outdir={tmp_path}"]
    CliRunner().invoke(main, arguments, catch_exceptions=False)
    text = {"label": str, "query_gene": str, "key_gene": str}
    table = pd.read_csv(
        tmp_path / "attention_pairs.tsv", sep="\t", dtype=text, keep_default_na=False
    )
    table["excess_se"] = pd.to_numeric(table["excess_se"])
    pd.testing.assert_frame_equal(table, reference(made), check_dtype=False, rtol=1e-5)


def test_no_maps_give_an_empty_table(tmp_path):
    write_attention(tmp_path / "s.attention.h5", [], layer=1, n_heads=N_HEADS)
    table = table_of(tmp_path)
    assert table.empty
    assert list(table) == COLUMNS


def test_memory_does_not_grow_with_cells_or_heads(tmp_path):
    genes = [f"G{n}" for n in range(150)]
    cells = (make_cell(number, "x", genes) for number in range(60))
    all_maps = 2 * 60 * N_HEADS * len(genes) ** 2 * 4
    tracemalloc.start()
    try:
        write_attention(tmp_path / "s.attention.h5", cells, layer=1, n_heads=N_HEADS)
        writing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        table_of(tmp_path)
        reading = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert writing < all_maps / 8
    assert reading < all_maps / 8


def test_file_holds_the_maps(folder, made):
    with h5py.File(folder / "s.1.attention.h5") as file:
        assert dict(file.attrs).keys() == {"layer", "n_heads", "aggregation", "c2sflow_version"}
        assert (file.attrs["layer"], file.attrs["n_heads"]) == (2, N_HEADS)
        assert list(file["cells"]) == [f"{number:06d}" for number in range(21)]
        for group, (cell, *maps) in zip(file["cells"].values(), made[20:41], strict=True):
            assert {name: group.attrs[name] for name in ("cell_id", "sample", "label")} == {
                name: cell[name] for name in ("cell_id", "sample", "label")
            }
            assert " ".join(group["genes"].asstr()) == cell["cell_sentence"]
            for name, expected in zip(("attention", "shuffled"), maps, strict=True):
                assert group[name].dtype == np.float32
                assert np.array_equal(group[name], expected)


def test_bytes_are_the_same_in_every_run(made, tmp_path):
    paths = [tmp_path / name for name in ("one.h5", "two.h5")]
    for path in paths:
        write_attention(path, made[:3], layer=1, n_heads=N_HEADS)
        time.sleep(1.1)  # HDF5 counts time in seconds
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_failure_leaves_nothing(made, tmp_path):
    def fail():
        yield made[0]
        raise UserError("no memory")

    with pytest.raises(UserError, match="no memory"):
        write_attention(tmp_path / "s.attention.h5", fail(), layer=1, n_heads=N_HEADS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no HDF5"])
def test_broken_file(tmp_path, content):
    path = tmp_path / "s.attention.h5"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape("s.attention.h5 is missing or broken")):
        list(read_cells(path))
