"""The demo, run once: what it gives, its numbers against computations written anew here from the
cells and the model files, and that -resume runs nothing again.

All tests of that run are in this file: one worker gets it as a whole (tests/conftest.py).
"""

import json
import re
from hashlib import blake2b

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from comparing import check_same_cells
from driving import DEMO, ROOT, Nextflow
from scipy.stats import linregress
from sklearn.metrics import silhouette_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from c2sflow.common.threads import compiled_once

pytestmark = pytest.mark.pipeline

MODEL = ROOT / "assets" / "demo_model"


@pytest.fixture(scope="module")
def outdir(demo):
    return demo.folder / "results"


@pytest.fixture(scope="module")
def embedded(outdir):
    return ad.read_h5ad(outdir / "c2s.h5ad")


@pytest.fixture(scope="module")
def cells():
    """The cells as scanpy ships them, genes in at least 3 cells of either sample."""
    raw = sc.datasets.pbmc68k_reduced().raw.to_adata()
    dense = raw.X.toarray()
    kept = [(dense[rows] > 0).sum(axis=0) >= 3 for rows in (slice(0, 350), slice(350, 700))]
    return raw, dense, kept


def reference_sentence(values, genes, cell, seed=42):
    """Genes above 0 by value, ties by splitmix64 of a hash of seed and cell and one of the gene."""

    def number(text):
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    said = [
        (-value, mix(number(gene) ^ number(f"{seed}:{cell}")), gene)
        for value, gene in zip(values, genes, strict=True)
        if value > 0
    ]
    return " ".join(gene for _, _, gene in sorted(said))


