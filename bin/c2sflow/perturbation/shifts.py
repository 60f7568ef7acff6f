"""A run's shards to the shifts of each condition: cells × genes, sparse, a cell once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from c2sflow.common.parquet import column_names, read_parquet
from c2sflow.data.obs.labels import is_labelled
from c2sflow.inputs.perturbations import condition_columns
from c2sflow.sentences.compare import compared_ranks, fold_changes
from c2sflow.sentences.no_ops import COMPARED_WITH, NO_OP, with_no_op

ROW = ("source_cell", "condition", "c2s_sentence")


@dataclass
class Shard:
    """Files of one shard.

    Attributes
    ----------
    sentences, predictions
        Parquet of SENTENCES and PERTURB.
    sample
        Number of its sample.
    columns
        Column of each gene word of the sample.
    """

    sentences: Path
    predictions: Path
    sample: int
    columns: Mapping[str, int]


@dataclass
class Shifts:
    """What one condition does to its cells.

    Attributes
    ----------
    names
        condition, perturbation, and dose and time where a table gave them.
    cells
        sample (number) and, if asked for, context and replicate of each cell that could be
        compared.
    ranks, folds
        CSC float32 (n_cells, n_genes): mean over the answers of a cell of predicted minus compared
        rank, and of the log2 fold change. An entry, if only 0, is a gene of either sentence.
    n_empty
        Cells left out because an answer, or what it is compared with, holds no gene.
    compared_with
        Condition of the no-op whose answers the predictions are compared with; None: the cells'
        own sentences.
    n_unmatched
        Cells left out because they have no no-op, and others do.
    """

    names: dict[str, str]
    cells: pd.DataFrame
    ranks: sparse.csc_matrix
    folds: sparse.csc_matrix
    n_empty: int = 0
    compared_with: str | None = None
    n_unmatched: int = 0


@dataclass
class _Entries:
    """Shifts of one condition against one no-op, as they come."""

    names: dict[str, str]
    compared_with: str | None
    cells: list[tuple[int, object]] = field(default_factory=list)
    n_answers: list[int] = field(default_factory=list)
    blocks: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    n_empty: int = 0


def read_shifts(
    shards: Iterable[Shard],
    n_genes: int,
    fit: Mapping[str, float],
    context: str | None = None,
    replicate: str | None = None,
) -> Iterator[Shifts]:
    """Shifts of each condition, in the order of their names.

    Each answer is compared with the answer of the same cell to its no-op (the first with the
    first, and so on): at equal lengths that is the difference of the two changes from the cell's
    own sentence. Where no cell of a condition has a no-op, with the cell's own sentence.

    One shard's sentences are held at a time, and the shifts of all: 16 bytes for each gene of
    either sentence of each prediction.

    Parameters
    ----------
    shards
        In the order of the cells.
    n_genes
        Number of columns.
    fit
        slope and intercept of the run's rank fit.
    context, replicate
        Columns of obs whose values each cell brings along.

    Raises
    ------
    UserError
        If a file is missing or broken, or lacks the column.
    """
    found: dict[str, dict[str | None, _Entries]] = {}
    asked = {"context": context, "replicate": replicate}
    columns = {ours: name for ours, name in asked.items() if name is not None}
    for shard in shards:
        predictions, controls = _read_shard(shard, columns)
        names = predictions.loc[~predictions[NO_OP], condition_columns(predictions.columns)]
        for row in names.drop_duplicates("condition").to_dict("records"):
            found.setdefault(row["condition"], {}).setdefault(None, _Entries(row, None))
        for cell, rows in predictions.groupby("source_cell", sort=False):
            _add_cell(found, shard, controls.loc[cell], rows, fit)
    for condition in sorted(found):
        yield _shifts(found.pop(condition), n_genes, ["sample", *columns])


def _read_shard(shard: Shard, more: Mapping[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions; and by cell_id the control sentence and `more` columns, by our names of them."""
    known = column_names(shard.predictions)
    columns = [*dict.fromkeys([*ROW, *condition_columns(known)])]
    predictions = read_parquet(shard.predictions, with_no_op(columns, known)).to_pandas()
    columns = [*dict.fromkeys(["cell_id", "cell_sentence", *more.values()])]
    cells = read_parquet(shard.sentences, columns).to_pandas()
    controls = pd.DataFrame({ours: cells[name] for ours, name in more.items()})
    if "replicate" in controls:
        labelled = is_labelled(controls["replicate"])
        controls["replicate"] = controls["replicate"].astype(object).where(labelled, None)
    controls.insert(0, "cell_sentence", cells["cell_sentence"])
    controls.index = pd.Index(cells["cell_id"])
    if NO_OP not in predictions:
        predictions = predictions.assign(**{NO_OP: False, COMPARED_WITH: None})
    return predictions, controls


