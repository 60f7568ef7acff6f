"""A run's generated texts against their references: what TEXT_SCORES does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from c2sflow.common.opened import reading
from c2sflow.common.parquet import column_names, read_parquet
from c2sflow.data.obs.figure_cells import figure_cells, needed_columns
from c2sflow.data.obs.labels import is_perturbed
from c2sflow.data.result_tables import write_table
from c2sflow.data.sampling import cell_draws
from c2sflow.evaluation.figures import mean_interval
from c2sflow.evaluation.text_scores import Encoder, bert_scores, load_encoder
from c2sflow.sentences.no_ops import predicted_only, with_no_op
from c2sflow.sentences.shards import obs_frame

LOGGER = logging.getLogger(__name__)
MOST_PAIRS = 200  # predicted sentences scored of each condition
GENES = 100  # of each sentence: what an encoder of 512 tokens reads


@dataclass
class Pairs:
    """Texts to compare.

    Attributes
    ----------
    task
        "cell type" or "perturbation".
    group
        Label or condition; "all" for all cells.
    generated
        What is scored: "said" and its baseline "commonest label"; "predicted", its baseline
        "control" (nothing happens) and its ceiling "another measured cell".
    texts
        generated and reference. Rows of one index are no independent ones: answers to one cell, or
        comparisons with one measured cell.
    """

    task: str
    group: str
    generated: str
    texts: pd.DataFrame


def write_text_scores(
    shards_dir: Path,
    encoder_dir: Path,
    outdir: Path,
    annotations_dir: Path | None = None,
    perturbed_dir: Path | None = None,
    label_column: str | None = None,
    measured_column: str | None = None,
    training_cells: str | None = None,
    device: str = "auto",
    seed: int = 42,
) -> None:
    """Write ``text_scores.tsv``: BERTScore by task, group and what is compared.

    Parameters
    ----------
    shards_dir, annotations_dir, perturbed_dir
        <shard>.parquet, <shard>.annotation.parquet, <shard>.perturbed.parquet; the latter two if
        there are any.
    encoder_dir
        See `c2sflow.evaluation.text_scores.load_encoder`.
    label_column
        Column of obs with the true cell types.
    measured_column
        Column of obs that names the perturbation that a cell was measured under.
    training_cells
        See `c2sflow.data.obs.figure_cells.figure_cells`.
    """
    pairs: list[Pairs] = []
    if annotations_dir and label_column:
        pairs += label_pairs(
            predicted_labels(shards_dir, annotations_dir, label_column, training_cells)
        )
    if perturbed_dir and measured_column:
        pairs += sentence_pairs(shards_dir, perturbed_dir, measured_column, training_cells, seed)
    if not pairs:
        LOGGER.warning("--text_encoder: nothing was generated that has a reference")
    encoder = load_encoder(encoder_dir, device)
    table = score_table(encoder, pairs)
    write_table(table, outdir / "text_scores.tsv")
    LOGGER.info("text_scores.tsv: %d comparisons", len(table))


def score_table(encoder: Encoder, pairs: list[Pairs]) -> pd.DataFrame:
    """Mean scores of each comparison.

    Returns
    -------
    task, group, generated, n, precision, recall, f1 (means over the texts) and f1_ci_low,
    f1_ci_high (95 %, see `score_interval`).
    """
    every = pd.concat([pair.texts for pair in pairs] or [pd.DataFrame({"generated": []})])
    scores = bert_scores(encoder, every["generated"], every.get("reference", []), progress=True)
    rows, start = [], 0
    for pair in pairs:
        own = scores.iloc[start : (start := start + len(pair.texts))]
        own = own.set_axis(pair.texts.index).dropna()
        low, high = score_interval(own["f1"])
        rows.append(
            {
                "task": pair.task, "group": pair.group, "generated": pair.generated, "n": len(own),
                **own.mean().to_dict(), "f1_ci_low": low, "f1_ci_high": high,
            }
        )  # fmt: skip
    columns = ["task", "group", "generated", "n", "precision", "recall", "f1"]
    return pd.DataFrame(rows, columns=[*columns, "f1_ci_low", "f1_ci_high"])


def score_interval(scores: pd.Series) -> tuple[float, float]:
    """95 % interval of the mean, by Student's t over the index: scores of one cell count together.

    None of fewer than three cells, or where all scores are the same.
    """
    scores = scores.astype(float).round(6)  # as they are written: what encoders add by chance
    off = (scores - scores.mean()).groupby(level=0).sum()
    return mean_interval((scores.mean() + off * len(off) / len(scores)).to_numpy(), (-1, 1))


# ------------------------------------------------------------------ cell types


def predicted_labels(
    shards_dir: Path, annotations_dir: Path, column: str, training_cells: str | None = None
) -> pd.DataFrame:
    """generated and reference of every cell that figures may use and that has both."""
    cells = _cells(shards_dir, needed_columns(training_cells, column))
    paths = sorted(annotations_dir.glob("*.annotation.parquet"))
    if any("c2s_cell_type" not in column_names(path) for path in paths):  # other labels only
        return pd.DataFrame({"generated": [], "reference": []}, dtype=str)
    tables = {path: read_parquet(path, ["c2s_cell_type"]).to_pandas() for path in paths}
    predicted = {
        path.name.removesuffix(".annotation.parquet"): table["c2s_cell_type"]
        for path, table in tables.items()
    }
    labels = figure_cells(cells, training_cells, column).judged_labels
    frames = [
        pd.DataFrame(
            {"generated": predicted[shard].to_numpy(dtype=object), "reference": labels[rows]},
            index=cells["cell_id"].iloc[rows],
        )
        for shard, rows in cells.groupby("shard", sort=False).indices.items()
        if shard in predicted
    ]
    return pd.concat(frames).dropna().astype(str)


def label_pairs(labels: pd.DataFrame) -> list[Pairs]:
    """Predicted cell types against the cells' labels, over all cells and by label."""
    if labels.empty:
        return []
    labels = labels.reset_index(drop=True)  # one name may be of cells of two samples
    common = labels.assign(generated=labels["reference"].mode()[0])
    pairs = [
        Pairs("cell type", "all", "said", labels),
        Pairs("cell type", "all", "commonest label", common),
    ]
    return pairs + [
        Pairs("cell type", str(name), "said", own) for name, own in labels.groupby("reference")
    ]


