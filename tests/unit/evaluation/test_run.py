"""The evaluation of a run: from the steps' files to tables, with predictions of known quality."""

import json
import shutil
from dataclasses import replace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from scipy import stats
from sklearn.decomposition import PCA

from c2sflow.common.errors import UserError
from c2sflow.common.files import write_json
from c2sflow.data.obs.figure_cells import figure_cells
from c2sflow.data.obs.measured_cells import find_measured
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.result_tables import read_evaluation
from c2sflow.data.state.normalization import State
from c2sflow.evaluation import accuracy
from c2sflow.evaluation.held_out_kinds import trained_on
from c2sflow.evaluation.measured import unlike_controls
from c2sflow.evaluation.run import Settings, write_evaluation
from c2sflow.evaluation.run_reader import RunCells, RunFiles
from c2sflow.generation.tasks import write_answers
from c2sflow.sentences.shards import write_shards
from c2sflow.steps.evaluate import main

CONTROL, TARGET, OTHER = "CD4+/CD25 T Reg", "CD19+ B", "CD14+ Monocyte"
SHARD = 90  # cells


def write_sample(folder, name, cells):
    """QC's and SENTENCES' files of a sample, and an embedding: principal components."""
    path = folder / "qc" / f"{name}.h5ad"
    run_qc(
        cells, path, sample=name, organism="human", state=State("lognormalized", "e"),
        filters=Filters(skip=True),
    )  # fmt: skip
    with open_anndata(path) as kept:
        obs = kept.obs
        bounds = [(at, min(at + SHARD, len(obs))) for at in range(0, len(obs), SHARD)]
        summary = write_shards(kept, bounds, name, folder)
    write_json(folder / "sentences" / f"{name}.sentences.json", summary)
    vectors = np.asarray(cells.obsm["X_other"] * 2, dtype=np.float32)
    vectors[3] = np.nan  # a cell without genes
    for number, shard in enumerate(summary["shards"]):
        rows = slice(number * SHARD, (number + 1) * SHARD)
        made = ad.AnnData(obs=obs.iloc[rows][[]], obsm={"X_c2s": vectors[rows]})
        made.write_h5ad(folder / "embeddings" / f"{shard['name']}.embedding.h5ad")
        said = obs["bulk_labels"].iloc[rows].astype(str).to_numpy(dtype=object)
        said[::10] = None
        pd.DataFrame({"cell_id": obs.index[rows], "c2s_cell_type": said}).to_parquet(
            folder / "annotations" / f"{shard['name']}.annotation.parquet"
        )


def write_predictions(folder, cells):
    """To each control cell two answers: the head of a real B cell, and a copy of the control."""
    shards = sorted((folder / "shards").glob("*.parquet"))
    tables = {path.stem: pd.read_parquet(path) for path in shards}
    every = pd.concat(tables.values())
    targets = every.loc[every["bulk_labels"] == TARGET, "cell_sentence"].to_list()
    place = dict(zip(cells.obs_names, range(cells.n_obs), strict=True))
    vectors = np.asarray(cells.obsm["X_other"] * 2, dtype=np.float32)
    b_cells = np.flatnonzero(cells.obs["bulk_labels"] == TARGET)
    number = 0
    for name, table in tables.items():
        summary = folder / "sentences" / f"{name.split('.')[0]}.sentences.json"
        known = set(json.loads(summary.read_text())["genes"])
        rows = []
        for cell in table[table["bulk_labels"] == CONTROL].to_dict("records"):
            own = cell["cell_sentence"].split()
            b_cell = [g for g in targets[number % len(targets)].split() if g in known]
            for condition, genes, vector in (
                ("to B, 1 µM", b_cell[:100], vectors[b_cells[number % len(b_cells)]]),
                (OTHER, own[:80], vectors[place[cell["cell_id"]]]),
                ("unknown", own[:5], vectors[0]),
            ):
                rows.append(
                    {
                        "source_cell": cell["cell_id"], "condition": condition,
                        "perturbation": TARGET if "B" in condition else condition,
                        "sample": cell["sample"], "c2s_sentence": " ".join(genes),
                        "c2s_n_predicted_genes": len(genes), "c2s_invalid_genes": 1,
                        "c2s_duplicate_genes": 0, "c2s_finish_reason": "eos", "vector": vector,
                    }
                )  # fmt: skip
            number += 1
        if rows:
            frame = pd.DataFrame(rows)
            made = pa.Table.from_pandas(frame.drop(columns="vector"), preserve_index=False)
            values = pa.array(np.concatenate(frame["vector"].to_list()), pa.float32())
            column = pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
            path = folder / "perturbed" / f"{name}.perturbed.parquet"
            pq.write_table(made.append_column("X_c2s", column), path)


