"""Answers of many files to one AnnData file, block by block: sentences are never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals
from scipy import sparse

from c2sflow.common.errors import UserError
from c2sflow.common.files import remedy, write_beside
from c2sflow.common.opened import reading
from c2sflow.data.columns import is_text
from c2sflow.data.h5ad import (
    RowWriter,
    append_dense,
    append_text,
    create_h5ad,
    write_column,
    write_element,
)
from c2sflow.data.own_columns import LIKELIHOODS, PREFIX
from c2sflow.data.state.normalization import LOG_BASE, LOG_BASES, LogBase, log_ratio
from c2sflow.sentences.counts import rows_of_genes, sentence_counts
from c2sflow.sentences.rank_fit import expression_from_ranks

BLOCK = 2048  # answers read at a time
SENTENCE = "c2s_sentence"


def present(wanted: Iterable[str], names: Collection[str]) -> list[str]:
    """Columns wanted of a table of answers that has these: of the likelihoods, its own."""
    return [name for name in wanted if name in names or name not in LIKELIHOODS.values()]


def answer_blocks(
    path: str | Path, n_expected: int, what: str, columns: Callable[[Sequence[str]], Sequence[str]]
) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Columns and X_c2s, float32 (n_answers, hidden_size), of a table of answers, by blocks.

    Parameters
    ----------
    n_expected
        Number of answers that there must be.
    what
        What the message calls them.
    columns
        From the names of all columns those that are wanted.

    Raises
    ------
    UserError
        If the file is missing or broken, or holds more or fewer answers.
    """
    with reading(path), pq.ParquetFile(path) as file:
        n_found = file.metadata.num_rows
        wanted = columns(file.schema_arrow.names)
        if n_found == n_expected:
            for batch in file.iter_batches(BLOCK):
                vectors = batch["X_c2s"]
                rows = vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)
                yield batch.select(wanted).to_pandas(), rows.astype(np.float32)
    if n_found != n_expected:
        raise UserError(
            f"{Path(path).name} holds {n_found} {what} instead of {n_expected} planned; "
            f"{remedy(path)}"
        )


