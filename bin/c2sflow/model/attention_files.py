"""Attention maps on disk: an HDF5 file for each shard, a group for each cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from c2sflow import __version__
from c2sflow.common.files import write_beside
from c2sflow.common.opened import open_h5

AGGREGATION = (
    "attention[head, query, key] is the attention from one gene to another: mean over the tokens "
    "of the query gene, sum over the tokens of the key gene"
)
ROWS = 256  # of a chunk: a head is read without the others


def write_attention(
    target: str | Path,
    cells: Iterable[tuple[Mapping[str, object], np.ndarray, np.ndarray]],
    *,
    layer: int,
    n_heads: int,
) -> int:
    """Write ``<shard>.attention.h5``, one cell at a time.

    Attributes layer, n_heads, aggregation and c2sflow_version; for each cell a group
    ``cells/<nnnnnn>`` with the attributes cell_id, sample and label, and the datasets genes
    (UTF-8, in the order of the sentence), attention and shuffled.

    Parameters
    ----------
    target
        Written whole or not at all; the same cells give the same bytes.
    cells
        cell_id, sample, label and cell_sentence of each cell; its attention, float32 (n_heads,
        n_genes, n_genes), query × key; and that between the same positions of the sentence with its
        genes in random order.
    layer
        Counted as ``--embedding_layer`` does: 1 is the first.

    Returns
    -------
    Number of cells.
    """
    with write_beside(target) as partial, h5py.File(partial, "w") as file:
        file.attrs["layer"] = layer
        file.attrs["n_heads"] = n_heads
        file.attrs["aggregation"] = AGGREGATION
        file.attrs["c2sflow_version"] = __version__
        groups = file.create_group("cells")
        for number, (cell, attention, shuffled) in enumerate(cells):
            group = groups.create_group(f"{number:06d}")
            for name in ("cell_id", "sample", "label"):
                group.attrs[name] = str(cell[name])
            genes = str(cell["cell_sentence"]).split()
            group.create_dataset("genes", data=genes, dtype=h5py.string_dtype())
            for name, maps in (("attention", attention), ("shuffled", shuffled)):
                # gzip is read everywhere, and half the size; lzf would write twice as fast, but a
                # map is a small part of the time its attention takes.
                group.create_dataset(
                    name,
                    data=maps,
                    dtype=np.float32,
                    chunks=(1, min(ROWS, len(genes)), len(genes)),
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                    track_times=False,
                )
        return len(groups)


@dataclass(frozen=True)
class MappedCell:
    """A cell with an attention map, which stays on disk until it is asked for."""

    path: Path
    key: str
    sample: str
    cell_id: str
    label: str
    n_heads: int

    def genes(self) -> np.ndarray:
        """str (n_genes,), in the order of the sentence."""
        with h5py.File(self.path) as file:
            return file[self.key]["genes"].asstr()[()].astype(str)

    def head(self, number: int) -> np.ndarray:
        """float32 (n_genes, n_genes) of one head, query × key."""
        with h5py.File(self.path) as file:
            return file[self.key]["attention"][number]

    def shuffled_head(self, number: int) -> np.ndarray:
        """The same with the genes in random order: query × key by position in the sentence."""
        with h5py.File(self.path) as file:
            return file[self.key]["shuffled"][number]


def read_cells(path: str | Path) -> Iterator[MappedCell]:
    """Cells of a ``<shard>.attention.h5``, in order.

    Raises
    ------
    UserError
        If the file is missing or broken.
    """
    with open_h5(path) as file:
        n_heads = int(file.attrs["n_heads"])
        for name, group in file["cells"].items():
            about = {key: group.attrs[key] for key in ("sample", "cell_id", "label")}
            yield MappedCell(Path(path), f"cells/{name}", n_heads=n_heads, **about)