@pytest.fixture(scope="module")
def files(pbmc, tmp_path_factory):
    """A run on real cells in two samples; the second lacks some genes."""
    folder = tmp_path_factory.mktemp("evaluation")
    for name in ("qc", "sentences", "embeddings", "annotations", "perturbed"):
        (folder / name).mkdir()
    cells = pbmc.copy()
    cells.obsm["X_other"] = PCA(12, random_state=0).fit_transform(cells.X.toarray())
    cells.obsm["X_c2s"] = cells.obsm["X_other"][:, ::-1].copy()  # of an earlier run
    cells.obs["split"] = np.where(np.arange(cells.n_obs) % 5 == 2, "train", "test")
    write_sample(folder, "a", cells[:300].copy())
    write_sample(folder, "b", cells[300:, 40:].copy())
    write_predictions(folder, cells)
    write_json(folder / "samples.json", [{"id": "a"}, {"id": "b"}])
    names = ("qc", "sentences", "shards", "embeddings", "annotations", "perturbed")
    return RunFiles(folder / "samples.json", *(folder / name for name in names)), cells


SETTINGS = Settings(
    label_column="bulk_labels", evaluation_key="X_other, X_c2s", measured_column="bulk_labels",
    control=f"bulk_labels == '{CONTROL}'", training_cells="split == 'train'",
)  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    write_evaluation(files[0], folder, SETTINGS)
    notes = json.loads((folder / "evaluation" / "notes.json").read_text())
    tables = read_evaluation(folder / "evaluation")
    assert "genes" not in tables  # a row for each gene is no part of uns
    return tables | {"genes": pd.read_csv(folder / "evaluation" / "genes.tsv", sep="\t")}, notes


def test_cells_are_read_in_any_order(files):
    run, cells = RunCells(files[0]), files[1]
    rows = np.array([420, 3, 299, 0, 300, 95])
    found = pd.DataFrame(run.expression(rows).toarray(), columns=run.genes)
    expected = cells[rows].to_df() / np.log(10)
    expected.iloc[[0, 4], :40] = 0  # of sample b
    np.testing.assert_allclose(found[cells.var_names], expected, rtol=1e-5)
    vectors = run.obsm("X_c2s", rows)
    kept = [0, 2, 3, 4, 5]
    np.testing.assert_allclose(vectors[kept], cells.obsm["X_other"][rows[kept]] * 2, rtol=1e-5)
    assert np.isnan(vectors[1]).all()
    earlier = run.obsm("X_c2s", rows, of_input=True)
    np.testing.assert_allclose(earlier, cells.obsm["X_c2s"][rows], rtol=1e-5)
    np.testing.assert_allclose(run.obsm("X_other", rows), cells.obsm["X_other"][rows], rtol=1e-5)
    for genes, values in zip(run.sentences(rows), found.to_numpy(), strict=True):
        assert (np.diff(values[genes]) <= 0).all()
        assert genes.size == (values > 0).sum()
    assert run.positions(["b", "a"], cells.obs_names[[301, 5]]).tolist() == [301, 5]
    said = run.predicted_labels(rows, "c2s_cell_type")
    assert run.predicted_labels(rows, "c2s_tissue") is None
    assert said[3] == said[4] == ""
    assert said[1] == str(cells.obs["bulk_labels"].iloc[3])
    empty = np.empty(0, int)
    assert run.expression(empty).shape == (0, len(run.genes))
    assert run.sentences(empty) == []


def figure(tables, table, metric, predictor, subject="", space=None):
    found = tables[table]
    found = found[(found["metric"] == metric) & (found["predictor"] == predictor)]
    found = found[found["subject"] == subject]
    if space is not None:
        found = found[found["space"] == space]
    assert len(found) == 1
    return found.iloc[0]


