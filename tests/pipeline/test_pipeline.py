"""Real runs on small inputs of every difficult kind."""

import re
import shutil
from collections import Counter

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from comparing import check_same_cells
from driving import ROOT
from families import write_model, write_tokenizer
from safetensors.torch import load_file, save_file
from scipy import sparse

from c2sflow.data.demo import write_demo
from c2sflow.model.attention_files import read_cells

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> ad.AnnData:
    """150 of the demo's cells; the first 60 hold some of every kind that the tests ask for."""
    folder = tmp_path_factory.mktemp("cells")
    write_demo(folder)
    lane = ad.read_h5ad(folder / "lane_1.h5ad")
    kind = lane.obs["bulk_labels"] == "CD4+/CD25 T Reg"
    first = np.flatnonzero(kind)[:10]
    order = np.r_[first, np.setdiff1d(np.arange(lane.n_obs), first)]
    return lane[order[:150]].copy()


def test_result_does_not_depend_on_shards_nor_on_the_engine(nextflow, oldest, cells):
    counts = cells.copy()
    linear = np.expm1(counts.X.toarray())
    counts.X = np.round(linear / np.where(linear > 0, linear, np.inf).min(axis=1, keepdims=True))
    counts.write_h5ad(nextflow.folder / "cells.h5ad")
    results = {}
    software = set()
    for size, engine in ((100, nextflow), (700, oldest)):  # two shards, one shorter; and one
        arguments = ("--input", "cells.h5ad", "--shard_size", size, "--outdir", size)
        arguments += ("--attention_maps", 20, "--annotate", "false", "--evaluate", "false")
        run = engine.run("-profile", "test", *arguments)
        assert "raw counts" in run.output
        assert run.submitted["EMBED"] == run.submitted["ATTENTION"] == -(-150 // size)
        software.add((nextflow.folder / f"{size}/pipeline_info/software_versions.yml").read_text())
        outdir = nextflow.folder / str(size)
        results[size] = [ad.read_h5ad(outdir / f"{name}.h5ad") for name in ("c2s", "c2s_perturbed")]
    assert len(software) == 1
    check_attention(nextflow.folder / "100/attention", nextflow.folder / "700/attention")
    raw = results[700][0].layers["counts"].toarray()
    assert np.array_equal(raw, counts[:, results[700][0].var_names].X)
    assert np.array_equal(results[700][0].obs["total_counts"], counts.X.sum(axis=1))
    (embedded, predicted), (whole, whole_predicted) = results.values()
    check_same_cells(embedded, whole, rtol=1e-4)
    for name in ("c2s_source_cell", "c2s_sentence"):
        assert list(predicted.obs[name]) == list(whole_predicted.obs[name])


def check_attention(one, other):
    """The same maps and table in two runs: 20 cells, equal shares of 10 labels."""
    maps = [
        {cell.cell_id: cell for path in folder.glob("*.attention.h5") for cell in read_cells(path)}
        for folder in (one, other)
    ]
    labels = Counter(cell.label for cell in maps[0].values())
    # Two labels have one cell only; the largest two get what is left over.
    assert sorted(labels.values()) == [1, 1, 2, 2, 2, 2, 2, 2, 3, 3]
    assert labels["Dendritic"] == labels["CD14+ Monocyte"] == 3
    assert maps[0].keys() == maps[1].keys()
    for cell, twin in ((maps[0][name], maps[1][name]) for name in maps[0]):
        for number in range(cell.n_heads):
            np.testing.assert_allclose(cell.head(number), twin.head(number), atol=1e-6)
    table = (one / "attention_pairs.tsv").read_text()
    assert table == (other / "attention_pairs.tsv").read_text()
    pairs = pd.read_csv(one / "attention_pairs.tsv", sep="\t")
    assert set(pairs["label"]) == set(labels)


def test_names_may_hold_anything(nextflow, cells):
    folder = nextflow.folder / 'in put\'s "$HOME" é'
    folder.mkdir()
    names = ['it\'s "A" $HOME; é 日本', "`id` & \\ *" + 30 * " a long name"]
    conditions = ['Conversion to "B" $(id) it\'s, 1 µ$M', "a, b `c` é, 2"]
    rows = []
    for name, start in zip(names, (0, 30), strict=True):
        path = f"ce'lls $x {start} [1]{start * 'é long'}{23 * '.'}.h5ad"  # to 255 bytes
        cells[start : start + 30].copy().write_h5ad(folder / path)
        rows.append({"sample": name, "path": path, "batch $x": f"k=v '{start}'"})
    pd.DataFrame(rows).to_csv(folder / "my sheet's.csv", index=False)
    table = pd.DataFrame(
        {
            "perturbation": [text.rsplit(", ", 1)[0] for text in conditions],
            "dose": [text.rsplit(", ", 1)[1] for text in conditions],
            "batch $x": ["from 'the' table", "$HOME"],
            "cell_query": ['bulk_labels != "it\'s `id`"', None],
            "n_cells": [2, None],
        }
    )
    table.to_csv(folder / "pert's $x.csv", index=False)
    sets = ["it's $(id) <b>\tx\t" + "\t".join(cells.var_names[:40]), "A\tx\tB\tC\tD\tE\tF"]
    (folder / "gene's `set`.gmt").write_text("\n".join(sets), encoding="utf-8")
    (folder / "what's said $x.txt").write_text("\n".join(cells.var_names[::2]))
    prompt = 'In {batch $x} of {organism}:\n    it\'s "$1" {perturbation} {cell_sentence}.'
    run = nextflow.run(
        *("-profile", "test", "--outdir", "out 'put' $1", "--label_column", "batch $x"),
        *("--input", folder / "my sheet's.csv", "--perturbations", folder / "pert's $x.csv"),
        *("--control", '`batch $x` == "k=v \'0\'" and bulk_labels != "it\'s"'),
        *("--perturbation_prompt", prompt, "--gene_sets", folder / "gene's `set`.gmt"),
        *("--context", "bulk_labels", "--gene_vocabulary", folder / "what's said $x.txt"),
        *("--output_format", "zarr"),
    )
    assert run.submitted["QC"] == 2
    assert "c2s.zarr" in (nextflow.folder / "out 'put' $1/report.html").read_text()
    assert not (nextflow.folder / "out 'put' $1/c2s.h5ad").exists()
    assert "gene sets: 1 of 2 have" in run.output
    embedded = ad.read_zarr(nextflow.folder / "out 'put' $1/c2s.zarr")
    assert list(embedded.obs["sample"].unique()) == names
    assert list(embedded.obs["batch $x"].unique()) == ["k=v '0'", "k=v '30'"]
    answers = ad.read_h5ad(nextflow.folder / "out 'put' $1/c2s_perturbed.h5ad")
    # A conversion has the cell's own label for a no-op, others the control; and the prompt takes a
    # column of the table: each of its values has a no-op of its own.
    named = {"no-op: conversion to own batch $x, from 'the' table", "no-op: control, $HOME"}
    assert set(answers.obs.loc[answers.obs["c2s_no_op"], "c2s_condition"]) == named
    predicted = answers[~answers.obs["c2s_no_op"]].copy()
    assert dict(predicted.obs["c2s_condition"].value_counts()) == dict(
        zip(conditions, (2, 4), strict=True)
    )
    assert set(predicted.obs["c2s_perturbation"]) == set(table["perturbation"])
    assert set(predicted.obs["c2s_batch $x"]) == set(table["batch $x"])
    assert set(predicted.obs["batch $x"]) == {"k=v '0'"}  # of the control cells
    assert set(predicted.obs["sample"]) == {names[0]}
    said = {gene for text in predicted.obs["c2s_sentence"] for gene in text.split()}
    assert said
    assert said <= set(cells.var_names[::2].str.upper())
    tables = {
        path.stem: pd.read_csv(path, sep="\t")
        for path in (nextflow.folder / "out 'put' $1/perturbation").iterdir()
    }
    assert set(tables) == {"summary", "perturbation_effects", "screen"}
    assert all(set(found["condition"]) == set(conditions) for found in tables.values())
    assert set(tables["screen"]["gene_set"]) == {"it's $(id) <b>"}
    assert predicted.uns["c2s"]["prompts"]["perturbation"] == prompt


BAD_PARAMETERS = {
    "--max_new_tokns 5": "--max_new_tokns: no such parameter; did you mean --max_new_tokens?",
    "--max_genes 0": "--max_genes 0: must be 1 or more",
    "--min_genes abc": "--min_genes abc: must be a whole number",
    "--tie_break foo": "--tie_break foo: must be one of random, gene_order",
    "--model no/such/dir": "--model no/such/dir: no such directory",
    "--embedding_prompt nothing": "--embedding_prompt: prompt 'nothing' is neither a file nor",
    "--label_column nope": "--label_column nope: obs has no such column",
}
BAD_SAMPLES = {
    "missing": "no such file",
    "truncated": "cannot be read as h5ad",
    "scaled": "X holds negative values",
    "identifiers": "no column of var .* holds symbols",
    "ambiguous": "the values of X are ambiguous",
    "notes": "no data",
}


def write_bad_samples(folder, cells):
    good = cells[:60]
    good.copy().write_h5ad(folder / "good.h5ad")
    (folder / "truncated.h5ad").write_bytes((folder / "good.h5ad").read_bytes()[:5000])
    scaled = good.copy()
    scaled.X = scaled.X.toarray() - 1
    scaled.write_h5ad(folder / "scaled.h5ad")
    identifiers = ad.AnnData(good.X, obs=good.obs)
    identifiers.var_names = [f"ENSG{number:011d}" for number in range(good.n_vars)]
    identifiers.write_h5ad(folder / "identifiers.h5ad")
    ambiguous = good.copy()
    ambiguous.X = np.random.default_rng(0).uniform(0, 5, good.shape).astype(np.float32)
    ambiguous.write_h5ad(folder / "ambiguous.h5ad")
    (folder / "notes.txt").write_text("no cells")
    rows = [f"{name},{name}.{'txt' if name == 'notes' else 'h5ad'}" for name in BAD_SAMPLES]
    sheet = ["sample,path", "good,good.h5ad", *rows, "good,good.h5ad"]
    (folder / "sheet.csv").write_text("\n".join(sheet))


def refused(nextflow, *arguments, by=("VALIDATE",), beside=(), left=()) -> str:
    """The log of a run that must end before anything ran but these checks, and what runs beside."""
    run = nextflow.run(*arguments, script=ROOT, status=None)  # with Nextflow's record of it
    assert run.status != 0
    assert {name: n for name, n in run.submitted.items() if name not in beside} == dict.fromkeys(
        by, 1
    )
    for noise in ("Traceback", "Command executed", "Unexpected error", "Exception"):
        assert noise not in run.output, run.output
    found = {path.name for path in (nextflow.folder / "results").iterdir()}
    assert found - set(left) == {"pipeline_info"}
    return run.output


def test_all_faults_are_told_at_once_and_nothing_runs(nextflow, cells):
    write_bad_samples(nextflow.folder, cells)
    options = [word for option in BAD_PARAMETERS for word in option.split()]
    said = refused(nextflow, "--input", "sheet.csv", *options, by=("SHEET", "VALIDATE"))
    for message in BAD_PARAMETERS.values():
        assert message in said
    for name, message in BAD_SAMPLES.items():
        assert re.search(rf"^ *\d+\. {name} \({name}\.\w+\): .*({message})", said, re.MULTILINE), (
            said
        )
    assert "sample good is in line 2 already" in said


def test_a_model_that_is_not_whole(nextflow, cells):
    """Its files pass VALIDATE; what is in them is refused before a step uses it."""
    cells[:60].copy().write_h5ad(nextflow.folder / "cells.h5ad")
    model = shutil.copytree(ROOT / "assets/demo_model", nextflow.folder / "it's $HOME")
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][3] = np.nan
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    arguments = ("--input", "cells.h5ad", "--model", model, "--outdir", "results", "-resume")
    for checks in (("VALIDATE", "MODEL"), ("MODEL",)):  # what was wrong is not remembered
        said = refused(
            nextflow, *arguments, by=checks, beside=("QC", "SENTENCES"), left=("qc", "shards")
        )
        assert f"2 faults of the model\n  1. --model {model}: the weights lack 1 tensor" in said
        assert f"2. --model {model}: model.safetensors holds NaN in model.norm.weight; fet" in said
        said = said.split("2 faults of the model")[1].splitlines()
        beside = re.compile(r"Killing running tasks|^[A-Z]+: ")  # what runs beside, and how far
        said = [line for line in said if line.strip() and not beside.search(line)]
        assert len(said) == 3, said
        assert said[-1].startswith("Not finished. Resume it with -resume")


