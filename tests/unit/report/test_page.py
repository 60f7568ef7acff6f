"""The report: every section, whatever the run holds; nothing of the user's is ever markup."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from making import cells

from c2sflow.common.errors import UserError
from c2sflow.common.files import write_json
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.result_tables import write_table
from c2sflow.data.splits.splits import Rule
from c2sflow.data.state.normalization import State
from c2sflow.report.map import read_map, read_rows
from c2sflow.report.page import write_report
from c2sflow.report.plots import common_bins, histogram_line, safe
from c2sflow.results.merge import merge_samples
from c2sflow.results.predictions import summarise
from c2sflow.results.shards import Sample
from c2sflow.sentences.shards import write_shards
from c2sflow.steps.report import main

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "assets" / "multiqc_config.yml"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = "<script>alert('x')</script>"
PROVENANCE = {
    "version": "0.1.0",
    "pipeline": {"name": "c2sflow", "version": "0.1.0", "revision": "abc"},
    "model": {
        "id": "some/model", "revision": "main", "commit": "f00d", "digest": "0123abcd",
        "model_type": "gemma2", "hidden_size": 6, "num_layers": 2, "context": 512,
        "vocab_size": 100, "n_parameters": 1234567,
    },
    "parameters": {"min_genes": 3, "max_genes": "", "embedding_prompt": EVIL},
    "prompts": {"embedding": "Of {organism}: {cell_sentence}\nIs:", "perturbation": EVIL},
    "software": {"anndata": "1.2.3"},
    "rank_fit": {"slope": -0.6, "intercept": 2.1, "r_squared": 0.91, "n": 1000},
    "seed": 42,
}  # fmt: skip


def embed_figures(shard, sample, n_cells, warnings):
    return {
        "shard": shard, "sample": sample, "device": "cpu", "dtype": "float32",
        "attention": "eager", "n_cells": n_cells, "n_tokens": 90 * n_cells,
        "n_padding": 10 * n_cells, "seconds": 2.0, "cells_per_second": n_cells / 2,
        "tokens_per_second": 45.0 * n_cells, "peak_memory_bytes": 2**30, "warnings": warnings,
    }  # fmt: skip


def make_types(folder, shard, sample, rows):
    """ANNOTATE's files: the label itself, but every fifth cell is called otherwise, one not."""
    said = rows["label"].astype(object).tolist()
    said[::5] = [f"NK {EVIL}"] * len(said[::5])
    chances = np.linspace(0.3, 1, len(said), dtype=np.float32)
    if len(said) > 6:
        said[6], chances[6] = None, np.nan
    table = pd.DataFrame({"cell_id": rows.index, "c2s_cell_type": said})
    path = folder / f"{shard}.annotation.parquet"
    status = ["length" if label is None else "ok" for label in said]
    table = table.assign(c2s_cell_type_probability=chances, c2s_cell_type_status=status)
    table.to_parquet(path)
    figures = embed_figures(shard, sample, len(rows), [])
    label = {"labels_from": "option", "without": {"length": status.count("length")}}
    label |= {"n_labels": 3, "coverage": 0.42}
    figures |= {"labels": {"cell_type": label}, "n_prompt_tokens": figures.pop("n_tokens")}
    del figures["n_padding"]
    write_json(folder / "stats" / f"{shard}.annotate.json", figures)
    return path