def test_cell_types(evaluated, files):
    tables, notes = evaluated
    spaces = ("X_c2s", "X_other", "X_c2s of the input")
    base = {"expression_pcs", "genes", "variable_genes"}
    assert set(tables["accuracy"]["space"]) == {"", *base, *spaces}
    gains = tables["accuracy"].query("metric == 'accuracy_gain'")
    assert set(gains["space"]) == base
    probe = figure(tables, "accuracy", "accuracy", "linear_probe", space="X_c2s")["value"]
    for gain in gains.to_dict("records"):
        own = figure(tables, "accuracy", "accuracy", gain["predictor"], space=gain["space"])
        assert gain["value"] == pytest.approx(probe - own["value"], abs=1e-5)
        assert gain["ci_low"] <= gain["value"] <= gain["ci_high"]
    # The other embeddings are X_c2s turned and times a number: the same neighbours.
    found = [figure(tables, "accuracy", "accuracy", "knn", space=s) for s in spaces]
    assert found[0]["value"] == found[1]["value"] == found[2]["value"] > 0.7
    # Without training cells and those that have no embedding.
    test = files[1].obs["split"] == "test"
    n_judged = (test & ~np.isin(np.arange(700), [3, 303])).sum()
    assert found[0]["n"] == n_judged
    said = figure(tables, "accuracy", "accuracy", "annotation")
    assert said["value"] == pytest.approx(1 - 1 / 8, abs=0.01)
    missed = tables["confusion"].query("predictor == 'annotation' and found == '(none)'")
    assert missed["n_cells"].sum() == round((1 - said["value"]) * n_judged)
    assert figure(tables, "accuracy", "accuracy", "majority")["value"] < 0.4
    n_trained = (~test).sum()
    assert notes["accuracy"] == [f"{n_trained} cells that the model was trained on are left out"]


def test_predictions_of_known_quality(evaluated, files):
    tables, notes = evaluated
    table, cells = tables["perturbation"], files[1]
    assert set(table["subject"]) == {"", "to B, 1 µM", OTHER}
    assert "unknown: no cell was measured under it" in notes["perturbation"]
    good = figure(tables, "perturbation", "pearson_change_top_20", "model", "to B, 1 µM")
    assert good["value"] > 0.6
    copied = figure(tables, "perturbation", "mse", "model", OTHER)
    nothing = figure(tables, "perturbation", "mse", "no_change", OTHER)
    assert copied["value"] == pytest.approx(nothing["value"])  # a copy changes nothing
    test = cells.obs["split"] == "test"
    labels = cells.obs["bulk_labels"]
    n_real = (np.arange(700) != 3) & (np.arange(700) != 303)
    assert good["n"] == ((labels == CONTROL) & test & n_real).sum()
    assert good["n_reference"] == ((labels == TARGET) & test & n_real).sum()
    # Real B cells as the answers: as near as the other half of the measured ones.
    for metric in ("scfid", "energy_distance"):
        model, nothing, half = (
            figure(tables, "perturbation", metric, name, "to B, 1 µM", "X_c2s")["value"]
            for name in ("model", "no_change", "measured_half")
        )
        assert model < 0.2 * nothing
        assert model < 3 * half
    assert figure(tables, "trust", "novelty", "model", OTHER)["value"] == 0
    assert figure(tables, "trust", "invalid_fraction", "model", OTHER)["value"] == pytest.approx(
        1 / 81, rel=1e-4
    )


def test_training_cells_are_the_baseline_and_not_the_measure(evaluated, files):
    tables, cells = evaluated[0], files[1]
    values = cells.to_df() / np.log(10)
    values.iloc[300:, :40] = 0
    labels, kept = cells.obs["bulk_labels"], ~np.isin(np.arange(700), [3, 303])

    def change(split):
        chosen = kept & (cells.obs["split"] == split)
        return (
            values[chosen & (labels == TARGET)].mean() - values[chosen & (labels == CONTROL)].mean()
        )

    true, guess = change("test"), change("train")
    found = figure(tables, "perturbation", "mse", "training_mean", "to B, 1 µM")
    # Each split takes half of the cells: the noise of their means is twice that of all.
    noise = sum(
        values[kept & (cells.obs["split"] == "test") & (labels == name)].sem() ** 2
        for name in (TARGET, CONTROL)
    )
    expected = ((true - guess) ** 2).mean() + noise.mean()
    assert found["value"] == pytest.approx(expected, rel=0.1)
    found = figure(tables, "perturbation", "pearson_change", "training_mean", "to B, 1 µM")
    assert found["value"] == pytest.approx(stats.pearsonr(true, guess)[0], rel=0.05)


