"""Shards of cell sentences, and how large they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from c2sflow.common.files import write_beside
from c2sflow.common.opened import open_h5
from c2sflow.common.progress import progress_bar
from c2sflow.common.threads import in_threads
from c2sflow.data.backed import CellData
from c2sflow.data.genes.alignment import GeneTable
from c2sflow.data.genes.organisms import COLUMN as ORGANISM
from c2sflow.data.obs.shard_columns import CONTENT, N_GENES, RESERVED
from c2sflow.data.splits.splits import COLUMN as SPLIT
from c2sflow.sentences.rank_fit import RankFit
from c2sflow.sentences.ranking import SentenceMaker, Sentences, TieBreak, gene_words

# Genes in sentences that make minutes of work: 6 million tokens at three tokens a gene, so five
# minutes at 20,000 tokens a second. Not more, for on a CPU the same shard takes hours.
SHARD_GENES = 2_000_000
PROMPT_GENES = 20  # what a prompt's own words cost, in genes
SHARD_ENTRIES = 2**26  # values of the matrix in memory at once: 0.5 GiB


def genes_per_cell(h5ad: str | Path) -> np.ndarray:
    """int64 (n_obs,): the entries that each row of an h5ad of QC stores, from X/indptr alone."""
    with open_h5(h5ad) as file:
        return np.diff(file["X/indptr"][:].astype(np.int64))


def shard_bounds(
    n_genes: np.ndarray, shard_size: int | str = "auto", max_genes: int | None = None
) -> list[tuple[int, int]]:
    """First cell of each shard and the first after it: consecutive cells, each in one shard.

    Parameters
    ----------
    n_genes
        int (n_obs,), at least one cell: genes that each cell expresses.
    shard_size
        Most cells in a shard; or "auto": as few shards as hold `SHARD_GENES` genes of sentences
        each, with about the same number of genes (a cell's, at most, more or less).
    max_genes
        Longest sentence; None for no limit.
    """
    n_obs = len(n_genes)
    if shard_size != "auto":
        return list(pairwise([*range(0, n_obs, int(shard_size)), n_obs]))
    work = np.minimum(n_genes, max_genes or np.inf).astype(np.int64) + PROMPT_GENES
    ends = np.cumsum(work)
    n_shards = max(-(-ends[-1] // SHARD_GENES), -(-n_genes.sum(dtype=np.int64) // SHARD_ENTRIES))
    # The shard of a cell is where its middle falls.
    numbers = (2 * ends - work) * n_shards // (2 * ends[-1])
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return list(pairwise([*starts.tolist(), n_obs]))


UNIQUE = ("cell_id", "cell_sentence")  # columns in which hardly a value occurs twice
NULLABLE = "pandas_dtype"  # in the metadata of a field: pandas' type of integers with gaps
PIECE = 512  # cells read, ranked and written at once
LENGTH_BINS = 30
N_EXAMPLES = 8  # sentences of each of the first shards that the summary holds


def obs_table(obs: pd.DataFrame, reserved: Collection[str] = RESERVED) -> pa.Table:
    """cell_id and every column of obs but the `reserved` names, which are ours."""
    columns = [pa.array(obs.index.astype(str))]
    fields = [pa.field("cell_id", columns[0].type)]
    for name in obs.columns.difference(list(reserved), sort=False):
        columns.append(pa.array(obs[name], from_pandas=True))
        masked = isinstance(obs[name].array, pd.arrays.IntegerArray | pd.arrays.BooleanArray)
        original = {NULLABLE: str(obs[name].dtype)} if masked else None
        fields.append(pa.field(str(name), columns[-1].type, metadata=original))
    return pa.table(columns, pa.schema(fields))


def obs_frame(table: pa.Table) -> pd.DataFrame:
    """What `obs_table` has written: integers and booleans with gaps are nullable again.

    pandas alone makes them floats and objects, which queries compare in another way.
    """
    frame = table.to_pandas()
    for field in table.schema:
        if dtype := (field.metadata or {}).get(NULLABLE.encode()):
            values = table[field.name].to_pylist()
            frame[field.name] = pd.array(values, dtype=dtype.decode())
    return frame


def write_shards(
    data: CellData,
    bounds: Sequence[tuple[int, int]],
    name: str,
    outdir: str | Path,
    *,
    max_genes: int | None = None,
    tie_break: TieBreak = "random",
    seed: int = 42,
) -> dict:
    """Write a sample's sentences: a Parquet shard for each range of cells.

    ``shards/<name>.<nnnnn>.parquet`` hold cell_id, every column of obs (sample among them; organism
    is what QC calls c2s_organism), cell_sentence and n_genes, and where a model is to be trained
    c2s_content (see `c2sflow.sentences.ranking.Sentences.contents`); ``<name>.obs.parquet`` obs
    alone, the shard of each cell and n_sentence_genes, the length of its sentence. Memory holds obs
    and some pieces of `PIECE` cells.

    Parameters
    ----------
    data
        Log-normalised cells, as QC writes them. Several threads read its rows.
    bounds
        First cell of each shard and the first after it: `c2sflow.sentences.shards.shard_bounds`.
    name
        Of the sample, safe for files.
    max_genes, tie_break, seed
        See `c2sflow.sentences.ranking.SentenceMaker`.

    Returns
    -------
    Summary: n_cells, shards (name, n_cells, n_genes), genes (the word of each column), symbols
    (the columns' own names), gene_ids and repeated (see `c2sflow.data.genes.alignment.GeneTable`),
    examples (sentences), rank_fit_sums, rank_fit, sentence_lengths (histogram).
    """
    words = gene_words(data.var_names)
    maker = SentenceMaker(
        words,
        max_genes=max_genes,
        tie_break=tie_break,
        seed=seed,
        contents=SPLIT in data.obs,  # the same cell twice must not be trained on and held out
    )
    # Of the whole sample at once: a column has one type, also where a shard holds no value of it.
    cells = obs_table(data.obs, ("cell_id", "shard"))

    def make(piece: tuple[int, int]) -> Sentences:
        start, stop = piece
        ids = cells["cell_id"][start:stop].to_pylist()
        return maker(data.rows(start, stop), ids)

    # Reading, sorting, taking words and compressing let other threads run.
    pieces = [_pieces(start, stop) for start, stop in bounds]
    ranked = in_threads(make, chain.from_iterable(pieces))
    fit, shards = RankFit(), []
    examples: list[str] = []
    lengths: list[np.ndarray] = []
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(len(cells), "cell"))
        partial = stack.enter_context(write_beside(Path(outdir) / f"{name}.obs.parquet"))
        own = stack.enter_context(ShardWriter(partial))
        for number, (start, stop) in enumerate(bounds):
            shard = f"{name}.{number:05d}"
            path = Path(outdir) / "shards" / f"{shard}.parquet"
            obs = cells.slice(start, stop - start)
            texts = _write_shard(path, obs, islice(ranked, len(pieces[number])), fit, lengths)
            examples += texts if number < 4 else []
            n_genes = np.concatenate(lengths[-len(pieces[number]) :])
            # Of this table only: a query may name the input's own column n_genes.
            own.write(_with(obs, {"shard": pa.repeat(shard, len(obs)), N_GENES: n_genes}))
            shards.append({"name": shard, "n_cells": len(obs), "n_genes": int(n_genes.sum())})
            bar.update(len(obs))
    counts, edges = np.histogram(np.concatenate(lengths), bins=LENGTH_BINS)
    table = GeneTable.from_var(data.var)
    return {
        "n_cells": sum(shard["n_cells"] for shard in shards),
        "shards": shards,
        "genes": list(words),
        "symbols": list(table.symbols),
        "gene_ids": list(table.ids),
        "repeated": list(table.repeated),
        "examples": examples,
        "rank_fit_sums": list(fit.astuple()),
        "rank_fit": fit.solve(),
        "sentence_lengths": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def write_table(cells: pd.DataFrame, path: Path) -> None:
    """Write cells that are sentences already as one shard.

    Parameters
    ----------
    cells
        Indexed by the names of the cells: cell_sentence, n_genes, sample, organism, and the
        columns of obs.
    """
    with write_beside(path) as partial, ShardWriter(partial) as writer:
        writer.write(obs_table(cells, ("cell_id", "shard")))


def _pieces(start: int, stop: int) -> list[tuple[int, int]]:
    return [(first, min(first + PIECE, stop)) for first in range(start, stop, PIECE)]


def _write_shard(
    path: Path,
    obs: pa.Table,
    ranked: Iterable[Sentences],
    fit: RankFit,
    lengths: list[np.ndarray],
) -> list[str]:
    """Write one shard; `fit` and `lengths` take in what it holds. Returns its first sentences."""
    obs = obs.drop_columns([column for column in RESERVED if column in obs.column_names[1:]])
    if ORGANISM in obs.column_names:  # what prompts call the cells, whatever the input calls them
        obs = _with(obs, {"organism": obs[ORGANISM]})
    examples: list[str] = []
    start = 0
    with write_beside(path) as partial, ShardWriter(partial) as writer:
        for piece in ranked:
            cells = obs.slice(start, len(piece.lengths))
            made_here: dict[str, object] = {"cell_sentence": piece.texts, "n_genes": piece.lengths}
            if piece.contents is not None:
                made_here[CONTENT] = pa.array(piece.contents)
            writer.write(_with(cells, made_here))
            fit.add_cells(piece.values, piece.lengths)
            lengths.append(piece.lengths.astype(np.int32))
            if not start:
                examples = piece.texts[:N_EXAMPLES].to_pylist()
            start += len(piece.lengths)
    return examples


def _with(table: pa.Table, columns: Mapping[str, object]) -> pa.Table:
    """The table with these columns at the end, in the place of its own of that name."""
    table = table.drop_columns([name for name in columns if name in table.column_names])
    for name, values in columns.items():
        if isinstance(values, np.ndarray):
            values = pa.array(values, pa.int32())
        table = table.append_column(name, values)
    return table


class ShardWriter(AbstractContextManager):
    """A Parquet file, written table by table."""

    def __init__(self, path: Path):
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append a table; the first one gives the columns."""
        if self._writer is None:
            # A dictionary of what no two cells share costs time and saves nothing.
            repeated = [name for name in table.column_names if name not in UNIQUE]
            self._writer = pq.ParquetWriter(
                self._path, table.schema, compression="zstd", use_dictionary=repeated
            )
        self._writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
