"""A run's files, read for the report."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.common.files import read_json
from c2sflow.common.opened import open_h5, open_result
from c2sflow.data.obs.figure_cells import FigureCells, figure_cells, needed_columns
from c2sflow.data.own_columns import own_name
from c2sflow.data.result_tables import read_evaluation, read_table
from c2sflow.data.stored import read_element
from c2sflow.inputs.labels import CELL, CELL_TYPE, labels_from_text
from c2sflow.report.colours import Colourings, read_colourings
from c2sflow.report.gene_tables import read_changes
from c2sflow.report.map import CellMap, read_map
from c2sflow.report.predicted_map import PredictedMap, read_predicted_map
from c2sflow.sentences.no_ops import predicted_only, with_no_op
from c2sflow.sentences.summaries import SentenceFiles

# Columns of text in tables of perturbations.
TEXT = (
    "condition", "perturbation", "dose", "time", "sample", "gene", "gene_set", "context", "versus",
    "c2s_cell_type", "c2s_tissue", "organism",
)  # fmt: skip
PAIR_TEXT = ("label", "query_gene", "key_gene")  # of gene pairs
TYPES = "c2s_cell_type"
# Parameters that name a column of obs that the run is about.
NAMED = ("perturbation_column", "measured_column", "replicate_column", "split_column")
CONDITION = own_name("condition")  # in obs of the predicted cells
OBS = ("sample", "n_genes_by_counts", "c2s_n_genes")  # of every cell
GENES = ("genes", "symbols", "gene_ids", "repeated")  # of sentences.json: long, and not used


@dataclass
class Run:
    """All that the report is made of.

    Parameters
    ----------
    qc, sentences
        Content of qc.json and sentences.json of each sample.
    embed, annotate, perturb
        Content of embed.json, annotate.json and perturb.json of each shard.
    generate, generated
        Content of generate.json of each task; figures of each organism and cell type.
    provenance
        ``uns["c2s"]``.
    obs
        Of every cell: sample, n_genes_by_counts and c2s_n_genes (genes in its sentence).
    cells
        The cells' map.
    colourings
        What it may be coloured by.
    predicted_map
        Predicted cells among those of the run, if there are any.
    types
        With annotations, for every cell: predicted (cell type), probability and, with a label
        column, label; text, or None where there is none; and trained, whether the model was trained
        on it.
    labels
        The same of every other label that was asked for, by its name; of these `label` is the
        truth, if the column that holds it is known.
    measured_labels
        The column of obs with the truth, by the label's name.
    training_known
        Whether it is known which cells the model was trained on.
    label_column
        Column of obs with labels.
    word_counts
        For each condition and sample, the sums of valid, repeated and invalid genes.
    summary
        Figures of each condition and sample.
    pairs
        The strongest gene pairs of each label.
    effects, screen, notes
        Tables of EFFECTS, and notes on them.
    evaluation, evaluation_notes
        The same of EVALUATE, by name.
    changes
        Of its genes.tsv what is drawn; None without measured cells.
    merge
        Content of merge.json: what MERGE warns of.
    groups
        Content of groups.json: counts of the groups of cells that share a prompt, if there are any.
    training, losses
        Content of finetune.json and loss.tsv, if this run trained the model.
    """

    qc: list[dict]
    sentences: list[dict]
    embed: list[dict]
    annotate: list[dict]
    perturb: list[dict]
    provenance: dict
    obs: pd.DataFrame
    cells: CellMap
    colourings: Colourings = field(default_factory=Colourings)
    predicted_map: PredictedMap | None = None
    types: pd.DataFrame | None = None
    labels: dict[str, pd.DataFrame] = field(default_factory=dict)
    measured_labels: dict[str, str] = field(default_factory=dict)
    training_known: bool = False
    label_column: str | None = None
    word_counts: pd.DataFrame | None = None
    summary: pd.DataFrame | None = None
    pairs: pd.DataFrame | None = None
    effects: pd.DataFrame | None = None
    screen: pd.DataFrame | None = None
    notes: dict[str, list[str]] = field(default_factory=dict)
    evaluation: dict[str, pd.DataFrame] = field(default_factory=dict)
    evaluation_notes: dict[str, list[str]] = field(default_factory=dict)
    changes: pd.DataFrame | None = None
    generate: list[dict] = field(default_factory=list)
    merge: list[dict] = field(default_factory=list)
    generated: pd.DataFrame | None = None
    groups: dict | None = None
    training: dict | None = None
    losses: pd.DataFrame | None = None
    cells_name: str = "c2s.h5ad"

    @property
    def records(self) -> list[dict]:
        """The records of the steps on samples and shards, with their warnings."""
        trained = [{**self.training, "sample": "fine-tuning"}] if self.training else []
        shards = [*self.embed, *self.annotate, *self.perturb, *self.generate]
        of_groups = [self.groups] if self.groups else []
        return [*self.qc, *self._of_model, *trained, *shards, *of_groups, *self.merge]

    @property
    def _of_model(self) -> list[dict]:
        """What MODEL warns of."""
        warnings = self.provenance.get("model", {}).get("warnings", ())
        return [{"sample": "model", "warnings": list(map(str, warnings))}]

    @property
    def counted_warnings(self) -> list[tuple[str, int, str]]:
        """Each warning once per sample: its numbers (0 without one) added up over the shards."""
        counts: Counter[tuple[str, str]] = Counter()
        for record in self.records:
            for text in record["warnings"]:
                _, number, rest = re.split(r"^(\d*) ?", text, maxsplit=1)
                counts[record["sample"], rest] += int(number or 0)
        return [(sample, number, text) for (sample, text), number in counts.items()]


def constrained(run: Run) -> bool:
    """Whether decoding leaves nothing but new genes, so that no word of an answer can be wrong."""
    given = run.provenance["parameters"]
    return bool(given.get("valid_genes_only") and given.get("no_repeats"))


def read_run(
    h5ad: Path,
    qc_dir: Path,
    sentences_dir: Path,
    stats_dir: Path,
    perturbed: Path | None = None,
    perturbation_summary: Path | None = None,
    attention_pairs: Path | None = None,
    effects_dir: Path | None = None,
    evaluation_dir: Path | None = None,
    training_dir: Path | None = None,
    label_column: str | None = None,
    training_cells: str | None = None,
    generated_summary: Path | None = None,
) -> Run:
    """Read what the report shows; of X only the cells that the map shows.

    Parameters
    ----------
    h5ad, perturbed, perturbation_summary
        Results of MERGE; the latter two if there are predictions.
    qc_dir, sentences_dir, stats_dir
        <id>.qc.json; <id>.sentences.json; <shard>.embed.json, annotate.json, perturb.json and
        generate.json; merge.json; groups.json.
    attention_pairs
        Table of PAIRS, if there are attention maps.
    effects_dir
        Tables and effects.json of EFFECTS, if there are predictions.
    evaluation_dir
        Tables and notes.json of EVALUATE, if it ran.
    training_dir
        finetune.json and loss.tsv of FINETUNE, if it ran.
    label_column
        Column of obs to colour the map of the cells by, besides the sample.
    training_cells
        See `c2sflow.data.obs.figure_cells.figure_cells`.
    generated_summary
        Table of MERGE, if cells were generated.
    """
    columns = list(dict.fromkeys([*filter(None, [label_column]), "sample"]))
    with open_result(h5ad) as file:
        provenance = read_element(file["uns/c2s"])
        obs = pd.DataFrame({name: pd.Series(read_elem(file["obs"][name])) for name in OBS})
        usable = _usable(file, training_cells, label_column)
        cells = read_map(file, columns, [TYPES], usable.held_out)
        given = [provenance["parameters"].get(name) for name in NAMED]
        named = [*filter(None, [label_column, TYPES, *given])]
        asked = labels_from_text(provenance["parameters"].get("labels"))
        named += [one.column for one in asked if one.level == CELL]
        colourings = read_colourings(file, cells.rows, named, label_column)
        types = _predicted(file, TYPES, usable, label_column)
        measured_labels = {one.name: one.measured for one in asked if one.measured}
        labels = {
            one.name: _predicted(
                file, one.column, _usable(file, training_cells, one.measured), one.measured
            )
            for one in asked
            if one.level == CELL and one.name != CELL_TYPE
        }
        measured = provenance["parameters"]
        measured = measured.get("measured_column") or measured.get("perturbation_column")
        together = None
        if perturbed:
            together = read_predicted_map(
                file, perturbed, usable.held_out, measured or None, label_column
            )
    annotate = read_all(stats_dir, "*.annotate.json")
    # An earlier run may have left its own in the input.
    asks_type = any(CELL_TYPE in record["labels"] for record in annotate)
    return Run(
        qc=read_all(qc_dir, "*.qc.json"),
        sentences=read_sentences(sentences_dir),
        embed=read_all(stats_dir, "*.embed.json"),
        annotate=annotate,
        perturb=read_all(stats_dir, "*.perturb.json"),
        provenance=provenance,
        obs=obs,
        cells=cells,
        colourings=colourings,
        predicted_map=together,
        training_known=usable.known,
        types=types if asks_type else None,
        labels={name: table for name, table in labels.items() if table is not None},
        measured_labels=measured_labels,
        label_column=label_column,
        word_counts=_word_counts(perturbed) if perturbed else None,
        summary=read_table(perturbation_summary, TEXT) if perturbation_summary else None,
        pairs=read_table(attention_pairs, PAIR_TEXT) if attention_pairs else None,
        **(_read_effects(effects_dir) if effects_dir else {}),
        evaluation=read_evaluation(evaluation_dir) if evaluation_dir else {},
        changes=read_changes(evaluation_dir / "genes.tsv") if evaluation_dir else None,
        evaluation_notes=_read_notes(evaluation_dir) if evaluation_dir else {},
        generate=read_all(stats_dir, "*.generate.json"),
        merge=read_all(stats_dir, "merge.json"),
        groups=next(iter(read_all(stats_dir, "groups.json")), None),
        generated=read_table(generated_summary, TEXT) if generated_summary else None,
        training=read_json(training_dir / "finetune.json") if training_dir else None,
        losses=read_table(training_dir / "loss.tsv") if training_dir else None,
        cells_name=h5ad.name,
    )


def read_sentences(folder: Path) -> list[dict]:
    """sentences.json of each sample but the names of its genes, which would fill the memory."""
    return [
        {key: value for key, value in summary.items() if key not in GENES}
        for summary in SentenceFiles.find(folder).values()
    ]


def _usable(file: h5py.File, training_cells: str | None, label_column: str | None) -> FigureCells:
    """Which cells of c2s.h5ad figures may use; a label column that is missing is read_map's."""
    obs = file["obs"]
    label_column = label_column if label_column and label_column in obs else None
    names = [name for name in needed_columns(training_cells, label_column) if name in obs]
    index = pd.RangeIndex(obs[obs.attrs["_index"]].shape[0])
    table = pd.DataFrame({name: pd.Series(read_elem(obs[name])) for name in names}, index=index)
    return figure_cells(table, training_cells, label_column)