def test_changes_by_gene_are_of_cells_that_can_show_them(evaluated, files):
    """Not of training cells, nor of a sample that lacks the gene; a control cell on one side."""
    table, cells = evaluated[0]["genes"], files[1]
    assert set(table["condition"]) == {"to B, 1 µM", OTHER}
    found = table[table["condition"] == "to B, 1 µM"].set_index("gene")
    test, labels = cells.obs["split"] == "test", cells.obs["bulk_labels"]
    first = np.arange(700) < 300
    for genes, rows in ((cells.var_names[:40], first), (cells.var_names[40:], first | ~first)):
        own = found.loc[[gene for gene in genes if gene in found.index]]
        assert set(own["n_measured"]) == {((labels == TARGET) & test & rows).sum()}
        together = own["n_control"] + own["n_predicted"]
        assert set(together) == {((labels == CONTROL) & test & rows).sum()}
    n_control = ((labels == CONTROL) & test).sum()
    assert found["n_control"].max() == n_control // 2  # all have an answer
    # The mean of the measured cells is known; control cells are drawn, their mean within its error.
    values = cells.to_df() / np.log(2)
    chosen = values[test], labels[test]
    true = chosen[0][chosen[1] == TARGET].mean() - chosen[0][chosen[1] == CONTROL].mean()
    shared = [gene for gene in cells.var_names[40:] if gene in found.index]
    assert stats.pearsonr(found.loc[shared, "measured_log2_fold_change"], true[shared])[0] > 0.95
    assert (found["compared_with"] == "own sentence").all()
    good, copied = (
        figure(evaluated[0], "perturbation", "pearson_log2_fold_change", "model", name)
        for name in ("to B, 1 µM", OTHER)
    )
    assert good["ci_low"] > good["null_high"]
    assert np.isnan(copied["value"])  # a copy changes nothing
    one, other = (
        found.loc[shared, f"{side}_log2_fold_change"] for side in ("measured", "predicted")
    )
    assert good["value"] == pytest.approx(stats.pearsonr(one, other)[0], abs=0.1)


@pytest.fixture
def folds_once(monkeypatch):
    """Few cells are cross-validated once, not several times: their figures are not tested."""
    monkeypatch.setattr(accuracy, "MAX_REPEATS", 1)


@pytest.mark.usefixtures("folds_once")
def test_less_cells_are_drawn_by_their_names(files, tmp_path):
    settings = Settings(**{**vars(SETTINGS), "evaluation_cells": 120})
    for name in ("one", "two"):
        write_evaluation(files[0], tmp_path / name, settings)
    for path in (tmp_path / "one/evaluation").iterdir():
        assert path.read_bytes() == (tmp_path / "two/evaluation" / path.name).read_bytes()
    tables = read_evaluation(tmp_path / "one/evaluation")
    assert figure(tables, "reconstruction", "pearson", "model")["n"] == 120
    assert figure(tables, "accuracy", "accuracy", "majority")["n"] <= 120
    single = tables["perturbation"][tables["perturbation"]["subject"] != ""]
    assert single["n"].max() <= 120
    assert single["n"].min() >= 2


@pytest.mark.usefixtures("folds_once")
def test_perturbed_cells_of_other_types_than_the_control_cells_are_told(files, tmp_path):
    cells = RunCells(files[0])
    settings = replace(SETTINGS, label_column="louvain", evaluation_cells=80)
    usable = figure_cells(cells.obs, None, "bulk_labels")
    measured = find_measured(cells.obs, "bulk_labels", settings.control, usable, 10_000, 0)
    found = set(unlike_controls(cells.obs["louvain"], measured))
    assert {TARGET, OTHER} <= found
    assert "CD4+/CD45RO+ Memory" not in found  # T cells as the control cells
    assert not unlike_controls(cells.obs["phase"], measured)  # of the cell cycle: alike in all
    unknown = cells.obs["louvain"].where(cells.obs["bulk_labels"] != CONTROL)
    assert not unlike_controls(unknown, measured)
    write_evaluation(files[0], tmp_path, settings)
    notes = json.loads((tmp_path / "evaluation" / "notes.json").read_text())["perturbation"]
    told = f"{OTHER}, {TARGET}: most of the measured cells have another louvain than the control "
    assert [note.startswith(told) for note in notes] == [False, True]