def test_no_input_and_a_fault_is_not_remembered(nextflow):
    said = refused(nextflow)
    assert "--input is missing" in said
    assert "Not finished" not in said  # nothing was run: nothing can be resumed
    assert "--input is missing" in refused(nextflow, "-resume")


@pytest.fixture(scope="module")
def pythia(tmp_path_factory, cells):
    """A GPT-NeoX with random weights, as five of the published models are, and no padding token."""
    directory = tmp_path_factory.mktemp("pythia")
    write_tokenizer(directory, list(cells.var_names.str.upper()))
    write_model("gpt_neox", directory)
    return directory


def test_bulk_sums_context_and_generated_cells_by_a_gpt_neox(nextflow, cells, pythia):
    """Bulk samples beside the sums of cells, a text in each prompt, and cells that are made up."""
    counts = cells.copy()
    linear = np.expm1(counts.X.toarray())
    smallest = np.where(linear > 0, linear, np.inf).min(axis=1, keepdims=True)
    counts.X = sparse.csr_matrix(np.round(linear / smallest))
    counts.write_h5ad(nextflow.folder / "it's cells.h5ad")
    sums = counts.to_df().groupby(counts.obs["bulk_labels"], observed=True).sum()
    table = sums.astype(int)
    table.index = [f"bulk of {name}" for name in table.index]
    table.to_csv(nextflow.folder / "bulk.tsv", sep="\t")
    sheet = ["sample,path,tissue", "c,it's cells.h5ad,", "b,bulk.tsv,blood"]
    (nextflow.folder / "sheet.csv").write_text("\n".join(sheet))
    context = 'it\'s "$HOME" {of} adults'
    prompt = "{cell_sentence} of {organism}"
    run = nextflow.run(
        *("-profile", "test", "--input", "sheet.csv", "--outdir", "out"),
        *("--pseudobulk", "bulk_labels", "--dataset_context", context),
        *("--embedding_prompt", prompt, "--attention_maps", 4, "--control", 'sample == "c"'),
        *("--label_column", "sample", "--evaluate", "false"),
        *("--training_cells", 'sample == "b"'),  # the profile's names a column of the demo
        *("--generate", 4, "--temperature", 1, "--cell_types", "CD19+ B,it's `$x`,Dendritic"),
        *("--shard_size", 10, "--generated_genes", 20, "--model", pythia),
    )
    assert run.submitted["GENERATE"] == 2  # 12 cells
    assert run.submitted["EMBED"] == 2
    made = ad.read_h5ad(nextflow.folder / "out/c2s.h5ad")
    own = made[made.obs["sample"] == "c"]
    assert set(own.obs["input_kind"]) == {"pseudobulk"}
    assert own.obs["n_cells"].sum() == 150
    bulk = made[made.obs["sample"] == "b"]
    assert set(bulk.obs["input_kind"]) == {"bulk"}
    # The same cells, summed by us and by hand: the same expression, sentences and embedding.
    genes = own.var_names[own.X.getnnz(axis=0) > 0]
    np.testing.assert_array_equal(
        own[:, genes].layers["counts"].toarray(), sums.loc[own.obs["bulk_labels"], genes]
    )
    assert list(bulk.obs_names) == list(table.index)
    twin = bulk[[f"bulk of {name}" for name in own.obs["bulk_labels"]]]
    shared = twin.X[:, made.var_names.isin(genes)].toarray()
    np.testing.assert_allclose(own[:, genes].X.toarray(), shared, rtol=0.05, atol=0.05)
    prompts = made.uns["c2s"]["prompts"]
    text = context.replace("{", "{{").replace("}", "}}")
    assert prompts["embedding"] == f"{text}\n{prompt}"
    assert all(own.startswith(f"{text}\n") for own in prompts.values())
    generated = ad.read_h5ad(nextflow.folder / "out/c2s_generated.h5ad")
    kinds = ["CD19+ B", "it's `$x`", "Dendritic"]
    assert set(made.obs["c2s_cell_type"]) <= set(kinds)
    predicted = ad.read_h5ad(nextflow.folder / "out/c2s_perturbed.h5ad")
    assert (predicted.X.getnnz(axis=1) > 0).all()
    assert len(list((nextflow.folder / "out/attention").glob("*.attention.h5")))
    assert made.uns["c2s"]["model"]["model_type"] == "gpt_neox"
    assert list(generated.obs_names) == [f"{kind}|{n}" for kind in kinds for n in range(4)]
    assert (generated.X.getnnz(axis=1) > 0).all()
    assert np.isfinite(generated.obsm["X_c2s"]).all()
    for sentence in generated.obs["c2s_sentence"]:
        assert len(set(sentence.split())) == len(sentence.split())
        assert set(sentence.split()) <= set(made.var_names.str.upper())
    assert set(pd.read_csv(nextflow.folder / "out/generation/summary.tsv", sep="\t")) > {"n_cells"}
    page = (nextflow.folder / "out/report.html").read_text()
    assert "Bulk samples" in page
    assert "Generated cells" in page
