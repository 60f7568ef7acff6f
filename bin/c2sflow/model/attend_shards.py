"""Attention maps of shards' chosen cells, from file to file: what ATTENTION does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.common.parquet import read_parquet
from c2sflow.common.progress import in_parts, progress_bar
from c2sflow.model.attention import BLOCKWISE
from c2sflow.model.attention_files import write_attention
from c2sflow.model.attention_maps import attention_maps, shuffled_maps
from c2sflow.model.embedding import check_layer
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tasks import read_shard
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, check_fields, first_genes, load_template

LOGGER = logging.getLogger(__name__)


def attend_shards(
    shards: Sequence[Path],
    chosen: Sequence[Path],
    outdir: Path,
    options: Mapping[str, str],
    *,
    embedding_prompt: str | None = None,
    layer: int = -1,
) -> None:
    """Write ``<shard>.attention.h5``: see `c2sflow.model.attention_files.write_attention`.

    Parameters
    ----------
    shards, chosen
        Parquet files of SENTENCES, and of CHOOSE for each of them; the model is loaded once.
    options
        model (a directory), device, dtype, quantization: see `c2sflow.model.loading.load_model`.
    embedding_prompt
        See `c2sflow.sentences.prompts.load_template`.
    layer
        Hidden state, as in `c2sflow.model.embedding.embed_cells`: the maps are those of the
        attention that made it.

    Raises
    ------
    UserError
        If no attention made the layer, or the files do not go together.
    """
    template = load_template(embedding_prompt, EMBEDDING_PROMPT, ["cell_sentence"])
    tables = [
        _chosen_cells(shard, table, template, options["model"])
        for shard, table in zip(shards, chosen, strict=True)
    ]
    tokenizer = load_tokenizer(options["model"])
    where = {name: options[name] for name in ("device", "dtype", "quantization")}
    model = load_model(options["model"], head=False, attention=BLOCKWISE, **where)
    position = check_layer(model, layer)
    if position == 0:
        raise UserError(f"--attention_maps: no attention made layer {layer}, the token embeddings")
    n_heads = model.config.num_attention_heads
    work = list(zip(shards, tables, strict=True))
    for shard, (cells, labels) in in_parts(work, [len(labels) for _, labels in tables]):
        records = _records_that_fit(
            cells, tokenizer, template, model.config.max_position_embeddings
        )
        about = [{**record, "label": labels[record["cell_id"]]} for record in records]
        asked = (model, tokenizer, template, records, position - 1)
        maps = zip(attention_maps(*asked), shuffled_maps(*asked), strict=True)
        target = outdir / f"{shard.stem}.attention.h5"
        write_attention(target, _watched(about, maps), layer=position, n_heads=n_heads)
        LOGGER.info("%s: attention of %d cells, layer %d", shard.stem, len(records), position)


def _chosen_cells(
    shard: Path, chosen: Path, template: str, model: str
) -> tuple[pd.DataFrame, pd.Series]:
    """The chosen cells of a shard in its order, and the label of each by cell_id."""
    labels = read_parquet(chosen).to_pandas().set_index("cell_id")["label"]
    cells = read_shard(shard, model)
    cells = cells[cells["cell_id"].isin(labels.index)]
    if len(cells) != len(labels):
        raise UserError(f"{chosen.name} names cells that {shard.name} does not have")
    check_fields(template, cells.columns, shard.name)
    return cells, labels


def _records_that_fit(
    cells: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, template: str, context: int
) -> list[dict[str, object]]:
    """Records of the cells that have genes, each with as many as fit into the model's context."""
    records = cells.to_dict("records")
    n_genes = tokenize_prompts(tokenizer, template, records, context).n_genes
    fitting = [first_genes(record, int(n)) for record, n in zip(records, n_genes, strict=True) if n]
    if len(fitting) < len(cells):
        LOGGER.warning("%d cells without genes have no map", len(cells) - len(fitting))
    return fitting


def _watched(
    cells: Sequence[Mapping[str, object]], maps: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[Mapping[str, object], np.ndarray, np.ndarray]]:
    with progress_bar(len(cells), "cell", True) as bar:
        for cell, (attention, shuffled) in zip(cells, maps, strict=True):
            yield cell, attention, shuffled
            bar.update()