def test_figures_by_what_is_new_of_the_held_out_cells(files, tmp_path):
    """Context: the phase of the cell cycle. Those of a kind are the figures of its cells alone."""
    folder = tmp_path / "perturbed"
    folder.mkdir()
    for path in files[0].perturbed_dir.iterdir():
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.equal(table["perturbation"], TARGET)), folder / path.name)
    run = replace(files[0], perturbed_dir=folder)
    asked = replace(SETTINGS, label_column=None, evaluation_key=None, context_column="phase")
    tables = {}
    for name, query in (
        ("mixed", f"phase == 'S' or (phase == 'G2M' and bulk_labels != '{TARGET}')"),
        ("alone", "phase != 'G1'"),
    ):
        write_evaluation(run, tmp_path / name, replace(asked, training_cells=query))
        tables[name] = read_evaluation(tmp_path / name / "evaluation")
    found, alone = tables["mixed"]["held_out"], tables["alone"]["perturbation"]
    assert set(found["kind"]) == {"new context"}  # no control cell of the other kind has an answer
    found, alone = (t[t["predictor"].isin(["model", "no_change"])] for t in (found, alone))
    pd.testing.assert_frame_equal(
        found.drop(columns="kind").reset_index(drop=True), alone.reset_index(drop=True)
    )
    whole = tables["mixed"]["perturbation"]
    assert not whole["value"].equals(found["value"])
    assert set(tables["alone"]["held_out"]["kind"]) == {"new context"}
    obs = RunCells(files[0]).obs
    sizes = obs[obs["bulk_labels"] == TARGET]["phase"].value_counts()
    notes = json.loads((tmp_path / "mixed/evaluation/notes.json").read_text())["held_out"]
    assert notes == [
        f"new pair: {sizes['G2M']} measured cells of 1 perturbation, held out",
        f"new context: {sizes['G1']} measured cells of 1 perturbation, held out",
    ]


def test_kinds_of_held_out_cells():
    labels = np.array(["", "A", "B", "A", "", "B 1 uM"])
    contexts = pd.Series(["K562", "K562", "K562", "Jurkat", "RPE1", "K562"])
    trained = trained_on(labels, contexts, np.array([1, 1, 0, 1, 1, 1], dtype=bool))
    kinds = {
        ("A", "K562"): "new cells", ("A 10 uM", "K562"): "new cells", ("B", "K562"): "new cells",
        ("B", "Jurkat"): "new pair", ("A", "RPE1"): "new pair", ("C", "K562"): "new perturbation",
        ("A", "HeLa"): "new context", ("C", "HeLa"): "new perturbation and context",
    }  # fmt: skip
    assert {place: trained.kind(*place) for place in kinds} == kinds


def test_cells_perturbed_with_their_own_label_are_compared_one_by_one(files, tmp_path):
    """Without --control, each answer's own cell was measured under the perturbation."""
    cells = files[0]
    settings = Settings(measured_column="bulk_labels")
    folder = tmp_path / "perturbed"
    folder.mkdir()
    for path in cells.perturbed_dir.iterdir():
        table = pq.read_table(path)
        table = table.set_column(1, "condition", pa.array([CONTROL] * len(table)))
        pq.write_table(
            table.set_column(2, "perturbation", pa.array([CONTROL] * len(table))),
            folder / path.name,
        )
    write_evaluation(RunFiles(**{**vars(cells), "perturbed_dir": folder}), tmp_path, settings)
    tables = read_evaluation(tmp_path / "evaluation")
    assert set(tables["perturbation"]["space"]) == {"cells"}
    assert figure(tables, "perturbation", "gene_overlap_top_20", "model", CONTROL)["value"] > 0.6
    assert "accuracy" not in tables


def test_without_predictions_and_labels_there_is_the_reconstruction(files, tmp_path):
    places = {
        name: getattr(files[0], name)
        for name in ("samples", "qc_dir", "sentences_dir", "shards_dir", "embeddings_dir")
    }
    words = [f"--{name.replace('_', '-')}={path}" for name, path in places.items()]
    done = CliRunner().invoke(main, [*words, f"--outdir={tmp_path}"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "evaluation").iterdir()} == {
        "notes.json", "reconstruction.tsv",
    }  # fmt: skip