def _add_cell(
    found: Mapping[str, dict[str | None, _Entries]],
    shard: Shard,
    control: pd.Series,
    rows: pd.DataFrame,
    fit: Mapping[str, float],
) -> None:
    """Add what a cell's answers to each condition show."""
    columns = (rows[name] for name in ("condition", "c2s_sentence", NO_OP, COMPARED_WITH))
    answers: dict[str, list[str]] = {}
    no_op_of: dict[str, str | None] = {}
    for condition, sentence, is_no_op, no_op in zip(*columns, strict=True):
        answers.setdefault(condition, []).append(sentence)
        if not is_no_op:
            no_op_of[condition] = no_op if isinstance(no_op, str) else None
    for condition, no_op in no_op_of.items():
        own_answers = answers[condition]
        longest = max(len(sentence.split()) for sentence in own_answers)
        own = " ".join(control["cell_sentence"].split(" ", longest)[:longest])
        others = [own] * len(own_answers) if no_op is None else answers.get(no_op, [])
        entries = found[condition]
        if no_op not in entries:
            entries[no_op] = _Entries(entries[None].names, no_op)
        _add_shift(
            entries[no_op], shard, control, list(zip(own_answers, others, strict=False)), fit
        )


def _add_shift(
    entries: _Entries,
    shard: Shard,
    control: pd.Series,
    pairs: Sequence[tuple[str, str]],
    fit: Mapping[str, float],
) -> None:
    """Add a cell's mean shift over the pairs (answer, compared with) that hold genes."""
    words = [(one.split(), other.split()) for one, other in pairs if one and other]
    if not words:
        entries.n_empty += 1
        return
    row = len(entries.cells)
    for answer, other in words:
        shared, predicted_rank, compared_rank = compared_ranks(
            _columns(answer, shard), _columns(other, shard)
        )
        folds = fold_changes(predicted_rank, compared_rank, fit)
        rows = np.full(shared.size, row, dtype=np.int32)
        ranks = (predicted_rank - compared_rank).astype(np.float32)
        entries.blocks.append((rows, shared.astype(np.int32), ranks, folds.astype(np.float32)))
    entries.cells.append((shard.sample, *control.iloc[1:]))
    entries.n_answers.append(len(words))


def _columns(words: Sequence[str], shard: Shard) -> np.ndarray:
    return np.array([shard.columns[word] for word in words], dtype=np.int64)


def _shifts(found: Mapping[str | None, _Entries], n_genes: int, columns: Sequence[str]) -> Shifts:
    """Of one condition: against its no-op, where it has one."""
    matched = [entries for no_op, entries in found.items() if no_op is not None]
    if not matched:
        return _matrices(found[None], n_genes, columns)
    shifts = _matrices(matched[0], n_genes, columns)
    shifts.n_unmatched = len(found[None].cells)
    return shifts


def _matrices(entries: _Entries, n_genes: int, columns: Sequence[str]) -> Shifts:
    shape = (len(entries.cells), n_genes)
    empty = (np.empty(0, np.int32),) * 2 + (np.empty(0, np.float32),) * 2
    rows, genes, ranks, folds = map(np.concatenate, zip(empty, *entries.blocks, strict=True))
    n_answers = np.array(entries.n_answers, dtype=np.float32)

    def means(values: np.ndarray) -> sparse.csc_matrix:
        # Entries of a cell's answers for one gene are added first: sums of ranks are exact, so
        # that shifts of 0 stay 0, and equal ones equal.
        matrix = sparse.coo_matrix((values, (rows, genes)), shape).tocsc()
        matrix.data /= n_answers[matrix.indices]
        return matrix

    return Shifts(
        names=entries.names,
        cells=pd.DataFrame(entries.cells, columns=columns),
        ranks=means(ranks),
        folds=means(folds),
        n_empty=entries.n_empty,
        compared_with=entries.compared_with,
    )
