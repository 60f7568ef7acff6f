"""A run's cells to its plan: what PLAN does, from file to file."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from c2sflow.errors import UserError
from c2sflow.perturbations import read_perturbations
from c2sflow.plan_work import describe_plan, estimate_work
from c2sflow.planning import plan_predictions
from c2sflow.prompts import PERTURBATION_PROMPT, load_template
from c2sflow.provenance import write_beside, write_json
from c2sflow.shards import obs_frame
from c2sflow.summaries import SentenceFiles

LOGGER = logging.getLogger(__name__)


def write_plan(
    cells_dir: Path,
    sentences_dir: Path,
    model: Path,
    outdir: Path,
    *,
    perturbations: str | None = None,
    perturbations_file: Path | None = None,
    perturbation_prompt: str | None = None,
    max_new_tokens: int = 200,
    num_samples: int = 1,
    **options: object,
) -> None:
    """Write ``plans/<shard>.plan.parquet``, and ``plan.json``: predictions of each shard.

    Parameters
    ----------
    cells_dir, sentences_dir
        Where <id>.obs.parquet and <id>.sentences.json lie.
    model
        Directory with tokenizer.json and config.json.
    perturbations, perturbations_file
        See `c2sflow.perturbations.read_perturbations`.
    perturbation_prompt, max_new_tokens, num_samples
        See `c2sflow.plan_work.estimate_work`.
    options
        Those of `c2sflow.planning.plan_predictions`.

    Raises
    ------
    UserError
        If the perturbations are faulty, or nothing is left to predict.
    """
    treatments, faults = read_perturbations(perturbations, perturbations_file)
    if faults:
        raise UserError("; ".join(faults))
    tables = [obs_frame(pq.read_table(path)) for path in sorted(cells_dir.glob("*.obs.parquet"))]
    cells = pd.concat(tables, ignore_index=True)
    plan = plan_predictions(cells, treatments=treatments, **options)
    summaries = SentenceFiles.of(sentences_dir).values()
    work = estimate_work(
        plan,
        cells,
        [text for summary in summaries for text in summary["examples"]],
        model,
        load_template(perturbation_prompt, PERTURBATION_PROMPT, ()),
        max_new_tokens,
        num_samples,
    )
    for line in describe_plan(plan, work, num_samples):
        LOGGER.info(line)
    for shard, rows in plan.groupby("shard"):
        with write_beside(outdir / "plans" / f"{shard}.plan.parquet") as partial:
            rows.to_parquet(partial, index=False)
    counts = plan.groupby("shard").size()
    write_json(outdir / "plan.json", {str(k): int(v) for k, v in counts.items()})