def make_sample(
    folder, name, number, n_cells, vectors, warnings, annotated=False, split=None, seen=None
):
    """QC's, SENTENCES' and EMBED's files of a sample in two shards."""
    data = cells(n_cells, seed=number)
    data.obs_names = [f"{number}_{cell}" for cell in data.obs_names]
    data.obs["label"] = pd.Categorical([[EVIL, "T cell"][i % 2] for i in range(n_cells)])
    if seen is not None:
        n_seen = int(seen * n_cells)
        data.obs["set"] = pd.Categorical(["seen"] * n_seen + ["new"] * (n_cells - n_seen))
    id_ = f"s{number}"
    h5ad = folder / "qc" / f"{id_}.h5ad"
    # Of 60 cells these drop some for each reason; of few cells none.
    filters = Filters(min_genes=15, min_cells=1, max_pct_mt=12, skip=n_cells < 60)
    figures = run_qc(
        data, h5ad, sample=name, organism="human", state=State("counts", None), filters=filters,
        split=split,
    )  # fmt: skip
    write_json(folder / "qc" / f"{id_}.qc.json", {"id": id_, **figures})
    with open_anndata(h5ad) as kept:
        obs, step = kept.obs, -(-len(kept.obs) // 2)
        bounds = [(at, min(at + step, len(obs))) for at in range(0, len(obs), step)]
        summary = write_shards(kept, bounds, id_, folder / "sentences")
    write_json(
        folder / "sentences" / f"{id_}.sentences.json", {"id": id_, "sample": name, **summary}
    )
    paths, types, at = [], [], 0
    for shard in summary["shards"]:
        rows = obs.iloc[at : (at := at + shard["n_cells"])]
        frame = pd.DataFrame({"c2s_n_genes": 1}, index=rows.index)
        paths.append(folder / f"{shard['name']}.embedding.h5ad")
        embedding = vectors(rows).astype(np.float32)
        ad.AnnData(obs=frame, obsm={"X_c2s": embedding}).write_h5ad(paths[-1])
        figures = embed_figures(shard["name"], name, len(rows), warnings)
        write_json(folder / "stats" / f"{shard['name']}.embed.json", figures)
        if annotated:
            types.append(make_types(folder, shard["name"], name, rows))
    return Sample(id_, name, h5ad, paths, types)


def make_predictions(folder, samples):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "c2s_condition": pd.Categorical([f"IFN {EVIL}", "drug, 2 µM"] * 6),
            "c2s_perturbation": pd.Categorical([f"IFN {EVIL}", "drug"] * 6),
            "c2s_dose": pd.Categorical([None, "2 µM"] * 6),
            "sample": pd.Categorical(np.repeat(samples, 12 // len(samples))),
            "c2s_source_cell": [f"{n % len(samples)}_cell" for n in range(12)],
            "c2s_n_predicted_genes": rng.integers(5, 9, 12),
            "c2s_invalid_genes": rng.integers(0, 3, 12),
            "c2s_duplicate_genes": rng.integers(0, 3, 12),
            "c2s_finish_reason": pd.Categorical(["eos", "length", "eos"] * 4),
            "c2s_log_likelihood_valid": -rng.random(12),
        },
        index=[f"p{n}" for n in range(12)],
    )
    vectors = {"X_c2s": rng.normal(size=(12, 6)).astype(np.float32)}
    ad.AnnData(obs=obs, obsm=vectors).write_h5ad(folder / "c2s_perturbed.h5ad")
    summarise(obs).to_csv(folder / "summary.tsv", sep="\t", index=False)
    figures = {
        "shard": "s0.00000", "sample": samples[0], "device": "cpu", "n_predictions": 12,
        "n_new_tokens": 500, "seconds": 2.0, "warnings": [], "peak_memory_bytes": 2**30,
        "max_answer_genes": 200, "max_answer_genes_from": "default", "n_cut_by_genes": 4,
        "max_new_tokens": 900, "n_cut_by_tokens": 1,
        "dtype": "float32", "attention": "eager",
    }  # fmt: skip
    write_json(folder / "stats" / "s0.00000.perturb.json", figures)


def make_pairs(folder):
    """Seven pairs of a label, one of another."""
    genes = [f"G{n}" for n in range(7)]
    table = pd.DataFrame(
        {
            "label": [f"B {EVIL}"] * 7 + ["01"], "query_gene": [*genes, "NAN"],
            "key_gene": "CD74", "attention": np.linspace(0.5, 0.1, 8), "strongest_head": 2,
            "strongest_head_attention": 0.75, "n_cells": 3, "n_cells_label": 4,
            "shuffled_attention": 0.05, "excess": np.linspace(0.45, 0.05, 8), "excess_se": 0.01,
            "strongest_head_shuffled": 0.1,
        }
    )  # fmt: skip
    table.to_csv(folder / "attention_pairs.tsv", sep="\t", index=False)
    return folder / "attention_pairs.tsv"


def make_effects(folder, contexts=True):
    """Two genes up and one down in one condition; a set that shifts."""
    (folder / "effects").mkdir()
    evil = {"condition": f"IFN {EVIL}", "perturbation": f"IFN {EVIL}", "dose": ""}
    drug = {"condition": "NA", "perturbation": "NA", "dose": "2 µM"}
    figures = [
        (evil, "ISG15", -50, 3.5, 0.01), (evil, "ACTB", 40, -1.25, 0.02), (evil, "B2M", 0, 0, 1),
        (evil, EVIL, -9, 0.5, 0.04), (drug, "ISG15", 1, -0.1, 0.7),
    ]  # fmt: skip
    names = ["gene", "mean_rank_shift", "mean_log2_fold_change", "p_adjusted"]
    rows = [
        {
            **of,
            **dict(zip(names, values, strict=True)),
            "n_cells": 6,
            "p_value": values[-1] / 2,
            "compared_with": f"no-op: {EVIL}",
        }
        for of, *values in figures
    ]
    pd.DataFrame(rows).to_csv(folder / "effects/perturbation_effects.tsv", sep="\t", index=False)
    rows = []
    for of, shift in ((evil, 1.5), (drug, -0.25)):
        sides = [("", "", 6, None), ("B", "", 4, None), ("B", f"T {EVIL}", 4, 2)]
        for context, versus, n, m in sides if contexts else sides[:1]:
            rows.append(
                {
                    **of, "gene_set": f"S {EVIL}", "context": context, "versus": versus,
                    "rank": 1 + (shift < 0), "shift": shift, "ci_low": shift - 0.5,
                    "ci_high": np.nan, "n_cells": n, "n_versus": m, "p_adjusted": 0.5,
                    "unit": EVIL, "n_units": n, "n_versus_units": m, "shrunken_shift": shift / 2,
                }
            )  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "effects/screen.tsv", sep="\t", index=False)
    notes = {"effects": ["3 predictions could not be compared"], "screen": [f"left out: {EVIL}"]}
    write_json(folder / "effects/effects.json", notes)
    return folder / "effects"


def make_changes(folder):
    """Measured and predicted changes of three genes, one of them in the wrong direction."""
    genes = ["ISG15", f"IFI6 {EVIL}", "ACTB"]
    table = pd.DataFrame({"condition": f"IFN {EVIL}", "gene": genes})
    table["compared_with"], table["unit"] = f"no-op: {EVIL}", "cells"
    for side, values in (("measured", [4.5, 2.25, 0.125]), ("predicted", [3.0, -0.5, 0.25])):
        table[f"{side}_log2_fold_change"] = values
        table[f"{side}_ci_low"], table[f"{side}_ci_high"] = (np.array(values) + d for d in (-1, 1))
    write_table(table, folder / "evaluation" / "genes.tsv")


