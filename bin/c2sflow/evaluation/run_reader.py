"""The cells of a run, read from the files of its steps: a few rows at a time, in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
from anndata.io import read_elem, sparse_dataset
from scipy import sparse

from c2sflow.common.files import read_json_list
from c2sflow.common.opened import open_h5
from c2sflow.common.parquet import column_names, read_parquet
from c2sflow.data.concat import concat_obs
from c2sflow.data.genes.alignment import GeneAlignment, GeneTable, word_columns
from c2sflow.data.label_tables import SCORES, candidates_of
from c2sflow.data.own_columns import GENERATED
from c2sflow.data.qc.filtered_genes import PLACE, FilteredColumns, filtered_table, with_filtered
from c2sflow.generation.plan import MISSING, organism_columns
from c2sflow.sentences.no_ops import COMPARED_WITH, NO_OP, predicted_only, with_no_op
from c2sflow.sentences.rank_fit import RankFit
from c2sflow.sentences.summaries import SentenceFiles

Found = TypeVar("Found")
KEPT_WORDS = 16  # samples whose words are held


@dataclass
class RunFiles:
    """Where the files of the steps are.

    Attributes
    ----------
    samples
        samples.json of VALIDATE: the samples and their order.
    qc_dir, sentences_dir, shards_dir, embeddings_dir
        <id>.h5ad; <id>.sentences.json; <shard>.parquet; <shard>.embedding.h5ad.
    annotations_dir, perturbed_dir, generated_dir
        <shard>.annotation.parquet, <shard>.perturbed.parquet, <task>.generated.parquet; None
        without.
    """

    samples: Path
    qc_dir: Path
    sentences_dir: Path
    shards_dir: Path
    embeddings_dir: Path
    annotations_dir: Path | None = None
    perturbed_dir: Path | None = None
    generated_dir: Path | None = None


@dataclass
class _Part:
    """A sample or shard: its name, and which rows of the run it holds."""

    name: str
    sample: str
    first: int
    n_cells: int


class RunCells:
    """Every cell that passed QC, in the order of the run.

    Memory holds obs and a number for each gene of each sample; one file is open at a time.

    Attributes
    ----------
    obs
        A row for each cell: every column of obs, and cell_id and sample as text.
    genes
        Names of the genes of all samples, from `c2sflow.data.genes.alignment`: the columns of
        `expression`.
    fit
        slope and intercept of the rank fit of the whole run.

    Raises
    ------
    UserError
        If a file is missing or broken.
    """

    def __init__(self, files: RunFiles):
        self._files = files
        self._sheet = read_json_list(files.samples)
        ids = [sample["id"] for sample in self._sheet]
        self._summaries = SentenceFiles(files.sentences_dir, ids)
        self._alignment, fit = GeneAlignment(), RankFit()
        self._samples: list[_Part] = []
        self._shards: dict[str, _Part] = {}
        frames, start = [], 0
        self._filtered = FilteredColumns()
        for name, summary in self._summaries.items():
            kept = GeneTable.from_summary(summary)
            self._alignment.add(kept)
            self._filtered.add(kept, _read(self._h5ad(name), filtered_table))
            fit += RankFit(*summary["rank_fit_sums"])
            frames.append(_read(self._h5ad(name), lambda file: read_elem(file["obs"])))
            self._samples.append(_Part(name, name, start, len(frames[-1])))
            for shard in summary["shards"]:
                part = _Part(shard["name"], name, start, shard["n_cells"])
                self._shards[shard["name"]] = part
                start += shard["n_cells"]
        self.fit, self.genes = fit.solve(), self._alignment.names
        self._columns = {
            name: self._alignment.columns(GeneTable.from_summary(summary))
            for name, summary in self._summaries.items()
        }
        # Of some samples only: they hold the text of each word.
        self._words = lru_cache(KEPT_WORDS)(self._words_of)
        self._filtered_columns = lru_cache(KEPT_WORDS)(self._columns_of_filtered)
        names = np.concatenate([frame.index.to_numpy(dtype=object) for frame in frames])
        obs = concat_obs(frames).reset_index(drop=True)
        self.obs = obs.assign(cell_id=names.astype(str), sample=obs["sample"].astype(str))

    def _h5ad(self, sample: str) -> Path:
        return self._files.qc_dir / f"{sample}.h5ad"

    def _words_of(self, sample: str) -> dict[str, int]:
        """Column of each word of a sample."""
        return word_columns(self._summaries[sample], self._alignment)

    def expression(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Log-normalised expression (log10) as in c2s.h5ad, CSR float32 (n_rows, n_genes)."""

        def read(part: _Part, own: np.ndarray) -> sparse.csr_matrix:
            return _read(self._h5ad(part.sample), lambda file: self._rows(file, part.sample, own))

        blocks = self._gather(rows, self._samples, read)
        return sparse.vstack([sparse.csr_matrix((0, len(self.genes)), dtype=np.float32), *blocks])[
            _places(rows)
        ]

    def _rows(self, file: h5py.File, sample: str, own: np.ndarray) -> sparse.csr_matrix:
        """Expression of some cells of a sample in the columns of all samples."""
        block = sparse.csr_matrix(sparse_dataset(file["X"])[own], dtype=np.float32)
        columns = self._columns[sample][block.indices]
        shape = (len(own), len(self.genes))
        kept = sparse.csr_matrix((block.data, columns, block.indptr), shape)
        if PLACE not in file:
            return kept
        beside = sparse.csr_matrix(sparse_dataset(file[f"{PLACE}/X"])[own], dtype=np.float32)
        return with_filtered(kept, beside, self._filtered_columns(sample))

    def _columns_of_filtered(self, sample: str) -> np.ndarray:
        """Column of each gene that QC filtered from a sample; -1 without."""
        kept = GeneTable.from_summary(self._summaries[sample])
        filtered = _read(self._h5ad(sample), filtered_table)
        return self._filtered.columns(kept, filtered, self._alignment)

    def sample_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Sample of each cell, counted from 0; int64 (n_rows,)."""
        return np.searchsorted([part.first for part in self._samples], rows, side="right") - 1

    def genes_of_samples(self) -> np.ndarray:
        """Which genes each sample has: bool (n_samples, n_genes); in `expression` others are 0."""
        has = np.zeros((len(self._samples), len(self.genes)), dtype=bool)
        for row, part in zip(has, self._samples, strict=True):
            row[self._columns[part.name]] = True
            filtered = self._filtered_columns(part.name)
            row[filtered[filtered >= 0]] = True
        return has

    def obsm(self, key: str, rows: np.ndarray, of_input: bool = False) -> np.ndarray:
        """X_c2s of this run, or an array of the input's obsm: float32 (n_rows, width).

        `of_input`: an X_c2s is one that an earlier run gave to the input.
        """
        ours = key == "X_c2s" and not of_input
        if ours:
            folder = self._files.embeddings_dir

            def path(part: _Part) -> Path:
                return folder / f"{part.name}.embedding.h5ad"
        else:

            def path(part: _Part) -> Path:
                return self._h5ad(part.sample)

        def read(part: _Part, own: np.ndarray) -> np.ndarray:
            return _read(path(part), lambda file: file[f"obsm/{key}"][own].astype(np.float32))

        parts = list(self._shards.values()) if ours else self._samples
        blocks = self._gather(rows, parts, read)
        return np.concatenate(blocks)[_places(rows)] if blocks else np.empty((0, 0), np.float32)

    def sentences(self, rows: np.ndarray) -> list[np.ndarray]:
        """The cells' sentences: columns of their genes, highest first."""

        def read(part: _Part, own: np.ndarray) -> list[np.ndarray]:
            path = self._files.shards_dir / f"{part.name}.parquet"
            texts = _read_parquet(path, ["cell_sentence"])["cell_sentence"].take(own).to_pylist()
            words = self._words(part.sample)
            return [sentence_columns(text, words) for text in texts]

        blocks = self._gather(rows, list(self._shards.values()), read)
        found = [genes for block in blocks for genes in block]
        return [found[place] for place in _places(rows)]

    def _annotations(self, column: str) -> Path | None:
        """Folder of the annotations, if they have this column."""
        folder = self._files.annotations_dir
        if folder is None or not self._shards:
            return None
        first = folder / f"{next(iter(self._shards))}.annotation.parquet"
        return folder if column in column_names(first) else None

    def predicted_labels(self, rows: np.ndarray, column: str) -> np.ndarray | None:
        """A predicted label, str (n_rows,), "" for none; None if it was not asked for."""
        folder = self._annotations(column)
        if folder is None:
            return None

        def read(part: _Part, own: np.ndarray) -> np.ndarray:
            table = _read_parquet(folder / f"{part.name}.annotation.parquet", [column])
            labels = table[column].to_pandas().astype(object)
            return labels.where(labels.notna(), "").to_numpy(dtype=object)[own]

        blocks = self._gather(rows, list(self._shards.values()), read)
        return np.concatenate([np.empty(0, dtype=object), *blocks])[_places(rows)]

    def label_scores(self, rows: np.ndarray, column: str) -> tuple[list[str], np.ndarray] | None:
        """Candidates of a label, and their log-probabilities for each cell.

        Returns
        -------
        float64 (n_rows, n_candidates), NaN for a cell without genes; None of a label that was not
        asked for, or answered freely.
        """
        scores = f"{column}{SCORES}"
        folder = self._annotations(scores)
        if folder is None:
            return None

        def read(part: _Part, own: np.ndarray) -> np.ndarray:
            table = _read_parquet(folder / f"{part.name}.annotation.parquet", [scores])
            return np.stack(table[scores].to_pandas().to_numpy()[own]).astype(np.float64)

        first = folder / f"{next(iter(self._shards))}.annotation.parquet"
        candidates = candidates_of(first)[column]
        blocks = self._gather(rows, list(self._shards.values()), read)
        empty = np.empty((0, len(candidates)))
        return candidates, np.concatenate([empty, *blocks])[_places(rows)]

    def _gather(
        self, rows: np.ndarray, parts: Sequence[_Part], read: Callable[[_Part, np.ndarray], Found]
    ) -> list[Found]:
        """What `read` gives of each part that holds some of the rows: ascending, each once."""
        ordered = np.unique(rows)
        blocks = []
        for part in parts:
            first, last = np.searchsorted(ordered, [part.first, part.first + part.n_cells])
            if first < last:
                blocks.append(read(part, ordered[first:last] - part.first))
        return blocks

    def positions(self, samples: Sequence[str], cell_ids: Sequence[str]) -> np.ndarray:
        """Row of each cell."""
        index = pd.MultiIndex.from_frame(self.obs[["sample", "cell_id"]])
        return index.get_indexer(pd.MultiIndex.from_arrays([samples, cell_ids]))

    def answers(self) -> pd.DataFrame:
        """What is known of each prediction but its sentence and embedding; of no no-op.

        Returns
        -------
        condition, perturbation, sample, source_cell, the counts of c2sflow.results.predictions;
        shard, row (in its file), source (row of the source cell in `obs`), and of the answer to a
        no-op that it is compared with no_op_row (in the same file) and no_op, its condition; -1 and
        None without. Empty without predictions.
        """
        columns = ["source_cell", "condition", "perturbation", "sample", "c2s_n_predicted_genes"]
        columns += ["c2s_invalid_genes", "c2s_duplicate_genes", "c2s_finish_reason"]
        frames = []
        for name, path in self._predicted().items():
            frame = _read_parquet(path, columns, no_ops=True).to_pandas()
            frame = frame.assign(shard=name, row=np.arange(len(frame)), **_no_ops(frame))
            frames.append(predicted_only(frame))
        if not frames:
            return pd.DataFrame(columns=[*columns, "shard", "row", "no_op_row", "no_op", "source"])
        found = pd.concat(frames, ignore_index=True)
        names = found["sample"].astype(str), found["source_cell"].astype(str)
        return found.assign(source=self.positions(*names))

    def no_op_sentences(self, answers: pd.DataFrame) -> list[np.ndarray]:
        """Sentences that these rows of `answers` are compared with; all must have one."""
        return self.answer_sentences(answers.assign(row=answers["no_op_row"]))[0]

    def answer_sentences(self, answers: pd.DataFrame) -> tuple[list[np.ndarray], np.ndarray]:
        """Sentences (columns of the genes) and X_c2s of these rows of `answers`, in order."""
        genes: list = [None] * len(answers)
        vectors: np.ndarray | None = None
        paths = self._predicted()
        places = pd.Series(range(len(answers)), index=answers.index)
        for name, rows in answers.groupby("shard"):
            table = _read_parquet(paths[name], ["c2s_sentence", "X_c2s"]).take(
                rows["row"].to_numpy()
            )
            width = table.schema.field("X_c2s").type.list_size
            block = table["X_c2s"].combine_chunks().flatten().to_numpy().reshape(-1, width)
            if vectors is None:
                vectors = np.empty((len(answers), width), dtype=np.float32)
            own, words = places[rows.index].to_numpy(), self._words(self._shards[name].sample)
            vectors[own] = block
            for place, text in zip(own, table["c2s_sentence"].to_pylist(), strict=True):
                genes[place] = sentence_columns(text, words)
        return genes, np.empty((0, 0), np.float32) if vectors is None else vectors

    def generated(self) -> pd.DataFrame:
        """What each generated cell is, but its sentence and embedding.

        Returns
        -------
        organism, c2s_cell_type or c2s_tissue, number; file and row (in it). Cells that did not come
        back are none. Empty without generated cells.
        """
        folder, columns = self._files.generated_dir, ["organism", "number"]
        some = [*GENERATED, "c2s_finish_reason"]
        frames = [pd.DataFrame(columns=[*columns, GENERATED[0], "file", "row"])]
        for path in sorted(folder.glob("*.generated.parquet")) if folder else ():
            there = [name for name in some if name in column_names(path)]
            frame = _read_parquet(path, [*columns, *there]).to_pandas()
            frame = frame.assign(file=path.name, row=np.arange(len(frame)))
            if "c2s_finish_reason" in frame:
                frame = frame[frame.pop("c2s_finish_reason") != MISSING]
            frames.append(frame)
        return pd.concat(frames[1:] or frames, ignore_index=True)

    def generated_sentences(self, generated: pd.DataFrame) -> tuple[list[np.ndarray], np.ndarray]:
        """Sentences (columns of the genes) and X_c2s of these rows of `generated`, in order."""
        words = {
            organism: organism_columns(self._sheet, self._summaries, organism, self._alignment)
            for organism in generated["organism"].unique()
        }
        sentences: list = [None] * len(generated)
        vectors: list = [None] * len(generated)
        place = pd.Series(range(len(generated)), index=generated.index)
        for name, rows in generated.groupby("file"):
            path = self._files.generated_dir / name
            table = _read_parquet(path, ["c2s_sentence", "X_c2s"]).take(rows["row"].to_numpy())
            texts, embedded = table["c2s_sentence"].to_pylist(), table["X_c2s"].to_pylist()
            own = zip(place[rows.index], rows["organism"], texts, embedded, strict=True)
            for at, organism, text, vector in own:
                sentences[at], vectors[at] = sentence_columns(text, words[organism]), vector
        return sentences, np.array(vectors, dtype=np.float32)

    def _predicted(self) -> dict[str, Path]:
        folder = self._files.perturbed_dir
        if folder is None:
            return {}
        paths = {name: folder / f"{name}.perturbed.parquet" for name in self._shards}
        return {name: path for name, path in paths.items() if path.exists()}