# ------------------------------------------------------------------ sentences


def sentence_pairs(
    shards_dir: Path, perturbed_dir: Path, column: str, training_cells: str | None = None,
    seed: int = 42,
) -> list[Pairs]:  # fmt: skip
    """Predicted sentences against those of measured cells, and what to compare that with.

    No predicted cell has a measured twin: each is compared with a cell that was measured under the
    same perturbation, drawn by a hash of seed and cell. For comparison: its own control
    cell's sentence (nothing happens: what a prediction must beat) and another measured cell's (as
    alike as real cells are). Of all sentences the first genes are compared, as many as the shortest
    of them has. Neither side is of training cells.
    """
    cells = _cells(shards_dir, needed_columns(training_cells, column))
    usable = figure_cells(cells, training_cells, column)
    judged = cells["n_genes"].gt(0).to_numpy() & usable.judged
    measured = cells[judged].reset_index(drop=True)
    labels = pd.Series(usable.labels[judged], dtype="string")
    labels = labels.where(is_perturbed(measured[column]).to_numpy())
    answers = _answers(perturbed_dir, cells[usable.held_out])
    pairs = []
    for condition, own_answers in answers.groupby("condition", sort=True):
        names = [condition, str(own_answers["perturbation"].iloc[0])]
        found = next((labels == name for name in names if (labels == name).any()), None)
        if found is None:
            continue
        own = measured[found.fillna(False)]
        some = _drawn(own_answers, MOST_PAIRS, seed, condition)
        real = _drawn(own, 2 * len(some), seed, condition)
        place = np.arange(len(some))
        wanted = {
            "reference": real.iloc[place % len(real)],
            # Half of them further on: never the reference itself.
            "another measured cell": real.iloc[(place + max(1, len(real) // 2)) % len(real)],
            "control": some[["sample", "source_cell"]].rename(columns={"source_cell": "cell_id"}),
        }
        texts = {name: _sentences(shards_dir, cells) for name, cells in wanted.items()}
        texts["predicted"] = some["c2s_sentence"].tolist()
        texts = _cut(pd.DataFrame(texts))
        sources = some.groupby(["sample", "source_cell"], observed=True).ngroup().to_numpy()
        few_real = len(real) < sources.max() + 1  # each is the reference of several answers
        alike = {name: place % len(real) if few_real else sources for name in texts}
        alike["another measured cell"] = place % max(1, len(real) // 2)  # the same two cells
        for name in ("predicted", "control", "another measured cell"):
            both = texts[[name, "reference"]].set_axis(["generated", "reference"], axis=1)
            both.index = alike[name]
            if name == "another measured cell" and len(real) < 2:
                continue
            pairs.append(Pairs("perturbation", str(condition), name, both))
    return pairs


def _answers(folder: Path, sources: pd.DataFrame) -> pd.DataFrame:
    """Answers that hold genes, to these cells only."""
    columns = ["source_cell", "sample", "condition", "perturbation", "c2s_sentence"]
    paths = sorted(folder.glob("*.perturbed.parquet"))
    found = pd.concat(
        read_parquet(path, with_no_op(columns, column_names(path))).to_pandas() for path in paths
    )
    found = predicted_only(found)
    found = found.assign(cell_id=found["source_cell"])[found["c2s_sentence"] != ""]
    known = pd.MultiIndex.from_frame(sources[["sample", "cell_id"]].astype(str))
    own = pd.MultiIndex.from_frame(found[["sample", "cell_id"]].astype(str)).isin(known)
    return found[own].reset_index(drop=True)


def _cells(folder: Path, columns: list[str]) -> pd.DataFrame:
    """shard, cell_id, sample, n_genes and these columns of every cell of the run."""
    columns = list(dict.fromkeys(["cell_id", "sample", "n_genes", *columns]))
    frames = []
    for path in sorted(folder.glob("*.parquet")):
        with reading(path):  # a sample may lack a column
            table = pq.read_table(path, columns=columns)
        frames.append(obs_frame(table).assign(shard=path.stem))
    return pd.concat(frames, ignore_index=True)


def _drawn(cells: pd.DataFrame, most: int, seed: int, condition: str) -> pd.DataFrame:
    """At most so many cells, in an order that a hash of seed and cell decides."""
    draws = cell_draws(cells[["sample", "cell_id"]].astype(str), seed, "text", str(condition))
    return cells.iloc[sorted(range(len(cells)), key=draws.__getitem__)[:most]]


def _sentences(folder: Path, cells: pd.DataFrame) -> list[str]:
    """The sentences of these cells, in order."""
    wanted = list(zip(cells["sample"].astype(str), cells["cell_id"].astype(str), strict=True))
    chosen = set(wanted)
    found = {
        (sample, cell): text
        for shard in _tables(folder)
        for cell, sample, text in shard
        if (sample, cell) in chosen
    }
    return [found[cell] for cell in wanted]


def _tables(folder: Path) -> Iterator[Iterator[tuple[str, str, str]]]:
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=["cell_id", "sample", "cell_sentence"])
        columns = (table[name].cast("string").to_pylist() for name in table.column_names)
        yield zip(*columns, strict=True)


def _cut(texts: pd.DataFrame) -> pd.DataFrame:
    """The first genes of each row's sentences, as many of the one as of the other."""
    words = texts.map(lambda text: text.split(" ")[:GENES])
    shortest = words.map(len).min(axis=1)
    return words.apply(
        lambda column: [" ".join(genes[:n]) for genes, n in zip(column, shortest, strict=True)]
    )