def make_evaluation(folder):
    """Figures of one condition and two labels; one figure is not defined."""
    (folder / "evaluation").mkdir()
    common = {"ci_low": 0.25, "ci_high": 0.75, "n": 60, "n_reference": np.nan, "space": ""}
    rows = {
        "accuracy": [
            common | {"metric": metric, "subject": subject, "predictor": "linear_probe",
                      "space": "X_c2s", "value": 0.5}
            for metric, subject in (("accuracy", ""), ("f1_macro", ""), ("recall", EVIL))
        ],
        "perturbation": [
            common | {"metric": metric, "subject": f"IFN {EVIL}", "predictor": predictor,
                      "value": value, "space": space, "n": 16, "n_reference": 40}
            for metric, predictor, value, space in (
                ("scfid", "model", 4.0, "X_c2s"), ("scfid", "no_change", 5.0, "X_c2s"),
                ("pearson_change_top_20", "model", 0.625, "expression"),
                ("pearson_log2_fold_change", "model", 0.8125, "genes"),
                ("pearson_log2_fold_change", "another_control", 0.03125, "genes"),
                ("pearson_change_top_20", "no_change", np.nan, "expression"),
            )
        ],
        "trust": [
            common | {"metric": "novelty", "subject": EVIL, "predictor": name, "value": 0.125}
            for name in ("model", "another_control")
        ],
        "reconstruction": [
            common | {"metric": "r_squared", "subject": "", "predictor": name, "value": 0.875}
            for name in ("model", "gene_mean")
        ] + [
            common | {"metric": metric, "subject": "", "predictor": predictor, "value": value,
                      "depth": 100}
            for metric, predictor, value in (
                ("r_squared_named", "model", 0.875), ("r_squared_all_genes", "model", 0.5625),
                ("r_squared_all_genes", "gene_mean", 0.375),
                ("median_total", "measured", 2007.2), ("median_total", "model", 1392.5),
            )
        ],
    }  # fmt: skip
    rows["embedding"] = [
        common | {"metric": metric, "subject": "", "predictor": "embedding", "space": space,
                  "value": value}
        for space, value in ((EVIL, 0.75), ("random", 0.125))
        for metric in ("ari", "ilisi")
    ]  # fmt: skip
    for row in rows["perturbation"]:
        if row["metric"] == "pearson_log2_fold_change":
            row |= {"null": 0.01, "null_low": -0.125, "null_high": 0.2}
    make_changes(folder)
    for name, figures in rows.items():
        write_table(pd.DataFrame(figures), folder / "evaluation" / f"{name}.tsv")
    pairs = {"label": [EVIL, "T", "T"], "found": [EVIL, "T", EVIL], "n_cells": [9, 3, 1]}
    confusion = pd.DataFrame({"predictor": "linear_probe", "space": "X_c2s", **pairs})
    write_table(confusion, folder / "evaluation" / "confusion.tsv")
    notes = {
        "embedding": [f"{EVIL}: one batch"],
        "accuracy": [f"left out: {EVIL}"],
        "perturbation": [f"{EVIL}: not measured"],
    }
    write_json(folder / "evaluation" / "notes.json", notes)
    return folder / "evaluation"


def make_training(folder):
    """A record and a curve of two tasks; the second validation was the best."""
    (folder / "training").mkdir()
    record = {
        "method": "lora", "tasks": {"cell_type": 0.75, "generation": 0.25},
        "base": {"id": f"some/{EVIL}", "revision": "main", "commit": "cafe", "digest": "1"},
        "options": {"lora_rank": 16, "max_steps": None}, "steps": 30, "best_step": 20,
        "stopped": "patience", "tokens": 30_000, "seconds": 10.0, "tokens_per_second": 3000.0,
        "n_parameters": 1_234_567, "n_trainable": 4_321, "validation_loss": 1.25,
        "first_validation_loss": 3.5, "device": "cpu", "dtype": "float32", "attention": "eager",
        "warnings": [f"12 of {EVIL}"],
    }  # fmt: skip
    write_json(folder / "training" / "finetune.json", record)
    rows = [(0, 0, None, 3.5), (10, 10_000, 2.0, 1.5), (20, 20_000, 1.5, 1.25)]
    rows.append((30, 30_000, 1.0, 1.75))
    losses = pd.DataFrame(rows, columns=["step", "tokens", "train_loss", "validation_loss"])
    losses["validation_cell_type"] = losses["validation_loss"] / 2
    losses["validation_generation"] = losses["validation_loss"] * 2
    losses.to_csv(folder / "training" / "loss.tsv", sep="\t", index=False)
    return folder / "training"


def blobs(obs):
    """Embeddings of two groups far apart, one for each label."""
    rng = np.random.default_rng(len(obs))
    return rng.normal(size=(len(obs), 6)) + 20 * obs["label"].cat.codes.to_numpy()[:, None]


def make_run(
    folder, names, n_cells=60, vectors=blobs, warnings=(), predicted=False, annotated=False,
    split=None, seen=None,
):  # fmt: skip
    """Options of `write_report` for a run of these samples."""
    for name in ("qc", "sentences", "stats"):
        (folder / name).mkdir()
    samples = [
        make_sample(folder, name, number, n_cells, vectors, list(warnings), annotated, split, seen)
        for number, name in enumerate(names)
    ]
    merge_samples(samples, folder / "c2s.h5ad", PROVENANCE)
    options = {f"{name}_dir": folder / name for name in ("qc", "sentences", "stats")}
    if predicted:
        make_predictions(folder, names)
        options["perturbed"] = folder / "c2s_perturbed.h5ad"
        options["perturbation_summary"] = folder / "summary.tsv"
    return options | {"h5ad": folder / "c2s.h5ad", "multiqc_config": CONFIG, "outdir": folder}