def test_a_broken_file_is_named(files, tmp_path):
    places = {**vars(files[0]), "embeddings_dir": tmp_path}
    with pytest.raises(UserError, match=r"a.00000.embedding.h5ad is missing or broken"):
        write_evaluation(RunFiles(**places), tmp_path, SETTINGS)
    (tmp_path / "accuracy.tsv").write_bytes(b"\xff\x00")
    with pytest.raises(UserError, match=r"accuracy.tsv is missing or broken"):
        read_evaluation(tmp_path)


@pytest.fixture(scope="module")
def generated(files, tmp_path_factory):
    """Cells "generated" of two types, both the heads of real B cells; of a third too few."""
    folder = tmp_path_factory.mktemp("generated")
    run, cells = files
    every = pd.concat([pd.read_parquet(path) for path in sorted(run.shards_dir.iterdir())])
    known = set(json.loads((run.sentences_dir / "a.sentences.json").read_text())["genes"])
    b_cells = np.flatnonzero(cells.obs["bulk_labels"] == TARGET)[::2]
    texts = every["cell_sentence"].iloc[b_cells]
    heads = [" ".join([g for g in text.split() if g in known][:60]) for text in texts]
    frame = pd.DataFrame({"c2s_sentence": heads, "number": range(len(heads))})
    tables = [frame.assign(c2s_cell_type=name) for name in (TARGET, OTHER)]
    tables += [frame[:3].assign(c2s_cell_type="Dendritic"), frame.assign(c2s_cell_type="no label")]
    vectors = np.asarray(cells.obsm["X_other"] * 2, dtype=np.float32)[b_cells]
    for number, table in enumerate(tables):
        write_answers(
            folder / f"generated.{number:05d}.generated.parquet",
            table.assign(organism="human"), vectors[: len(table)],
        )  # fmt: skip
    sheet = folder / "samples.json"
    write_json(sheet, [{"id": name, "organism": "human"} for name in "ab"])
    places = {**vars(run), "samples": sheet, "generated_dir": folder, "perturbed_dir": None}
    return RunFiles(**places)


def test_generated_cells_of_known_quality(generated, tmp_path):
    write_evaluation(generated, tmp_path, Settings(label_column="bulk_labels"))
    tables = read_evaluation(tmp_path / "evaluation")
    notes = json.loads((tmp_path / "evaluation/notes.json").read_text())["generation"]
    assert set(tables["generation"]["subject"]) == {"", TARGET, OTHER}
    assert [note.split(":")[0] for note in notes] == ["Dendritic", "no label"]

    def value(metric, predictor, subject, space):
        return figure(tables, "generation", metric, predictor, subject, space)["value"]

    for space in ("X_c2s", "sentence_pcs"):
        for metric in ("scfid", "energy_distance"):
            good, others, half = (
                value(metric, name, TARGET, space)
                for name in ("model", "all_types", "measured_half")
            )
            assert good < 0.4 * others
            assert good < 1.2 * half if metric == "scfid" else good < half
            # B cells that pass for monocytes: further than any draw of all cells.
            assert value(metric, "model", OTHER, space) > value(metric, "all_types", OTHER, space)
    for space in ("cells", "pseudobulk"):
        right, wrong = (
            value("gene_overlap_top_20", "model", name, space) for name in (TARGET, OTHER)
        )
        assert right > wrong + 0.1
        assert right > value("gene_overlap_top_20", "all_types", TARGET, space) + 0.1


@pytest.fixture(scope="module")
def with_both(files, generated):
    """Predicted and generated cells."""
    return RunFiles(**{**vars(generated), "perturbed_dir": files[0].perturbed_dir})