def _no_ops(frame: pd.DataFrame) -> dict[str, object]:
    """The first answer of a cell is compared with its first answer to the no-op, and so on."""
    if NO_OP not in frame:
        return {"no_op_row": -1, "no_op": None}
    number = frame.groupby(["source_cell", "condition"], observed=True).cumcount()
    places = pd.MultiIndex.from_arrays([frame["source_cell"], frame["condition"], number])
    asked = pd.MultiIndex.from_arrays([frame["source_cell"], frame[COMPARED_WITH], number])
    rows = places.get_indexer(asked)
    return {"no_op_row": rows, "no_op": frame[COMPARED_WITH].astype(object).where(rows >= 0, None)}


def sentence_columns(text: str, words: dict[str, int]) -> np.ndarray:
    """Columns of the genes of a sentence, int64."""
    return np.array([words[word] for word in text.split()], dtype=np.int64)


def _places(rows: np.ndarray) -> np.ndarray:
    """Index of each row among the distinct ones, sorted; h5py reads no row twice."""
    return np.unique(rows, return_inverse=True)[1]


def _read(path: Path, get: Callable[[h5py.File], Found]) -> Found:
    with open_h5(path) as file:
        return get(file)


def _read_parquet(path: Path, columns: list[str], no_ops: bool = False) -> pa.Table:
    columns = with_no_op(columns, column_names(path)) if no_ops else columns
    return read_parquet(path, columns)