def _predicted(
    file: h5py.File, column: str, usable: FigureCells, label_column: str | None
) -> pd.DataFrame | None:
    """A predicted label and the truth of every cell, and whether the model was trained on it."""
    obs = file["obs"]
    if column not in obs:
        return None
    columns = {"predicted": column, "probability": f"{column}_probability"}
    table = pd.DataFrame({new: pd.Series(read_elem(obs[name])) for new, name in columns.items()})
    if f"{column}_spread" in obs:
        table["spread"] = np.asarray(read_elem(obs[f"{column}_spread"]))
    texts = table["predicted"].astype(object)
    table["predicted"] = texts.astype(str).where(texts.notna(), None)
    if label_column:
        table["label"] = usable.labels
    return table.assign(trained=usable.trained)


def read_all(folder: Path, pattern: str) -> list[dict]:
    """Content of the JSON files of a folder, by name."""
    return [read_json(path) for path in sorted(folder.glob(pattern))]


def _read_notes(folder: Path) -> dict:
    """Notes of EVALUATE, and of BENCHMARK if it was part of the run."""
    more = folder / "benchmark_notes.json"
    return read_json(folder / "notes.json") | (read_json(more) if more.exists() else {})


def _read_effects(folder: Path) -> dict:
    screen = folder / "screen.tsv"
    return {
        "effects": read_table(folder / "perturbation_effects.tsv", TEXT),
        "screen": read_table(screen, TEXT) if screen.exists() else None,
        "notes": read_json(folder / "effects.json"),
    }


def _word_counts(perturbed: Path) -> pd.DataFrame:
    """Sums of valid, repeated and invalid genes by condition and sample."""
    sums = {
        "valid": "c2s_n_predicted_genes",
        "repeated": "c2s_duplicate_genes",
        "invalid": "c2s_invalid_genes",
    }
    with open_h5(perturbed) as file:
        names = with_no_op((CONDITION, "sample", *sums.values()), file["obs"])
        obs = pd.DataFrame({name: read_elem(file["obs"][name]) for name in names})
    obs = obs.rename(columns={CONDITION: "condition"})
    groups = predicted_only(obs).groupby(["condition", "sample"], observed=True)
    return groups[list(sums.values())].sum().set_axis(list(sums), axis=1)