def spoil_training_cells(run, folder):
    """Copies of what the model made of the training cells, with other values."""
    places = {}
    for name in ("embeddings", "annotations", "perturbed"):
        places[f"{name}_dir"] = shutil.copytree(getattr(run, f"{name}_dir"), folder / name)
    for shard in run.shards_dir.iterdir():
        trained = (pd.read_parquet(shard)["split"] == "train").to_numpy()
        with h5py.File(folder / "embeddings" / f"{shard.stem}.embedding.h5ad", "r+") as file:
            vectors = file["obsm/X_c2s"][:]
            vectors[trained] = 100 + np.arange(vectors.shape[1])
            file["obsm/X_c2s"][:] = vectors
        path = folder / "annotations" / f"{shard.stem}.annotation.parquet"
        said = pd.read_parquet(path)
        said.loc[trained, "c2s_cell_type"] = "wrong"
        said.to_parquet(path)
        path = folder / "perturbed" / f"{shard.stem}.perturbed.parquet"
        if path.exists():
            table = pq.read_table(path)
            names = set(pd.read_parquet(shard)["cell_id"][trained])
            texts = [
                text.split()[0] if cell in names else text
                for cell, text in zip(
                    table["source_cell"].to_pylist(), table["c2s_sentence"].to_pylist(), strict=True
                )
            ]
            place = table.column_names.index("c2s_sentence")
            pq.write_table(table.set_column(place, "c2s_sentence", pa.array(texts)), path)
    return RunFiles(**{**vars(run), **places})


def test_no_figure_is_of_cells_that_the_model_was_trained_on(with_both, tmp_path):
    """What it makes of them changes none; marking them as training cells changes every one."""
    settings = replace(SETTINGS, evaluation_key=None)
    runs = {
        "known": (with_both, settings),
        "spoilt": (spoil_training_cells(with_both, tmp_path), settings),
        "unknown": (with_both, replace(settings, training_cells=None)),
    }
    tables = {}
    for name, (run, chosen) in runs.items():
        write_evaluation(run, tmp_path / name, chosen)
        tables[name] = read_evaluation(tmp_path / name / "evaluation")
    assert set(tables["known"]) == {
        "accuracy", "confusion", "embedding", "generation", "held_out", "perturbation",
        "reconstruction", "trust",
    }  # fmt: skip
    for name, table in tables["known"].items():
        spoilt, unknown = tables["spoilt"][name], tables["unknown"].get(name)
        if name in ("perturbation", "held_out"):  # a baseline that is allowed to know them
            table, spoilt = (t[t["predictor"] != "training_mean"] for t in (table, spoilt))
        pd.testing.assert_frame_equal(table, spoilt)
        if name == "held_out":  # by what the model was trained on
            assert unknown is None
        elif name not in ("confusion", "reconstruction"):  # the model has no part in the latter
            key = ["metric", "subject", "space", "predictor"]
            both = table.merge(unknown, on=key, suffixes=("", "_unknown"))
            both = both[(both["subject"] != "") | (name == "accuracy")]  # means: of conditions
            both = both.fillna(-9)
            columns = ("n", "n_reference", "value")
            changed = [both[column].ne(both[f"{column}_unknown"]) for column in columns]
            assert np.any(changed, axis=0).all()  # a bias curve is of as many cells in both
    notes = json.loads((tmp_path / "unknown/evaluation/notes.json").read_text())
    assert notes["cells"][0].startswith("Which cells the model was trained on is unknown")


def test_cells_generated_of_no_type_are_compared_with_all(generated, tmp_path):
    folder = tmp_path / "generated"
    folder.mkdir()
    name = "generated.00000.generated.parquet"
    table = pq.read_table(generated.generated_dir / name)
    place = table.column_names.index("c2s_cell_type")
    table = table.set_column(place, "c2s_cell_type", pa.array([""] * len(table)))
    pq.write_table(table, folder / name)
    files = RunFiles(**{**vars(generated), "generated_dir": folder})
    write_evaluation(files, tmp_path, Settings())
    found = read_evaluation(tmp_path / "evaluation")["generation"]
    assert set(found["subject"]) == {""}
    assert set(found["predictor"]) == {"model", "measured_half", "another_cell"}
    assert found["n_reference"].max() >= 498  # of 500, but for two without embedding
    with_types = RunFiles(**vars(generated))
    write_evaluation(with_types, tmp_path / "typed", Settings())
    notes = json.loads((tmp_path / "typed/evaluation/notes.json").read_text())
    assert notes["generation"] == ["without --label_column there are no cell types to compare with"]