def body(folder):
    """The report without the scripts and styles that MultiQC puts in."""
    page = (folder / "report.html").read_text()
    return re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)


def headings(folder):
    page = body(folder).split('<div class="footer')[0]
    found = re.findall(r"<h[23] [^>]*>\s*(.*?)\s*</h[23]>", page, re.DOTALL)
    return [text for text in found if text]


def dump(path):
    """The page's elements once a browser has run its scripts, and what the console said."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,9000",
        "--virtual-time-budget=10000", "--dump-dom", f"file://{path}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=80, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run with all there can be: two samples, drops, warnings, labels, predictions."""
    folder = tmp_path_factory.mktemp("full")
    warnings = ["7 cells have more genes than fit", f"said {EVIL}"]
    options = make_run(
        folder, [f"donor {EVIL}", "B"], warnings=warnings, predicted=True, annotated=True
    )
    options["attention_pairs"] = make_pairs(folder)
    options["effects_dir"] = make_effects(folder)
    options["evaluation_dir"] = make_evaluation(folder)
    write_report(**options, label_column="label")
    return folder, options


def test_sections_in_order(full):
    assert headings(full[0]) == [
        "At a glance", "Warnings", "What was run", "Result files", "Samples",
        "Quality control", "Cells kept and dropped", "Genes per cell", "Counts per cell",
        "Mitochondrial share", "Values read",
        "Cell sentences", "Sentence lengths", "Rank-to-expression fit",
        "Embedding", "UMAP", "Throughput",
        "Cell types", "Predicted cell types", "Confidence of the predictions", "Confusion matrix",
        "Attention", "Strongest gene pairs",
        "Perturbations", "Predicted against measured changes", "Predicted cells",
        "UMAP with predicted cells",
        "Validity of predicted genes",
        "Effects of the perturbations", "Strongest gene effects", "Genes up and down",
        "Screen", "Shift of the gene sets", "Differences between contexts",
        "Evaluation", "Cell types from embeddings", "Confusion of the linear probe",
        "Embeddings: types and batches",
        "Against measured cells", "Changes of the top 20 genes", "Notes on the comparison",
        "Novelty of the answers",
        "Expression recovered from ranks",
    ]  # fmt: skip


def test_figures_of_the_run_are_told(full):
    text = body(full[0])
    assert "<h1>\n    c2sflow" in text
    for fact in ("some/model", "f00d", "0123abcd", "1,234,567", "1.2.3", "{cell_sentence}"):
        assert fact in text
    assert re.search(r"IFN .* · donor", text)
    assert text.count("100 % whole numbers, row sums") == 2
    assert "500 tokens were generated, 250/s (cpu)" in text
    assert "4 of 12 answers reached 200 genes, and were cut there: raise <code>--max_" in text
    assert (
        "1 of 12 answers were cut at 900 tokens, before they had 200 genes: raise <code>-" in text
    )
    # The 5 strongest pairs of each label, as shares.
    assert "01 · NAN → CD74" in text
    assert "G4 → CD74" in text
    assert "G5 → CD74" not in text
    assert 'data-sorting-val="50.0"' in text
    # Genes up and down, the strongest first, of small p alone; a condition may be called NA.
    assert re.search(r'data-sorting-val="ISG15 &lt;script', text)
    rows = re.findall(r'<tr data-sample-group="NA" data-table-id="effect_counts".*?</tr>', text)
    assert len(rows) == 1
    assert "ISG15" not in rows[0]
    assert "3 predictions could not be compared" in text
    ranked = re.findall(
        r'data-table-id="ranked".*?class="rank ">(\d)<.*?class="shift ">([^<]*)<', text
    )
    assert ranked == [("1", "1.500"), ("2", "-0.250")]
    assert "left out: &lt;script&gt;" in text
    # The evaluation, with intervals.
    assert "Batches: iLISI" in text
    assert ": one batch" in text
    assert "X_c2s: linear probe</th><td>0.500 (0.250 to 0.750)</td>" in text
    assert "scFID in X_c2s ↓" in text
    assert "not defined" in text
    # Shards add up: two of a sample, each with 7 cells.
    assert "</strong>: 14 cells have more genes than fit</li>" in text
    shares = re.search(r"nearest neighbours, (\d+)% share its <code>label</code> \((\d+)%", text)
    assert int(shares[1]) == 100
    assert int(shares[2]) == pytest.approx(50, abs=3)


def tiles(folder):
    """State, figure and title of each tile of the first look."""
    found = r'class="c2s-tile c2s-(\w+)".*?c2s-figure">(.*?)</span>.*?c2s-title">(.*?)</span>'
    return [tuple(tile) for tile in re.findall(found, body(folder))]


