"""A sample's cell sentences as Parquet shards, and a summary of the sample."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from c2sflow.provenance import write_beside
from c2sflow.reconstruction import RankFit
from c2sflow.sentences import TieBreak, cell_sentences, gene_hashes, gene_words

RESERVED = ("cell_id", "shard", "cell_sentence", "n_genes")
N_GENES = "n_sentence_genes"  # column of <name>.obs.parquet
LENGTH_BINS = 30
N_EXAMPLES = 8  # sentences of each of the first shards that the summary holds


def shard_table(
    matrix: sparse.csr_matrix,
    obs: pd.DataFrame,
    words: np.ndarray,
    hashes: np.ndarray,
    fit: RankFit,
    **options: object,
) -> pa.Table:
    """One shard: cell_id, every column of obs (sample and organism among them), cell_sentence
    and n_genes.

    `fit` takes the cells' ranks and values in; `options` are those of `cell_sentences`.
    """
    texts, lengths = [], []
    for text, values in cell_sentences(matrix, obs.index, words, hashes=hashes, **options):
        texts.append(text)
        lengths.append(values.size)
        fit.add_cell(values)
    table = obs_table(obs)
    table = table.append_column("cell_sentence", pa.array(texts, pa.string()))
    return table.append_column("n_genes", pa.array(lengths, pa.int32()))


def obs_table(obs: pd.DataFrame, reserved: Collection[str] = RESERVED) -> pa.Table:
    """cell_id and every column of obs but the `reserved` names, which are ours."""
    columns = {"cell_id": pa.array(obs.index.astype(str))}
    for name in obs.columns.difference(list(reserved), sort=False):
        columns[name] = pa.array(obs[name], from_pandas=True)
    return pa.table(columns)


def write_shards(
    blocks: Iterator[tuple[sparse.csr_matrix, pd.DataFrame]],
    var_names: pd.Index,
    name: str,
    outdir: str | Path,
    *,
    max_genes: int | None = None,
    tie_break: TieBreak = "random",
    seed: int = 42,
) -> dict:
    """Write a sample's sentences: one Parquet shard for each block of cells.

    ``shards/<name>.<nnnnn>.parquet`` hold the sentences and obs, ``<name>.obs.parquet`` obs alone,
    the shard of each cell and n_sentence_genes, the length of its sentence.

    Parameters
    ----------
    blocks
        Log-normalised CSR (n_cells, n_vars) and obs of each shard, in the order of the cells.
    var_names
        Symbols of the columns.
    max_genes, tie_break, seed
        See `c2sflow.sentences.cell_sentences`.

    Returns
    -------
    Summary: n_cells, shards (name, n_cells, n_genes), genes (the word of each column), symbols
    (the columns' own names), examples (sentences), rank_fit_sums, rank_fit, sentence_lengths
    (histogram).
    """
    words = gene_words(var_names)
    hashes = gene_hashes(words)
    fit = RankFit()
    shards, cells, lengths, examples = [], [], [], []
    for number, (matrix, obs) in enumerate(blocks):
        options = {"max_genes": max_genes, "tie_break": tie_break, "seed": seed}
        table = shard_table(matrix, obs, words, hashes, fit, **options)
        shard = f"{name}.{number:05d}"
        _write(table, Path(outdir) / "shards" / f"{shard}.parquet")
        # Of this table only: a query may name the input's own column n_genes.
        own = obs_table(obs, ("cell_id", "shard", N_GENES))
        own = own.append_column("shard", pa.array([shard] * len(obs)))
        cells.append(own.append_column(N_GENES, table["n_genes"]))
        if number < 4:
            examples += table["cell_sentence"][:N_EXAMPLES].to_pylist()
        n_genes = table["n_genes"].to_numpy()
        lengths.append(n_genes)
        shards.append({"name": shard, "n_cells": len(obs), "n_genes": int(n_genes.sum())})
    _write(
        pa.concat_tables(cells, promote_options="permissive"), Path(outdir) / f"{name}.obs.parquet"
    )
    counts, edges = np.histogram(np.concatenate(lengths), bins=LENGTH_BINS)
    return {
        "n_cells": sum(shard["n_cells"] for shard in shards),
        "shards": shards,
        "genes": list(words),
        "symbols": [str(name) for name in var_names],
        "examples": examples,
        "rank_fit_sums": list(fit.astuple()),
        "rank_fit": fit.solve(),
        "sentence_lengths": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _write(table: pa.Table, path: Path) -> None:
    with write_beside(path) as partial:
        pq.write_table(table, partial, compression="zstd")
