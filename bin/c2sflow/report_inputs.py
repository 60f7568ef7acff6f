"""A run's files, read for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import pandas as pd
from anndata.io import read_elem

from c2sflow.provenance import read_json
from c2sflow.report_map import CellMap, read_map


@dataclass
class Run:
    """All that the report is made of.

    Parameters
    ----------
    qc, sentences
        Content of qc.json and sentences.json of each sample.
    embed, perturb
        Content of embed.json and perturb.json of each shard.
    provenance
        ``uns["c2s"]``.
    cells
        The cells' map.
    said
        For each perturbation and sample, the sums of valid, repeated and invalid genes.
    summary
        Figures of each perturbation and sample.
    """

    qc: list[dict]
    sentences: list[dict]
    embed: list[dict]
    perturb: list[dict]
    provenance: dict
    cells: CellMap
    said: pd.DataFrame | None = None
    summary: pd.DataFrame | None = None


def read_run(
    h5ad: Path,
    qc_dir: Path,
    sentences_dir: Path,
    stats_dir: Path,
    perturbed: Path | None = None,
    perturbation_summary: Path | None = None,
    label_column: str | None = None,
) -> Run:
    """Read what `c2sflow.report.write_report` is given; no matrix but X_c2s is touched."""
    columns = list(dict.fromkeys([*filter(None, [label_column]), "sample"]))
    with h5py.File(h5ad) as file:
        provenance, cells = read_elem(file["uns/c2s"]), read_map(file, columns)
    return Run(
        qc=_read_all(qc_dir, "*.qc.json"),
        sentences=_read_all(sentences_dir, "*.sentences.json"),
        embed=_read_all(stats_dir, "*.embed.json"),
        perturb=_read_all(stats_dir, "*.perturb.json"),
        provenance=provenance,
        cells=cells,
        said=_words_said(perturbed) if perturbed else None,
        summary=pd.read_csv(perturbation_summary, sep="\t") if perturbation_summary else None,
    )


def _read_all(folder: Path, pattern: str) -> list[dict]:
    return [read_json(path) for path in sorted(folder.glob(pattern))]


def _words_said(perturbed: Path) -> pd.DataFrame:
    """Sums of valid, repeated and invalid genes by perturbation and sample."""
    sums = {
        "valid": "c2s_n_predicted_genes",
        "repeated": "c2s_duplicate_genes",
        "invalid": "c2s_invalid_genes",
    }
    with h5py.File(perturbed) as file:
        obs = {
            name: read_elem(file["obs"][name])
            for name in ("perturbation", "sample", *sums.values())
        }
    groups = pd.DataFrame(obs).groupby(["perturbation", "sample"], observed=True)
    return groups[list(sums.values())].sum().set_axis(list(sums), axis=1)