def test_the_first_look_says_whether_the_run_is_good(full):
    found = {title: (state, figure) for state, figure, title in tiles(full[0])}
    with h5py.File(full[0] / "c2s.h5ad") as file:
        obs = ad.io.read_elem(file["obs"])
    assert found["cells kept"][1] == f"{len(obs):,}"
    # Whether the model was trained on these cells is not known: no praise.
    assert found["same label nearby"] == ("plain", "100%")
    said = obs[obs["c2s_cell_type"].notna()]
    same = (said["c2s_cell_type"].astype(str) == said["label"].astype(str)).mean()
    assert found["cell types as labelled"] == ("plain", f"{same:.0%}")
    assert found["complete answers"] == ("plain", "67%")
    # At the depth of the answers: that of the fit is of whole sentences, and R² 0.91. Its interval
    # holds that of the genes' means.
    assert found["rank to expression"] == ("plain", "R² 0.56")
    words = " ".join(body(full[0]).split())
    assert "cut to 100 genes as in the answers; 0.88 over these genes alone" in words
    assert "a measured cell sum to 2,007, of an answer to 1,392" in words
    assert words.count("whole sentences in their true order") == 2
    assert found["warnings"] == ("look", "2")
    # Each leads to a chapter that is there.
    page = body(full[0])
    anchors = re.findall(r'c2s-tile c2s-\w+" href="#([\w-]+)"', page)
    assert len(anchors) == len(tiles(full[0]))
    assert all(f'id="{anchor}"' in page for anchor in anchors)


def test_cell_types_and_their_agreement_are_told(full):
    text = body(full[0])
    with h5py.File(full[0] / "c2s.h5ad") as file:
        obs = ad.io.read_elem(file["obs"])
    said = obs[obs["c2s_cell_type"].notna()].astype({"c2s_cell_type": str, "label": str})
    same = said["c2s_cell_type"] == said["label"]
    balanced = same.groupby(said["label"]).mean().mean()  # NK is no label
    assert f"{same.mean():.0%} of {len(said):,} cells agree; {balanced:.0%} on average" in text
    assert "Together they get 42% of the model's probability" in text
    assert "Chosen from <code>--cell_types</code>" in text
    assert re.search(r"\d cells have no type \(.*c2s_cell_type_status.*\): \d got an answer", text)
    rows = re.findall(r'<tr data-sample-group="T cell" data-table-id="types".*?</tr>', text)
    chances = said.loc[said["c2s_cell_type"] == "T cell", "c2s_cell_type_probability"]
    assert f">{chances.median():.3f}<" in rows[0]
    assert f">{len(chances)}<" in rows[0]


def test_training_is_told_and_only_held_out_cells_judge_it(tmp_path):
    options = make_run(tmp_path, ["A", "B"], annotated=True, split=Rule(held_out=0.4))
    write_report(
        **options, training_dir=make_training(tmp_path), label_column="label",
        training_cells='c2s_split != "test"',
    )  # fmt: skip
    found = headings(tmp_path)
    at = found.index("Fine-tuning")
    assert found[at : at + 4] == ["Fine-tuning", "Recipe", "Loss", "Splits"]
    text = body(tmp_path)
    for fact in (
        "cell_type 75%, generation 25%", "4,321 of 1,234,567", "those of step 20", "cafe",
        "30, ended because the validation loss stopped improving",
        "1.2500 (3.5000 before training)",
        "</strong>: 12 of &lt;script&gt;",
    ):  # fmt: skip
        assert fact in text
    assert EVIL not in (tmp_path / "report.html").read_text()
    with h5py.File(tmp_path / "c2s.h5ad") as file:
        obs = ad.io.read_elem(file["obs"])
    judged = obs[obs["c2s_cell_type"].notna() & (obs["c2s_split"] == "test")]
    same = (judged["c2s_cell_type"].astype(str) == judged["label"].astype(str)).mean()
    assert f"{same:.0%} of {len(judged):,} cells agree" in text
    states = {title: (state, figure) for state, figure, title in tiles(tmp_path)}
    assert states["validation loss"] == ("good", "1.250")
    assert states["cell types as labelled"] == ("good", f"{same:.0%}")
    assert "this run&#39;s training" in text or "this run's training" in text


def test_marking_cells_as_training_changes_tiles_and_pictures(tmp_path):
    """Cells that were trained on, all right and close to their type, do not praise the model."""

    def vectors(obs):
        rng = np.random.default_rng(0)
        parted = obs["label"].cat.codes.to_numpy() * 20 * (obs["set"] == "seen").to_numpy()
        return rng.normal(size=(len(obs), 6)) + parted[:, None]

    options = make_run(tmp_path, ["A", "B"], 80, vectors, annotated=True, seen=0.5)
    with h5py.File(tmp_path / "c2s.h5ad", "r+") as file:
        obs = ad.io.read_elem(file["obs"])
        new = obs["set"] != "seen"
        # What the model says of new cells is the other label; and some have none.
        names = obs["label"].cat.categories
        wrong = np.where(obs["label"] == names[0], names[1], names[0])
        said = obs["c2s_cell_type"].astype(object).where(~new, wrong)
        obs["c2s_cell_type"] = pd.Categorical(said)
        labels = obs["label"].astype(object)
        labels.iloc[np.flatnonzero(new)[:4]] = ["unknown", "nan", "", " Unknown"]
        obs["label"] = pd.Categorical(labels)
        del file["obs"]
        ad.io.write_elem(file, "obs", obs)
    found = {}
    for name, query in (("unknown", None), ("known", "set == 'seen'")):
        write_report(**options, label_column="label", training_cells=query)
        found[name] = {title: (state, figure) for state, figure, title in tiles(tmp_path)}
        page = body(tmp_path)
        n_shown = new.sum() if query else len(obs)
        assert f"({n_shown:,} of {n_shown:,} shown)" in page
        assert ("Which cells the model was trained on is unknown" in page) == (query is None)
    assert found["known"]["cell types as labelled"] == ("poor", "0%")
    assert found["unknown"]["cell types as labelled"][0] != "good"
    assert found["unknown"]["cell types as labelled"] > ("", "30%")
    near = {name: int(found[name]["same label nearby"][1][:-1]) for name in found}
    assert near["known"] == pytest.approx(50, abs=12)  # as by chance
    assert near["unknown"] > near["known"] + 10
    assert found["unknown"]["same label nearby"][0] != "good"


