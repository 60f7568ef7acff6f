"""One shard's interpretations, from file to file: what INTERPRET does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from c2sflow.common.files import write_beside, write_json
from c2sflow.generation.interpretation import interpret, interpretation_warnings
from c2sflow.model.batching import peak_memory, resolve_cache_tokens
from c2sflow.model.tasks import batch_share, load, log_warnings, read_shard, run_figures
from c2sflow.sentences.groups.prompts import INTERPRETATION_PROMPT, group_template
from c2sflow.sentences.prompts import check_fields

LOGGER = logging.getLogger(__name__)


def interpret_shard(
    shard: Path,
    outdir: Path,
    options: Mapping[str, str],
    *,
    prompt: str | None = None,
    max_tokens: int = 256,
    max_batch_tokens: int | str | None = "auto",
    attempt: int = 1,
) -> None:
    """Write ``<shard>.interpretation.parquet`` and ``<shard>.interpret.json``.

    The table holds cell_id and the columns of `c2sflow.generation.interpretation.interpret`.

    Parameters
    ----------
    shard
        Parquet file of GROUPS.
    options
        model (a directory), device, dtype, attention, quantization: see
        `c2sflow.model.loading.load_model`.
    prompt
        See `c2sflow.sentences.groups.prompts.group_template`.
    max_tokens
        Tokens of a text.
    max_batch_tokens
        See `c2sflow.generation.decoding.generate_tokens`.
    attempt
        1, or more where memory ran out before: each has half the budget of the one before.
    """
    groups = read_shard(shard, options["model"])
    template = group_template(prompt, INTERPRETATION_PROMPT)
    check_fields(template, groups.columns, shard.name)
    model, tokenizer = load(options, head=True)
    budget = batch_share(resolve_cache_tokens(max_batch_tokens, model), attempt)
    records = groups.to_dict("records")
    table, stats = interpret(
        model, tokenizer, records, template, max_tokens, max_batch_tokens=budget
    )
    table.insert(0, "cell_id", groups["cell_id"].astype(str).to_numpy())
    with write_beside(outdir / f"{shard.stem}.interpretation.parquet") as partial:
        table.to_parquet(partial, index=False)
    figures = run_figures(model, shard.stem, groups) | {
        "n_groups": len(groups),
        "n_prompt_tokens": stats.n_prompt_tokens,
        "n_new_tokens": stats.n_new_tokens,
        "seconds": stats.seconds,
        "peak_memory_bytes": peak_memory(model.device),
        "warnings": log_warnings(interpretation_warnings(table, max_tokens)),
    }
    write_json(outdir / f"{shard.stem}.interpret.json", figures)
    LOGGER.info("%s: %d groups interpreted", shard.stem, len(groups))
