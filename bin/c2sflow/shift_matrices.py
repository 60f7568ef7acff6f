"""A run's shards to the shifts of each condition: cells × genes, sparse, a cell once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy import sparse

from c2sflow.errors import UserError
from c2sflow.predictions import condition_columns
from c2sflow.provenance import remedy
from c2sflow.rank_shifts import compared_ranks, fold_changes

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
        sample (number) and, if asked for, context of each cell that could be compared.
    ranks, folds
        CSC float32 (n_cells, n_genes): mean over the answers of a cell of predicted minus control
        rank, and of the log2 fold change. An entry, if only 0, is a gene of either sentence.
    n_empty
        Cells left out because an answer, or the control sentence, holds no gene.
    """

    names: dict[str, str]
    cells: pd.DataFrame
    ranks: sparse.csc_matrix
    folds: sparse.csc_matrix
    n_empty: int = 0


@dataclass
class _Entries:
    """Shifts of one condition, as they come."""

    names: dict[str, str]
    cells: list[tuple[int, object]] = field(default_factory=list)
    n_answers: list[int] = field(default_factory=list)
    blocks: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    n_empty: int = 0


def read_shifts(
    shards: Iterable[Shard], n_genes: int, fit: Mapping[str, float], context: str | None = None
) -> Iterator[Shifts]:
    """Shifts of each condition, in the order of their names.

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
    context
        Column of obs whose value each cell brings along.

    Raises
    ------
    UserError
        If a file is missing or broken, or lacks the column.
    """
    found: dict[str, _Entries] = {}
    for shard in shards:
        predictions, controls = _read_shard(shard, context)
        names = predictions.drop(columns=["source_cell", "c2s_sentence"])
        for row in names.drop_duplicates("condition").to_dict("records"):
            found.setdefault(row["condition"], _Entries(row))
        # The answers of a prediction stand together.
        rows = zip(*(predictions[name] for name in ROW), strict=True)
        for (cell, condition), answers in groupby(rows, key=itemgetter(0, 1)):
            sentences = [sentence for *_, sentence in answers]
            _add_cell(found[condition], shard, controls.loc[cell], sentences, fit)
    for condition in sorted(found):
        columns = ["sample", *(["context"] if context else [])]
        yield _matrices(found.pop(condition), n_genes, columns)


def _read_shard(shard: Shard, context: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions, and by cell_id the control sentence and context."""
    try:
        names = condition_columns(pq.read_schema(shard.predictions).names)
        columns = [*dict.fromkeys([*ROW, *names])]
        predictions = pq.read_table(shard.predictions, columns=columns).to_pandas()
        columns = ["cell_id", "cell_sentence", *filter(None, [context])]
        controls = pq.read_table(shard.sentences, columns=columns).to_pandas()
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{shard.predictions.name} or the sentences of that shard are missing or broken "
            f"({error}); {remedy(shard.predictions)}"
        ) from None
    return predictions, controls.set_index("cell_id")


def _add_cell(
    entries: _Entries,
    shard: Shard,
    control: pd.Series,
    sentences: Sequence[str],
    fit: Mapping[str, float],
) -> None:
    """Add the mean shift of a cell's answers that hold genes."""
    said = [sentence.split() for sentence in sentences if sentence]
    words = control["cell_sentence"].split(" ", max(map(len, said), default=0))
    if not said or not words[0]:
        entries.n_empty += 1
        return
    row, genes = len(entries.cells), _columns(words[: max(map(len, said))], shard)
    for answer in said:
        shared, predicted_rank, control_rank = compared_ranks(_columns(answer, shard), genes)
        folds = fold_changes(predicted_rank, control_rank, fit)
        rows = np.full(shared.size, row, dtype=np.int32)
        ranks = (predicted_rank - control_rank).astype(np.float32)
        entries.blocks.append((rows, shared.astype(np.int32), ranks, folds.astype(np.float32)))
    entries.cells.append((shard.sample, *control.iloc[1:]))
    entries.n_answers.append(len(said))


def _columns(words: Sequence[str], shard: Shard) -> np.ndarray:
    return np.array([shard.columns[word] for word in words], dtype=np.int64)


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
    )