@pytest.mark.parametrize(
    "change", [{"best_step": 0, "validation_loss": 3.499999}, {"validation_loss": 3.6}]
)
def test_a_training_without_a_gain_is_no_trained_model(tmp_path, change):
    options = make_run(tmp_path, ["A", "B"], annotated=True, split=Rule(held_out=0.4))
    folder = make_training(tmp_path)
    record = json.loads((folder / "finetune.json").read_text())
    write_json(folder / "finetune.json", {**record, **change, "read_as": "bfloat16"})
    write_report(**options, training_dir=folder, label_column="label")
    states = {title: state for state, _, title in tiles(tmp_path)}
    assert states["validation loss"] == "poor"
    text = body(tmp_path)
    assert "✗ nothing was learned" in text
    assert "no better than its base" in text
    assert "of the files read as bfloat16" in text
    assert "the mean over answers" in text


def test_cells_without_a_label_are_left_out_of_the_agreement(full):
    with h5py.File(full[0] / "c2s.h5ad") as file:
        cells = read_map(file, ["label"])
    whole = cells.agreement("label")
    rng = np.random.default_rng(0)
    cells.obs["label"] = cells.obs["label"].astype(object).where(rng.random(len(cells.obs)) < 0.7)
    labels = cells.obs["label"]
    pairs = [
        (labels[n], labels[m])
        for n, row in enumerate(cells.neighbours)
        for m in row
        if pd.notna(labels[n]) and pd.notna(labels[m])
    ]
    found, chance = cells.agreement("label")
    assert found == pytest.approx(np.mean([one == other for one, other in pairs]))
    assert (found, chance) == pytest.approx(whole, abs=0.05)
    cells.obs["label"] = None
    assert np.isnan(cells.agreement("label")).all()


def test_nothing_of_the_user_is_markup(full):
    assert safe('<b a="1">&\n') == "&lt;b a=&#34;1&#34;&gt;&amp; "  # Plotly knows no &quot;
    page = (full[0] / "report.html").read_text()
    assert EVIL not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