@pytest.fixture(scope="module")
def sentences(cells):
    raw, dense, kept = cells
    genes = raw.var_names.str.upper().to_numpy()
    return [
        reference_sentence(dense[n, kept[n // 350]], genes[kept[n // 350]], raw.obs_names[n])
        for n in range(raw.n_obs)
    ]


def test_cells_are_all_there_in_order(embedded, cells):
    raw, dense, kept = cells
    assert list(embedded.obs_names) == list(raw.obs_names)
    assert list(embedded.obs["bulk_labels"]) == list(raw.obs["bulk_labels"])
    assert set(embedded.var_names) == set(raw.var_names[kept[0] | kept[1]])
    for rows, mask in zip((slice(0, 350), slice(350, 700)), kept, strict=True):
        found = embedded[rows, raw.var_names[mask]].X.toarray()
        np.testing.assert_allclose(found, dense[rows][:, mask] / np.log(10), rtol=1e-6)
        # Also of the genes that min_cells filters here, and the other sample keeps.
        found = embedded[rows].X.toarray()
        columns = raw.var_names.get_indexer(embedded.var_names)
        np.testing.assert_allclose(found, dense[rows][:, columns] / np.log(10), rtol=1e-6)


def test_sentences(outdir, sentences):
    shards = sorted((outdir / "shards").glob("lane_?.?????.parquet"))
    written = pd.concat([pd.read_parquet(path) for path in shards])
    assert written["cell_sentence"].tolist() == sentences


def test_embeddings_equal_plain_transformers(embedded, sentences):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    cosines = []
    for sentence, vector in zip(sentences[::7], embedded.obsm["X_c2s"][::7], strict=True):
        prompt = (
            f"The following is a list of {len(sentence.split())} gene names ordered by descending "
            "expression level in a human cell. Your task is to give the cell type which this cell "
            f"belongs to based on its gene expression.\nCell sentence: {sentence}.\n"
            "The cell type corresponding to these genes is:"
        )
        with torch.no_grad():
            output = model(**tokenizer(prompt, return_tensors="pt"), output_hidden_states=True)
        plain = output.hidden_states[-1][0].mean(dim=0).numpy()
        cosines.append(plain @ vector / np.linalg.norm(plain) / np.linalg.norm(vector))
    assert min(cosines) >= 0.9999


def test_cell_types_of_held_out_cells(embedded):
    heldout = embedded.obs_names.isin((MODEL / "heldout_cells.txt").read_text().split())
    assert heldout.sum() == 140
    vectors, labels = embedded.obsm["X_c2s"], embedded.obs["bulk_labels"].astype(str)
    model = KNeighborsClassifier(5).fit(vectors[~heldout], labels[~heldout])
    assert model.score(vectors[heldout], labels[heldout]) >= 0.80


def test_rank_fit(embedded, cells, sentences):
    raw, dense, _ = cells
    column = {name.upper(): n for n, name in enumerate(raw.var_names)}
    ranks, values = [], []
    for row, sentence in zip(dense, sentences, strict=True):
        genes = [column[word] for word in sentence.split()]
        ranks.extend(np.log10(np.arange(1, len(genes) + 1)))
        values.extend(row[genes] / np.log(10))
    expected = linregress(ranks, values)
    fit = embedded.uns["c2s"]["rank_fit"]
    assert fit["slope"] == pytest.approx(expected.slope, rel=1e-4)
    assert fit["intercept"] == pytest.approx(expected.intercept, rel=1e-4)
    assert fit["r_squared"] == pytest.approx(expected.rvalue**2, rel=1e-4)


def test_predictions_are_genes_and_their_expression_the_fit(outdir, embedded):
    predicted = ad.read_h5ad(outdir / "c2s_perturbed.h5ad")
    fit = predicted.uns["c2s"]["rank_fit"]
    upper = {name.upper(): n for n, name in enumerate(predicted.var_names)}
    controls = embedded.obs_names[embedded.obs["bulk_labels"] == "CD4+/CD25 T Reg"]
    assert set(predicted.obs["c2s_source_cell"]) <= set(controls)
    no_op = predicted.obs["c2s_no_op"]
    assert (
        predicted.obs.loc[~no_op, "c2s_perturbation"].value_counts()[lambda n: n > 0] == 14
    ).all()
    # Every control cell that is perturbed is converted to its own type, too.
    own = predicted.obs[no_op].set_index("c2s_source_cell")["c2s_perturbation"]
    assert set(own) == {"conversion to CD4+/CD25 T Reg"}
    assert sorted(own.index) == sorted(set(predicted.obs.loc[~no_op, "c2s_source_cell"]))
    # What is known of the control cell comes along.
    source = embedded.obs.loc[predicted.obs["c2s_source_cell"]]
    for name in ("bulk_labels", "split", "sample", "c2s_organism", "n_genes_by_counts"):
        assert predicted.obs[name].tolist() == source[name].tolist()
    for sentence, row in zip(predicted.obs["c2s_sentence"], predicted.X.toarray(), strict=True):
        genes = [upper[word] for word in sentence.split()]
        assert len(set(genes)) == len(genes) > 0
        value = fit["intercept"] + fit["slope"] * np.log10(np.arange(1, len(genes) + 1))
        np.testing.assert_allclose(row[genes], np.maximum(value, 0), rtol=1e-5)
        assert np.count_nonzero(row) == (value > 0).sum()
    assert not predicted.obs[["c2s_invalid_genes", "c2s_duplicate_genes"]].to_numpy().any()


def test_docs_join_control_predicted_and_measured_cells(outdir, monkeypatch):
    """The code of docs/output.md, as it stands there but for the name of the user's column."""
    page = (ROOT / "docs" / "output.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = next(block for block in blocks if "c2s_perturbed.h5ad" in block)
    assert 'cells.obs["perturbation"]' in code
    found = {}
    with compiled_once():
        import umap  # noqa: F401 (scanpy's; it would be compiled again here)
    monkeypatch.chdir(outdir.parent)
    exec(code.replace('cells.obs["perturbation"]', 'cells.obs["bulk_labels"]'), found)
    both, cells, predicted = (found[name] for name in ("both", "cells", "predicted"))
    assert both.n_obs == cells.n_obs + predicted.n_obs
    assert list(both.var_names) == list(cells.var_names)
    assert both.obs_names.is_unique
    assert {"shown_as", "bulk_labels", "sample"} <= set(both.obs)
    assert np.isfinite(both.obsm["X_umap"]).all()
    kinds = set(both.obs["shown_as"])
    assert kinds == set(cells.obs["bulk_labels"]) | {
        "predicted conversion to CD14+ Monocyte", "predicted conversion to CD19+ B",
        "predicted no-op: conversion to own bulk_labels",
    }  # fmt: skip
    assert list(found["controls"].obs_names) == list(predicted.obs["c2s_source_cell"])
    assert (predicted.obs["bulk_labels"].to_numpy() == found["controls"].obs["bulk_labels"]).all()


def test_effects_are_those_of_the_sentences(outdir, cells):
    """Mean shifts of every gene, from the predicted sentences and the answers to the no-op."""
    raw, _, kept = cells
    predicted = ad.read_h5ad(outdir / "c2s_perturbed.h5ad").obs
    no_ops = predicted[predicted["c2s_no_op"]].set_index("c2s_source_cell")["c2s_sentence"]
    measured = {f"lane_{n + 1}": set(raw.var_names[kept[n]].str.upper()) for n in (0, 1)}
    table = pd.read_csv(outdir / "perturbation/perturbation_effects.tsv", sep="\t")
    for condition, rows in table.groupby("condition"):
        shifts = {gene: [] for gene in rows["gene"]}
        for _, cell in predicted[predicted["c2s_condition"] == condition].iterrows():
            said, control = cell["c2s_sentence"].split(), no_ops[cell["c2s_source_cell"]].split()
            depth = min(len(said), len(control))
            for gene, found in shifts.items():
                if gene.upper() in measured[cell["sample"]]:
                    ranks = [
                        words.index(gene.upper()) + 1
                        if gene.upper() in words[:depth]
                        else depth + 1
                        for words in (said, control)
                    ]
                    found.append(ranks[0] - ranks[1])
        expected = rows["gene"].map(lambda gene, shifts=shifts: np.mean(shifts[gene]))
        np.testing.assert_allclose(rows["mean_rank_shift"], expected, rtol=1e-4, atol=1e-6)
        assert rows["n_cells"].tolist() == [len(shifts[gene]) for gene in rows["gene"]]
        assert rows["mean_rank_shift"].iloc[0] * rows["mean_log2_fold_change"].iloc[0] < 0


def test_screen_finds_the_markers_of_what_cells_are_converted_to(outdir):
    table = pd.read_csv(outdir / "perturbation/screen.tsv", sep="\t")
    assert set(table["gene_set"]) == {"MONOCYTE", "B_CELL", "T_CELL", "CYTOTOXICITY"}
    whole = table[table["context"].isna()].set_index(["gene_set", "condition"])
    for gene_set, condition in (
        ("MONOCYTE", "conversion to CD14+ Monocyte"), ("B_CELL", "conversion to CD19+ B"),
    ):  # fmt: skip
        assert whole.loc[(gene_set, condition), "rank"] == 1
        assert whole.loc[(gene_set, condition), "ci_low"] > 0
    assert (whole.loc["T_CELL", "ci_high"] < 0).all()
    between = table[table["versus"].notna()]
    assert set(between["context"] + between["versus"]) == {"lane_1lane_2"}
    # One sample a side: how much two samples differ by themselves is not known.
    assert between[["rank", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)
    assert (between["unit"] == "sample").all()


def test_evaluation_is_that_of_the_results(outdir, embedded, sentences):
    """Figures computed anew from the published files; and the tables are in the h5ad too."""
    tables = {
        path.stem: pd.read_csv(path, sep="\t", keep_default_na=False)
        for path in (outdir / "evaluation").glob("*.tsv")
    }
    assert set(tables) == {
        "accuracy", "calibration", "calibration_curves", "confusion", "embedding", "reconstruction",
        "trust",
    }  # fmt: skip
    stored = embedded.uns["c2s"]["evaluation"]
    assert set(stored) == set(tables)
    figures = tables["accuracy"].set_index(["subject", "space", "predictor", "metric"])["value"]
    judged = embedded[embedded.obs["split"] == "test"]  # cells that the model was not trained on
    sizes = judged.obs["bulk_labels"].value_counts()
    typed = judged[judged.obs["bulk_labels"].isin(sizes.index[sizes >= 5])]
    spread = silhouette_score(typed.obsm["X_c2s"], typed.obs["bulk_labels"])
    own = tables["embedding"].query("space == 'X_c2s' and metric == 'silhouette'").iloc[0]
    assert own["n"] == typed.n_obs
    assert own["value"] == pytest.approx((spread + 1) / 2, abs=1e-5)
    said = (judged.obs["c2s_cell_type"].astype(str) == judged.obs["bulk_labels"].astype(str)).mean()
    assert figures["", "", "annotation", "accuracy"] == pytest.approx(said, rel=1e-4)
    sizes = judged.obs["bulk_labels"].value_counts()
    judged = judged[judged.obs["bulk_labels"].isin(sizes.index[sizes >= 5])]
    read = tables["accuracy"].query("subject == '' and predictor != 'annotation'")
    assert set(read["n"]) == {judged.n_obs}
    vectors, labels = judged.obsm["X_c2s"], judged.obs["bulk_labels"].astype(str)
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=20, random_state=0)  # 133 cells are few
    scores = cross_val_score(KNeighborsClassifier(5), vectors, labels, cv=folds)
    assert figures["", "X_c2s", "knn", "accuracy"] == pytest.approx(scores.mean(), abs=0.03)
    fit = embedded.uns["c2s"]["rank_fit"]
    found = tables["reconstruction"].set_index(["subject", "predictor", "metric"])["value"]
    assert found["", "model", "r_squared"] == pytest.approx(fit["r_squared"], abs=0.002)
    predicted = ad.read_h5ad(outdir / "c2s_perturbed.h5ad").obs
    predicted = predicted[~predicted["c2s_no_op"]]
    own = dict(zip(embedded.obs_names, sentences, strict=True))
    novelty = tables["trust"].set_index(["subject", "predictor", "metric"])["value"]
    for condition, answers in predicted.groupby("c2s_condition", observed=True):
        values = []
        for source, text in zip(answers["c2s_source_cell"], answers["c2s_sentence"], strict=True):
            said = text.split()
            values.append(np.mean([g not in own[source].split()[: len(said)] for g in said]))
        found = novelty[condition, "model", "novelty"]
        assert found == pytest.approx(np.mean(values), rel=1e-4)


def test_plan_is_said(demo):
    assert (
        "plan: 68 of 700 cells are control cells; predictions are made for these only"
        in demo.first.output
    )
    assert "plan: 28 predictions: 2 perturbations of 14 cells; " in demo.first.output
    assert re.search(
        r"plan: \d+ more answers \(\+\d+%\), to 'no-op: conversion to own bulk_labels'",
        demo.first.output,
    )
    assert re.search(r"plan: about [\d,]+ tokens to read \(1.0 per gene\)", demo.first.output)


def test_demo_gives_every_result(demo):
    outdir = demo.folder / "results"
    assert "not normalised again" in demo.first.output
    assert "Traceback" not in demo.first.output
    embedded = ad.read_h5ad(outdir / "c2s.h5ad")
    assert embedded.n_obs == sum(
        json.loads(path.read_text())["n_cells_kept"] for path in (outdir / "qc").glob("*.json")
    )
    assert list(embedded.obs["sample"].unique()) == ["lane_1", "lane_2"]
    vectors = embedded.obsm["X_c2s"]
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert (vectors.std(axis=0) > 0).all()

    predicted = ad.read_h5ad(outdir / "c2s_perturbed.h5ad")
    assert set(predicted.obs["c2s_source_cell"]) <= set(embedded.obs_names)
    assert predicted.obs.loc[~predicted.obs["c2s_no_op"], "c2s_perturbation"].nunique() == 2
    assert predicted.obsm["X_c2s"].shape == (predicted.n_obs, vectors.shape[1])
    summary = pd.read_csv(outdir / "perturbation/summary.tsv", sep="\t")
    assert summary["n_predictions"].sum() == (~predicted.obs["c2s_no_op"]).sum() == 28

    assert "</html>" in (outdir / "report.html").read_text(encoding="utf-8")
    software = (outdir / "pipeline_info/software_versions.yml").read_text()
    assert re.search(r"^EMBED:\n(  .*\n)*?  torch: \d", software, re.MULTILINE)


def test_resume_runs_nothing_again(demo):
    before = (demo.folder / "results/c2s.h5ad").read_bytes()
    assert not demo.run(*DEMO, "-resume").submitted
    assert (demo.folder / "results/c2s.h5ad").read_bytes() == before


# (24.10 gives the same as the project's engine in test_pipeline.)
@pytest.mark.parametrize("engine", ["26.04"])
def test_other_engines_give_the_same(engine, demo, tmp_path, nextflow_home):
    Nextflow(tmp_path, nextflow_home, engine).run(*DEMO)
    for name in ("c2s.h5ad", "c2s_perturbed.h5ad"):
        found, expected = (
            ad.read_h5ad(folder / "results" / name) for folder in (tmp_path, demo.folder)
        )
        check_same_cells(found, expected)
    for name in ("perturbation_effects", "screen"):
        found, expected = (
            pd.read_csv(folder / f"results/perturbation/{name}.tsv", sep="\t")
            for folder in (tmp_path, demo.folder)
        )
        pd.testing.assert_frame_equal(found, expected)
    found, expected = (
        (folder / "results/pipeline_info/software_versions.yml").read_text()
        for folder in (tmp_path, demo.folder)
    )
    assert found == expected
