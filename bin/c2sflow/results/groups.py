"""Groups of cells: what the steps made of them to one AnnData file, a row a group."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_json, remedy, write_beside
from c2sflow.common.opened import open_result
from c2sflow.common.parquet import column_names, read_parquet
from c2sflow.data.h5ad import RowWriter, append_dense, create_h5ad, log_base, write_element
from c2sflow.data.label_tables import label_columns
from c2sflow.results.group_means import mean_expression
from c2sflow.results.group_membership import GROUP, PLACE
from c2sflow.results.shards import Sample, read_annotations, read_embeddings
from c2sflow.sentences.groups.shared import shared_values

LOGGER = logging.getLogger(__name__)

MEMBERS = "c2s_members"
# Of a cell's own prompt, which are not its group's.
OF_ITS_PROMPT = ("c2s_n_genes", "c2s_n_tokens", "c2s_truncated", "c2s_embedding_spread")


@dataclass
class GroupFiles:
    """What GROUPS and the steps after it wrote.

    Attributes
    ----------
    summaries
        Content of <id>.groups.json, in the order of the samples.
    members
        sample, cell_id, group and place of each cell that is in a group.
    embeddings, annotations, texts
        Files of the shards of groups, in their order; annotations and texts (interpretations) only
        of a run that asks for them.
    stats
        Content of the records of these steps on the shards.
    """

    summaries: list[dict]
    members: pd.DataFrame
    embeddings: list[Path]
    annotations: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    stats: list[dict] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path, ids: Sequence[str]) -> GroupFiles:
        """Find the files in a folder.

        Parameters
        ----------
        ids
            Of the samples; where cells of all samples share groups, there is one file for all.

        Raises
        ------
        UserError
            If a file is missing or broken.
        """
        found = [path.name.removesuffix(".groups.json") for path in folder.glob("*.groups.json")]
        own = [name for name in [*ids, "all"] if name in found]
        summaries = [read_json(folder / f"{name}.groups.json") for name in own]
        tables = [read_parquet(folder / f"{name}.members.parquet").to_pandas() for name in own]
        shards = [shard["name"] for summary in summaries for shard in summary["shards"]]
        asked = {
            kind: [folder / f"{shard}.{kind}.parquet" for shard in shards]
            for kind in ("annotation", "interpretation")
            if any(folder.glob(f"*.{kind}.parquet"))
        }
        return cls(
            summaries,
            pd.concat(tables, ignore_index=True),
            [folder / f"{shard}.embedding.h5ad" for shard in shards],
            asked.get("annotation", []),
            asked.get("interpretation", []),
            [
                read_json(path)
                for kind in ("embed", "annotate", "interpret")
                for path in sorted(folder.glob(f"*.{kind}.json"))
            ],
        )

    @property
    def names(self) -> pd.Index:
        """Names of the groups, in order."""
        return pd.Index(self.members["group"].unique(), dtype=object, name=None)

    def of_sample(self, sample: str) -> pd.DataFrame:
        """Group and place of each cell of a sample, by its cell_id."""
        own = self.members[self.members["sample"] == sample].set_index("cell_id")
        return own[["group", "place"]]


def merge_groups(files: GroupFiles, cells: Path, target: Path, uns: Mapping) -> pd.DataFrame:
    """Write c2s_groups.h5ad; memory holds obs of the cells and some groups' sums.

    X is the mean expression of the members, ``obsm["X_c2s"]`` the embedding of their prompt,
    ``uns["c2s_members"]`` a row for each member, and obs has sample, n_cells, the values that all
    members share, and what the steps add.

    Parameters
    ----------
    cells
        c2s.h5ad or c2s.zarr, with obs["c2s_group"].
    target
        Written whole or not at all.
    uns
        Provenance, stored as ``uns["c2s"]``.

    Returns
    -------
    obs of the file.

    Raises
    ------
    UserError
        If a file is missing or broken, or holds other groups.
    """
    names = files.names
    with open_result(cells) as source:
        obs, var = read_elem(source["obs"]), read_elem(source["var"])
        numbers = names.get_indexer(obs[GROUP].astype(object))
        order = np.lexsort((obs[PLACE].fillna(0).to_numpy(), numbers))[(numbers < 0).sum() :]
        with write_beside(target) as partial, create_h5ad(partial, pd.DataFrame(), var) as out:
            frame = _group_obs(obs, names, numbers, order)
            frame = frame.assign(**_results(files, names, out))
            rows = RowWriter(out, "X", len(var))
            for block in mean_expression(source["X"], numbers, len(names)):
                rows.append(block)
            write_element(out, "obs", frame)
            write_element(out, "uns", {"log1p": {"base": log_base(source)}, "c2s": dict(uns)})
            write_element(out, f"uns/{MEMBERS}", obs.iloc[order][[GROUP, PLACE]])
    LOGGER.info("%s: %d groups of %d cells", target.name, len(frame), len(order))
    return frame


def _group_obs(
    obs: pd.DataFrame, names: pd.Index, numbers: np.ndarray, order: np.ndarray
) -> pd.DataFrame:
    """sample, n_cells and the values that the members share; no column that none share."""
    sizes = np.bincount(numbers[order], minlength=len(names))
    own = obs.drop(columns=[name for name in (GROUP, PLACE, *OF_ITS_PROMPT) if name in obs])
    shared = shared_values(own, order, np.cumsum(sizes) - sizes)
    shared = shared[[name for name in shared if name == "sample" or shared[name].notna().any()]]
    shared.insert(list(shared).index("sample") + 1, "n_cells", sizes.astype(np.int32))
    first = ["sample", "n_cells"]
    return shared[[*first, *shared.columns.drop(first)]].set_axis(names, axis=0)


def _results(files: GroupFiles, names: pd.Index, out: h5py.File) -> dict[str, pd.Series]:
    """What the steps add to obs; X_c2s goes to `out`."""
    shards = Sample("groups", "groups", Path(), files.embeddings, files.annotations)
    parts = []
    for own, vectors in read_embeddings(shards, names):
        append_dense(out, "obsm/X_c2s", vectors.astype(np.float32, copy=False))
        parts.append(own)
    return {**pd.concat(parts), **read_annotations(shards, names), **_texts(files.texts, names)}


def _texts(paths: Sequence[Path], names: pd.Index) -> dict[str, pd.Series]:
    """Interpretations of the groups and their status; nothing without files."""
    if not paths:
        return {}
    table = pd.concat([read_parquet(path, of="shard ").to_pandas() for path in paths])
    table = table.set_index("cell_id")
    if not table.index.equals(names):
        raise UserError(f"the interpretations are not those of the groups; {remedy(paths[0])}")
    return dict(table.astype({"c2s_interpretation_status": "category"}).items())


def group_record(files: GroupFiles, obs: pd.DataFrame) -> dict:
    """What the report shows of the groups.

    Parameters
    ----------
    obs
        Of `merge_groups`.

    Returns
    -------
    by, cells_per_prompt, n_groups, n_cells (of the run), n_grouped, sizes (cells of a group: number
    of groups), n_truncated, n_genes (median of the genes of a cell in its prompt), seconds (of the
    model), groups (n_groups and n_cells by sample and value), labels (by label of groups its most
    frequent answers and how many groups have them), and warnings.
    """
    sizes: Counter[int] = Counter()
    for summary in files.summaries:
        sizes.update({int(size): n for size, n in summary["sizes"].items()})
    asked = label_columns(column_names(files.annotations[0])) if files.annotations else []
    totals = ("n_groups", "n_cells", "n_grouped", "without_value", "without_genes")
    by = files.summaries[0]["by"]
    records = [*files.summaries, *files.stats]
    return {
        "sample": "groups of cells",
        "by": by,
        "cells_per_prompt": files.summaries[0]["cells_per_prompt"],
        **{name: sum(summary[name] for summary in files.summaries) for name in totals},
        "sizes": {str(size): n for size, n in sorted(sizes.items())},
        "n_truncated": int(obs["c2s_truncated"].sum()),
        "n_genes": float(obs["c2s_n_genes"].median()),
        "seconds": sum(stats.get("seconds", 0) for stats in files.stats),
        "groups": _counts(obs, by),
        "labels": {name: _labels(obs[name]) for name in asked},
        "warnings": list(dict.fromkeys(line for own in records for line in own["warnings"])),
    }


def _counts(obs: pd.DataFrame, by: str) -> list[dict]:
    """Numbers of groups and of their cells, by sample and value."""
    keys = [name for name in dict.fromkeys(["sample", by]) if name in obs]
    table = obs.assign(**{name: obs[name].astype(object).fillna("several") for name in keys})
    counts = table.groupby(keys, sort=True)["n_cells"].agg(["size", "sum"]).reset_index()
    names = [*keys, "n_groups", "n_cells"]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in counts.to_numpy()]


def _labels(labels: pd.Series, most: int = 10) -> dict[str, int]:
    """The most frequent labels, and how many groups have each."""
    counts = labels.value_counts().head(most)
    return {str(label): int(n) for label, n in counts.items() if n}


def _plain(value: object) -> object:
    return value if isinstance(value, str) else int(value) if isinstance(value, int) else str(value)
