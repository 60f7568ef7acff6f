"""Cells drawn from known distributions, and the files of a run on them."""

from dataclasses import dataclass, field

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from c2sflow.common.files import write_json
from c2sflow.data.qc.qc import Filters, run_qc
from c2sflow.data.readers import open_anndata
from c2sflow.data.state.normalization import State
from c2sflow.evaluation.run_reader import RunFiles
from c2sflow.generation.tasks import write_answers
from c2sflow.sentences.shards import write_shards

N_GENES = 240
GENES = np.array([f"GENE{n}" for n in range(N_GENES)])
MEANS = np.random.default_rng(0).lognormal(0, 1, N_GENES)


@dataclass
class Run:
    """Cells of a run, and what a model answers."""

    seed: int
    blocks: list = field(default_factory=list)
    labels: list = field(default_factory=list)
    rows: list = field(default_factory=list)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)

    def cells(self, n, effect=None):
        """Counts of n cells; effect: what the mean of each gene is multiplied by."""
        depth = self.rng.lognormal(0, 0.3, (n, 1))
        means = MEANS * (1 if effect is None else effect)
        return self.rng.poisson(self.rng.gamma(2, means / 2 * depth))

    def add(self, label, n, effect=None):
        """Cells of the run."""
        self.blocks.append(self.cells(n, effect))
        self.labels += [label] * n

    def rows_of(self, label):
        return np.flatnonzero(np.array(self.labels) == label)

    def answer(self, condition, source, counts, n_genes=80):
        """An answer to a cell: the highest genes of some other cell."""
        order = np.argsort(-counts, kind="stable")[: min(n_genes, np.count_nonzero(counts))]
        self.say(condition, source, GENES[order], counts)

    def say(self, condition, source, genes, counts):
        self.rows.append(
            {
                "source_cell": f"cell{source}", "condition": condition, "perturbation": condition,
                "sample": "s", "c2s_sentence": " ".join(genes), "c2s_n_predicted_genes": len(genes),
                "c2s_invalid_genes": 0, "c2s_duplicate_genes": 0, "c2s_finish_reason": "eos",
                "vector": vectors(counts[None])[0],
            }
        )  # fmt: skip

    def write(self, folder):
        """The steps' files."""
        for name in ("qc", "sentences", "embeddings", "perturbed", "generated"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        counts = np.concatenate(self.blocks)
        obs = pd.DataFrame({"label": self.labels}, [f"cell{n}" for n in range(len(counts))])
        cells = ad.AnnData(sparse.csr_matrix(logs(counts)), obs, pd.DataFrame(index=GENES))
        run_qc(
            cells, folder / "qc" / "s.h5ad", sample="s", organism="human",
            state=State("lognormalized", "e"), filters=Filters(skip=True),
        )  # fmt: skip
        with open_anndata(folder / "qc" / "s.h5ad") as kept:
            summary = write_shards(kept, [(0, len(counts))], "s", folder)
            names = kept.obs.index
        write_json(folder / "sentences" / "s.sentences.json", summary)
        made = ad.AnnData(obs=pd.DataFrame(index=names), obsm={"X_c2s": vectors(counts)})
        shard = summary["shards"][0]["name"]
        made.write_h5ad(folder / "embeddings" / f"{shard}.embedding.h5ad")
        write_json(folder / "samples.json", [{"id": "s", "organism": "human"}])
        names = ("qc", "sentences", "shards", "embeddings")
        files = RunFiles(folder / "samples.json", *(folder / name for name in names))
        if self.rows:
            write_perturbed(folder / "perturbed" / f"{shard}.perturbed.parquet", self.rows)
            files.perturbed_dir = folder / "perturbed"
        return files


def write_perturbed(path, rows):
    frame = pd.DataFrame(rows)
    table = pa.Table.from_pandas(frame.drop(columns="vector"), preserve_index=False)
    values = np.stack(frame["vector"]).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    pq.write_table(table.append_column("X_c2s", column), path)


def write_generated(files, folder, types):
    """Generated cells: type to counts."""
    for number, (name, counts) in enumerate(types.items()):
        order = [np.argsort(-cell, kind="stable")[:80] for cell in counts]
        frame = pd.DataFrame(
            {
                "c2s_sentence": [" ".join(GENES[genes]) for genes in order],
                "number": range(len(counts)), "c2s_cell_type": name, "organism": "human",
            }
        )  # fmt: skip
        path = folder / "generated" / f"generated.{number:05d}.generated.parquet"
        write_answers(path, frame, vectors(counts).astype(np.float32))
    files.generated_dir = folder / "generated"
    return files


def logs(counts):
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


def vectors(counts):
    """An embedding: twelve fixed directions of the logarithms."""
    return (logs(counts) @ np.random.default_rng(1).normal(size=(N_GENES, 12)) / 8).astype(
        np.float32
    )