class Loaded(HTMLParser):
    """What the page's elements ask a browser to fetch."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        names = ("src", "srcset", "data", "href") if tag != "a" else ()
        self.found += [value for name, value in attrs if name in names]


def test_nothing_is_loaded_from_elsewhere(full):
    page = (full[0] / "report.html").read_text()
    assert [url for url in Loaded(page).found if not url.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|url\([\"']?https?:", page)
    assert {path.name for path in full[0].iterdir() if "report" in path.name} == {"report.html"}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_draws_it_without_network(full):
    dom, errors = dump(full[0] / "report.html")
    assert errors == []
    assert "alert('x')</script>" not in dom
    # Bars, lines, points: each with its title; the map with what it is coloured by.
    titles = re.findall(r'class="gtitle"[^>]*>(?:<tspan[^>]*>)?([^<]+)', dom)
    assert {"Cells kept and dropped", "Genes per cell", "label", "kind"} <= set(titles)
    assert re.search(r'<optgroup label="Cells \(obs\)"><option value="0">label</option>', dom)
    assert '<optgroup label="Genes (log10 expression)">' in dom
    # A marker for each cell of the map, and the groups by name.
    assert len(re.findall(r'class="annotation-text"[^>]*>T cell<', dom)) == 1
    with h5py.File(full[0] / "c2s.h5ad") as file:
        n_cells = file["obsm/X_c2s"].shape[0]
    assert len(re.findall(r'<path class="point"', dom)) >= n_cells


def make_generated(folder):
    """Of two types in two organisms, and the figures of one task."""
    table = pd.DataFrame(
        {
            "organism": ["human", "mouse"] * 2, "c2s_cell_type": [EVIL, EVIL, "NA", "NA"],
            "n_cells": 7, "n_genes_mean": 60.5, "invalid_fraction": 0.0, "duplicate_fraction": 0.25,
            "truncated_fraction": 1.0, "log_likelihood_mean": -300.0,
        }
    )  # fmt: skip
    for name in ("generation", "evaluation"):
        (folder / name).mkdir()
    table.to_csv(folder / "generation/summary.tsv", sep="\t", index=False)
    figures = {
        "shard": "generated.00000", "sample": "generated cells", "device": "cpu",
        "n_predictions": 28, "n_new_tokens": 1700, "seconds": 2.0, "peak_memory_bytes": 2**30,
        "max_answer_genes": 100, "max_answer_genes_from": "model", "n_cut_by_genes": 9,
        "max_new_tokens": 400, "n_cut_by_tokens": 0,
        "dtype": "float32", "attention": "eager", "warnings": ["28 generated cells were cut"],
    }  # fmt: skip
    write_json(folder / "stats" / "generated.00000.generate.json", figures)
    rows = [
        ("scfid", subject, predictor, space, 1.5)
        for subject in (EVIL, "NA", "")
        for predictor in ("model", "all_types", "measured_half")
        for space in ("X_c2s", "sentence_pcs")
    ]
    rows += [("gene_overlap_top_20", "", "another_cell", "cells", 0.25)]
    columns = ["metric", "subject", "predictor", "space", "value"]
    table = pd.DataFrame(rows, columns=columns).assign(ci_low=0.0, ci_high=2.0, n=7, n_reference=9)
    write_table(table, folder / "evaluation/generation.tsv")
    notes = {"generation": [f"{EVIL}: fewer than 4 generated cells"]}
    write_json(folder / "evaluation/notes.json", notes)
    return {
        "generated_summary": folder / "generation/summary.tsv",
        "evaluation_dir": folder / "evaluation",
    }


def test_results_are_linked_by_relative_paths(full):
    page = body(full[0])
    links = set(re.findall(r'<a href="([^"#]+)"><code>', page))
    assert {
        "c2s.h5ad", "c2s_perturbed.h5ad", "perturbation/screen.tsv", "evaluation/accuracy.tsv",
        "evaluation/genes.tsv",
        "attention/attention_pairs.tsv", "qc/s0.json", "qc/s1.json", "pipeline_info/verdict.json",
    } <= links  # fmt: skip
    assert not any(link.startswith(("/", "http", "file:")) for link in links)
    # Where a text names one, it leads to it.
    assert page.count('<a href="evaluation/accuracy.tsv">') == 2
    assert "finetuned/" not in links  # this run trained nothing


def test_what_cannot_be_otherwise_is_not_shown(tmp_path):
    """Where decoding leaves new genes of the data only, no word can be invalid or repeated."""
    options = make_run(tmp_path, ["one"], n_cells=20, predicted=True)
    options["evaluation_dir"] = make_evaluation(tmp_path)
    with h5py.File(tmp_path / "c2s.h5ad", "r+") as file:
        uns = ad.io.read_elem(file["uns/c2s"])
        uns["parameters"] |= {"valid_genes_only": True, "no_repeats": True}
        del file["uns/c2s"]
        ad.io.write_elem(file, "uns/c2s", uns)
    write_report(**options)
    assert "Validity of predicted genes" not in headings(tmp_path)
    text = body(tmp_path)
    assert "Decoding leaves only genes of the data, each once" in text
    for column in ("Invalid words", "Repeated words", ">Invalid<", ">Repeated<"):
        assert column not in text
    assert "for that reason alone. Judge by the distances in expression" in text  # of scFID


def test_generated_cells_and_bulk_samples_are_told(tmp_path):
    arguments = make_run(tmp_path, ["a"], n_cells=12)
    path = tmp_path / "qc" / "s0.qc.json"
    record = json.loads(path.read_text())
    record["bulk_samples"] = [
        {"name": EVIL, "n_cells": 40.0, "total_counts": 2e6, "n_genes_by_counts": 30.0,
         "pct_counts_mt": None}
    ]  # fmt: skip
    record["pseudobulk"] = {"by": [EVIL, "donor"], "n_samples": 1}
    write_json(path, record)
    write_report(**arguments | make_generated(tmp_path))
    text = body(tmp_path)
    found = headings(tmp_path)
    for name in ("Bulk samples", "Generated cells", "Generated against real cells"):
        assert name in found
    assert len(set(found)) == len(found)
    assert "1,700 tokens were generated, 850/s (cpu)" in text
    assert "9 of 28 answers reached 100 genes, as many as the model was trained with, and" in text
    assert "28 generated cells were cut" in text
    assert "Pseudobulk: cells summed by" in text
    assert "against real cells of 2 types" in text
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_generated_groups_and_what_did_not_come_back_are_reported(tmp_path):
    arguments = make_run(tmp_path, ["a"], n_cells=12)
    arguments |= make_generated(tmp_path)
    path = tmp_path / "generation/summary.tsv"
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    table = table.rename(columns={"c2s_cell_type": "c2s_tissue"})
    table.assign(n_groups=3, n_missing=2).to_csv(path, sep="\t", index=False)
    write_report(**arguments)
    text = body(tmp_path)
    assert "One row per tissue" in text
    assert "Several cells were asked for in one answer, and 8 did not come back" in text
    assert {"Tissue", "Missing", "Answers"} <= set(re.findall(r">([A-Z][a-z]+)<", text))
    assert "<script>alert" not in text


def test_features_and_genomes_are_reported(tmp_path):
    arguments = make_run(tmp_path, ["a"], n_cells=12)
    path = tmp_path / "qc" / "s0.qc.json"
    record = json.loads(path.read_text())
    record |= {"features_left_out": {"antibodies": 137, EVIL: 2}, "matrix": "raw.X"}
    record |= {"genome": "GRCh38", "genome_genes": {"GRCh38": 30, "mm10": 31}}
    record["dropped"] |= {"other_genome": 4, "mixed_genomes": 1}
    record |= {"input_state": "lognormalized", "log_base": 2}
    record["state_evidence"] = f"the values before the log base 2 sum to 10,000 {EVIL}"
    write_json(path, record)
    write_report(**arguments)
    text = body(tmp_path)
    assert "log-normalised values (log base 2)" in text
    assert "the values before the log base 2 sum to 10,000 &lt;" in text
    assert "Features read" in headings(tmp_path)
    for words in ("Antibodies", "137", "Genes of mm10", "raw.X"):
        assert words in text
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_a_run_without_warnings_labels_and_perturbations(tmp_path):
    write_report(**make_run(tmp_path, ["only"]))
    found = headings(tmp_path)
    assert not {"Attention", "Perturbations", "Cell types"} & set(found)
    assert "Features read" not in found
    assert "UMAP" in found
    assert "no step has a warning" in body(tmp_path)
    assert "nearest neighbours" not in body(tmp_path)  # one sample: nothing to compare


def test_no_predictions_and_no_pairs_are_said(tmp_path):
    options = make_run(tmp_path, ["one"], n_cells=20, predicted=True)
    options["attention_pairs"] = make_pairs(tmp_path)
    pd.read_csv(options["attention_pairs"], sep="\t")[:0].to_csv(
        options["attention_pairs"], sep="\t", index=False
    )
    ad.read_h5ad(options["perturbed"])[:0].copy().write_h5ad(options["perturbed"])
    summary = pd.read_csv(options["perturbation_summary"], sep="\t")
    summary[:0].to_csv(options["perturbation_summary"], sep="\t", index=False)
    write_report(**options)
    assert headings(tmp_path)[-1] == "Perturbations"
    assert "There are no predicted cells." in body(tmp_path)
    assert "No two genes occur in enough cells of a label." in body(tmp_path)


def test_a_screen_without_contexts_or_rows(tmp_path):
    options = make_run(tmp_path, ["one"], n_cells=20)
    options["effects_dir"] = make_effects(tmp_path, contexts=False)
    write_report(**options)
    assert "Ranked perturbations" in headings(tmp_path)
    for name in ("perturbation_effects", "screen"):
        path = options["effects_dir"] / f"{name}.tsv"
        pd.read_csv(path, sep="\t")[:0].to_csv(path, sep="\t", index=False)
    write_report(**options)
    assert "No predicted cell can be compared." in body(tmp_path)
    assert "There is nothing to rank." in body(tmp_path)
    (options["effects_dir"] / "screen.tsv").unlink()
    write_report(**options)
    assert "Screen" not in headings(tmp_path)


@pytest.mark.parametrize(
    ("n_cells", "vectors", "why"),
    [
        (6, blobs, "6 cells have an embedding; a UMAP needs at least 10."),
        (40, lambda obs: np.full((len(obs), 6), np.nan), "0 cells have an embedding"),
        (40, lambda obs: np.ones((len(obs), 6)), "All cells have the same embedding."),
    ],
)
def test_too_little_for_a_map_is_said(tmp_path, n_cells, vectors, why):
    write_report(**make_run(tmp_path, ["one"], n_cells, vectors), label_column="label")
    assert f"There is no UMAP to draw: {why}" in body(tmp_path)


def test_unknown_label_column_is_refused_and_nothing_is_left(tmp_path):
    options = make_run(tmp_path, ["one"], n_cells=20)
    with pytest.raises(UserError, match=r"no column 'celltype'; it has: .*label"):
        write_report(**options, label_column="celltype")
    assert not (tmp_path / "report.html").exists()


def test_broken_figures_are_named(tmp_path):
    options = make_run(tmp_path, ["one"], n_cells=20)
    (tmp_path / "stats" / "s0.00001.embed.json").write_text("{")
    with pytest.raises(UserError, match=r"s0\.00001\.embed\.json is broken"):
        write_report(**options)


def test_map_is_deterministic_and_leaves_out_cells_without_embedding(full):
    with h5py.File(full[0] / "c2s.h5ad") as file:
        one, two = (read_map(file, ["label", "sample"]) for _ in range(2))
    assert np.array_equal(one.coordinates, two.coordinates)
    with h5py.File(full[0] / "with_nan.h5ad", "w") as file, h5py.File(full[0] / "c2s.h5ad") as old:
        for name in ("obs", "obsm"):
            old.copy(name, file)
        file["obsm/X_c2s"][3] = np.nan
        less = read_map(file, ["label"])
    assert less.n_cells == one.n_cells
    assert len(less.obs) == len(less.coordinates) == one.n_cells - 1
    assert less.obs["label"].tolist() == one.obs["label"].drop(3).tolist()


def test_big_data_are_sampled_in_order(tmp_path, monkeypatch):
    matrix = np.arange(90, dtype=np.float32).reshape(30, 3)
    rows = np.array([0, 4, 5, 11, 29])
    monkeypatch.setattr("c2sflow.report.map.BLOCK_BYTES", 4 * 3 * 7)
    monkeypatch.setattr("c2sflow.report.map.MAX_CELLS", 15)
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        ad.io.write_elem(file, "obs", pd.DataFrame({"n": np.arange(30)}))
        file["obsm/X_c2s"] = matrix
        assert np.array_equal(read_rows(file["obsm/X_c2s"], rows), matrix[rows])
        drawn = read_map(file, ["n"])
    assert drawn.n_cells == 30
    assert len(drawn.obs) == 15
    assert drawn.obs["n"].is_monotonic_increasing


def test_script(full, tmp_path, monkeypatch, caplog):
    _, options = full
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "c2sflow")
    arguments = [
        f"--{name.replace('_', '-')}={value}" for name, value in options.items() if name != "outdir"
    ]
    done = CliRunner().invoke(main, [*arguments, "--label-column=label"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "verdict.json"}
    kept = sum(json.loads(p.read_text())["n_cells_kept"] for p in options["qc_dir"].glob("*.json"))
    assert caplog.messages[-1] == f"report.html: 2 samples, {kept} cells"


@pytest.mark.parametrize("values", [[7], range(13, 26), range(200, 3000, 3)])
def test_histograms_keep_every_cell_over_common_bins(values):
    counts, edges = np.histogram(values, bins=40)
    for whole in (True, False):
        bins = common_bins([edges, edges + 0.4], whole)
        line = histogram_line("s", bins, edges, counts, "#000")
        assert sum(y for _, y in line.pairs) == pytest.approx(len(values), abs=0.2)
    if len(values) == 13:  # one bin for each number: no comb where there is none
        bins = common_bins([edges])
        heights = [y for _, y in histogram_line("s", bins, edges, counts, "#000").pairs]
        assert heights[:12] == [1] * 12
