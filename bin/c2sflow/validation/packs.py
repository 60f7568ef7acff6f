"""Small samples share the tasks that load a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from c2sflow.sentences.shards import PROMPT_GENES, SHARD_GENES

CELL_GENES = 2_000  # that a cell expresses: QC counts them, after this
MOST_SAMPLES = 500  # of a pack: its task's command names the shard of each


def packs(
    samples: Sequence[Mapping], shard_size: int | str, max_genes: int | None
) -> dict[str, dict]:
    """The pack that each small sample is in: neighbours of the samplesheet, a shard in all.

    To load a model of 27 billion parameters takes minutes, far more than a sample of some cells.
    A sample that fills a shard is in no pack, and each of its shards is a task. Samples that are
    added at the end leave the packs before as they are.

    Parameters
    ----------
    samples
        Content of ``samples.json``: id, n_obs.
    shard_size, max_genes
        As `c2sflow.sentences.shards.shard_bounds` takes them. How large a shard "auto" makes is
        estimated by `CELL_GENES`.

    Returns
    -------
    id of each sample that shares a pack to the pack's id and size, its number of samples.
    """
    room = SHARD_GENES if shard_size == "auto" else int(shard_size)
    cell = min(CELL_GENES, max_genes or CELL_GENES) + PROMPT_GENES if shard_size == "auto" else 1
    found: list[list[str]] = []
    left = 0
    for sample in samples:
        size = sample["n_obs"] * cell
        if not found or size > left or len(found[-1]) == MOST_SAMPLES:
            found.append([])
            left = room
        left -= size
        found[-1].append(sample["id"])
    return {
        name: {"id": f"{pack[0]}+{len(pack) - 1}", "size": len(pack)}
        for pack in found
        if len(pack) > 1
        for name in pack
    }