def test_cells_of_tissues_are_compared_by_them_and_missing_ones_are_none(generated, tmp_path):
    """As cells of types are, whose figures these are: a cell that did not come back is no cell."""
    folder = tmp_path / "generated"
    folder.mkdir()
    for path in generated.generated_dir.glob("*.generated.parquet"):
        table = pd.read_parquet(path).rename(columns={"c2s_cell_type": "c2s_tissue"})
        vectors = np.stack(table.pop("X_c2s"))
        lost = table.iloc[:3].assign(c2s_sentence="", c2s_finish_reason="missing", number=9999)
        both = pd.concat([lost, table.assign(c2s_finish_reason="eos")], ignore_index=True)
        rows = both.assign(group=0, place=1)
        write_answers(folder / path.name, rows, np.concatenate([vectors[:3] * np.nan, vectors]))
    settings = Settings(label_column="bulk_labels")
    for out, own in ((tmp_path / "types", generated.generated_dir), (tmp_path / "tissues", folder)):
        write_evaluation(RunFiles(**{**vars(generated), "generated_dir": own}), out, settings)
    one, other = (
        read_evaluation(tmp_path / name / "evaluation")["generation"]
        for name in ("types", "tissues")
    )
    pd.testing.assert_frame_equal(one, other)


def test_other_labels_are_judged_as_cell_types_are(files, tmp_path):
    """A label that is right in nine of ten cells, and says so with 0.9; one without candidates."""
    folder, names = tmp_path / "annotations", ["G1", "G2M", "S", "none"]
    folder.mkdir()
    obs = files[1].obs.set_axis(files[1].obs_names.astype(str))
    rng = np.random.default_rng(0)
    for path in sorted(files[0].annotations_dir.glob("*.parquet")):
        table = pd.read_parquet(path)
        truth = pd.Categorical(obs.loc[table["cell_id"], "phase"], names).codes
        found = np.where(rng.random(len(truth)) < 0.9, truth, (truth + 1) % 3)
        scores = np.where(np.eye(4)[found] > 0, np.log(0.9), np.log(0.1 / 3)).astype(np.float32)
        table["c2s_phase"] = np.array(names, dtype=object)[found]
        table["c2s_phase_scores"] = list(scores)
        table["c2s_note"] = "free"
        made = pa.Table.from_pandas(table, preserve_index=False)
        made = made.replace_schema_metadata({b"c2s_candidates": json.dumps({"c2s_phase": names})})
        pq.write_table(made, folder / path.name)
    run = replace(files[0], annotations_dir=folder, perturbed_dir=None, generated_dir=None)
    settings = Settings(
        measured_labels={"phase": "phase", "note": "louvain"}, training_cells="split == 'train'",
        evaluation_cells=300,
    )  # fmt: skip
    write_evaluation(run, tmp_path, settings)
    tables = read_evaluation(tmp_path / "evaluation")
    assert not {"accuracy", "confusion"} & set(tables)  # of --label_column
    assert list(dict.fromkeys(tables["labels"]["asked"])) == ["phase", "note"]
    own = {name: table[table["asked"] == "phase"] for name, table in tables.items() if
           name.startswith(("labels", "calibration"))}  # fmt: skip
    right = figure(own, "labels", "accuracy", "annotation")
    judged = obs["split"].astype(str) != "train"
    assert right["value"] == pytest.approx(0.9, abs=0.07)
    assert right["n"] <= judged.sum()
    assert figure(own, "labels", "accuracy", "linear_probe", space="X_c2s")["value"] > 0.3
    confused = own["labels_confusion"].query("predictor == 'annotation'")
    assert confused["n_cells"].sum() == right["n"]
    ece = figure(own, "calibration", "ece", "annotation")
    assert ece["value"] < 0.07
    assert figure(own, "calibration", "accuracy", "annotation")["value"] == pytest.approx(
        right["value"], abs=0.02
    )
    assert set(own["calibration_curves"]["curve"]) == {
        "reliability", "reliability_tempered", "reliability_isotonic", "isotonic", "risk_coverage",
    }  # fmt: skip
    free = tables["labels"].query("asked == 'note' and predictor == 'annotation'")
    assert free.query("metric == 'accuracy'")["value"].iloc[0] == 0
    assert set(tables["calibration"]["asked"]) == {"phase"}
    notes = json.loads((tmp_path / "evaluation" / "notes.json").read_text())
    assert any(note.startswith("phase: ") for note in notes["labels"])
    arguments = dict(vars(run))
    command = [f"--{name.replace('_', '-')}={path}" for name, path in arguments.items() if path]
    options = ["--measured-labels", '{"phase": "phase"}', "--evaluation-cells=60"]
    done = CliRunner().invoke(main, [*command, *options, f"--outdir={tmp_path / 'cli'}"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cli/evaluation/labels.tsv").exists()