class MergedAnswers:
    """An h5ad of answers while it is written: X from the ranks, X_c2s, and the sentences in obs.

    Parameters
    ----------
    file
        From `c2sflow.data.h5ad.create_h5ad`.
    n_vars
        Number of genes.
    rank_fit
        slope and intercept of `c2sflow.sentences.rank_fit.RankFit.solve`.
    base
        Of the logarithm in X.
    seed
        Draws ``layers["counts"]``, which the answers have if it is given.
    """

    def __init__(
        self, file: h5py.File, n_vars: int, rank_fit: Mapping[str, float],
        base: LogBase = LOG_BASE, seed: int | None = None,
    ):  # fmt: skip
        self._file, self._base, self._seed = file, base, seed
        self._matrix = RowWriter(file, "X", n_vars)
        self._counts = None if seed is None else RowWriter(file, "layers/counts", n_vars)
        self._fit = {"slope": rank_fit["slope"], "intercept": rank_fit["intercept"]}
        self._frames: list[pd.DataFrame] = []
        self._order: list[str] = []
        self._n_rows = 0

    def append(
        self,
        obs: pd.DataFrame,
        genes: Sequence[Sequence[int]],
        vectors: np.ndarray,
        depths: Sequence[int] | np.ndarray = (),
    ) -> None:
        """Append answers: obs with their sentences, the columns of their genes, their X_c2s.

        With counts, `depths` are those of the cells that the answers start from.
        """
        n_vars, ratio = self._matrix.n_columns, log_ratio(self._base)
        fit = {name: value * ratio for name, value in self._fit.items()}
        counts = None
        if self._seed is not None:
            drawn = sentence_counts(
                [len(row) for row in genes], depths, **self._fit,
                seed=self._seed, first=self._n_rows,
            )  # fmt: skip
            counts = rows_of_genes(genes, drawn, n_vars)
        self.append_cells(obs, expression_from_ranks(genes, n_vars, **fit), vectors, counts)

    def append_cells(
        self,
        obs: pd.DataFrame,
        expression: sparse.csr_matrix,
        vectors: np.ndarray,
        counts: sparse.csr_matrix | None = None,
    ) -> None:
        """Append cells whose expression, in the base of X, and counts are known."""
        self._n_rows += len(obs)
        self._matrix.append(expression)
        if self._counts is not None and counts is not None:
            self._counts.append(counts)
        append_dense(self._file, "obsm/X_c2s", vectors)
        append_text(self._file, SENTENCE, obs[SENTENCE])
        self._order = list(obs.columns)
        text = [name for name in obs.columns.drop(SENTENCE) if is_text(obs[name])]
        self._frames.append(obs.drop(columns=SENTENCE).astype(dict.fromkeys(text, "category")))

    def obs(self) -> pd.DataFrame:
        """obs of all answers, but their sentences; text as categories, in sorted order."""
        return pd.DataFrame(
            {name: _joined([frame.pop(name) for frame in self._frames]) for name in self._frames[0]}
        )

    def finish(
        self, obs: pd.DataFrame, uns: Mapping, more: Iterable[tuple[str, pd.Series]] = ()
    ) -> None:
        """Write obs, in which the sentences get their place, and uns.

        Of `more` columns, which stand before ours, one is in memory at a time.
        """
        write_element(self._file, "obs", obs)
        self._file.move(SENTENCE, f"obs/{SENTENCE}")
        table = self._file["obs"]
        table.attrs["column-order"] = []
        for name, values in more:
            write_column(table, name, values)
        order = [name for name in self._order if name in obs or name == SENTENCE]
        table.attrs["column-order"] = [*table.attrs["column-order"], *order]
        write_element(
            self._file, "uns", {"log1p": {"base": LOG_BASES[self._base]}, "c2s": dict(uns)}
        )


def _joined(parts: Sequence[pd.Series]) -> pd.Series:
    if isinstance(parts[0].dtype, pd.CategoricalDtype):
        return pd.Series(union_categoricals(parts, sort_categories=True))
    return pd.concat(parts, ignore_index=True)


@contextmanager
def merged_answers(
    target: str | Path,
    var: pd.DataFrame,
    rank_fit: Mapping[str, float],
    base: LogBase = LOG_BASE,
    seed: int | None = None,
) -> Iterator[MergedAnswers]:
    """Make an h5ad of answers, written whole or not at all."""
    with write_beside(target) as partial, create_h5ad(partial, pd.DataFrame(), var) as file:
        yield MergedAnswers(file, len(var), rank_fit, base, seed)


def answer_figures(obs: pd.DataFrame, by: Sequence[str], count: str) -> pd.DataFrame:
    """Figures of each group of answers: how many, and how far to trust them.

    Fractions are of all words (valid, invalid and repeated genes together) and of the
    answers (truncated).
    """
    n_words = obs["c2s_n_predicted_genes"] + obs["c2s_invalid_genes"] + obs["c2s_duplicate_genes"]
    groups = obs.assign(n_words=n_words, cut=obs["c2s_finish_reason"] == "length").groupby(
        list(by), observed=True, sort=True
    )
    words = groups["n_words"].sum().clip(lower=1)
    figures = pd.DataFrame(
        {
            count: groups.size(),
            "n_genes_mean": groups["c2s_n_predicted_genes"].mean(),
            "invalid_fraction": groups["c2s_invalid_genes"].sum() / words,
            "duplicate_fraction": groups["c2s_duplicate_genes"].sum() / words,
            "truncated_fraction": groups["cut"].mean(),
            **{
                f"{name.removeprefix(PREFIX)}_mean": groups[name].mean()
                for name in present(LIKELIHOODS.values(), obs.columns)
            },
        }
    )
    return figures.reset_index()
