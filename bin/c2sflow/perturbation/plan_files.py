"""A run's cells to its plan: what PLAN does, from file to file."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.common.files import write_beside, write_json
from c2sflow.common.parquet import read_parquet
from c2sflow.inputs.perturbations import read_perturbations
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.perturbation.planning import (
    describe_no_ops,
    describe_plan,
    estimate_work,
    plan_predictions,
)
from c2sflow.sentences.no_ops import COMPARED_WITH, NO_OP, find_no_ops
from c2sflow.sentences.prompts import PERTURBATION_PROMPT, load_template, template_fields
from c2sflow.sentences.shards import obs_frame
from c2sflow.sentences.summaries import SentenceFiles

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
    max_answer_genes: int | None = None,
    max_new_tokens: int | None = None,
    num_samples: int = 1,
    no_op: str | None = None,
    measured_column: str | None = None,
    label_column: str | None = None,
    perturbation_column: str | None = None,
    control: str | None = None,
    training_cells: str | None = None,
    max_cells_per_perturbation: int | None = None,
    seed: int = 42,
) -> None:
    """Write ``plans/<shard>.plan.parquet``, and ``plan.json``: predictions of each shard.

    Parameters
    ----------
    cells_dir, sentences_dir
        Folder of <id>.obs.parquet and <id>.sentences.json.
    model
        Directory with tokenizer.json, config.json and, if there is one, c2s_model.json.
    perturbations, perturbations_file
        See `c2sflow.inputs.perturbations.read_perturbations`.
    perturbation_prompt, num_samples
        See `c2sflow.perturbation.planning.estimate_work`.
    max_answer_genes, max_new_tokens
        See `c2sflow.model.answer_limits.AnswerLength.of`.
    no_op, label_column
        See `c2sflow.sentences.no_ops.find_no_ops`.
    measured_column
        Its `perturbation_column`, if it is another than that of the plan.
    perturbation_column, control, training_cells, max_cells_per_perturbation, seed
        See `c2sflow.perturbation.planning.plan_predictions`.

    Raises
    ------
    UserError
        If the perturbations are faulty, or nothing is left to predict.
    """
    treatments, faults = read_perturbations(perturbations, perturbations_file)
    if faults:
        raise UserError("; ".join(faults))
    tables = [obs_frame(read_parquet(path)) for path in sorted(cells_dir.glob("*.obs.parquet"))]
    cells = pd.concat(tables, ignore_index=True)
    template = load_template(perturbation_prompt, PERTURBATION_PROMPT, ())
    no_ops = find_no_ops(
        no_op,
        cells,
        perturbations=[treatment.perturbation for treatment in treatments],
        control=control,
        perturbation_column=measured_column or perturbation_column,
        label_column=label_column,
        fields=template_fields(template),
    )
    plan = plan_predictions(
        cells,
        treatments=treatments,
        perturbation_column=perturbation_column,
        control=control,
        training_cells=training_cells,
        max_cells_per_perturbation=max_cells_per_perturbation,
        seed=seed,
        no_ops=no_ops,
    )
    if no_ops is None:
        plan = plan.assign(**{NO_OP: False, COMPARED_WITH: None})
    examples: list[str] = []
    words: set[str] = set()
    for summary in SentenceFiles.find(sentences_dir).values():
        examples += summary["examples"]
        words.update(summary["genes"])
    work = estimate_work(
        plan,
        cells,
        examples,
        model,
        template,
        AnswerLength.of(model, max_answer_genes, max_new_tokens),
        num_samples,
        words,
    )
    for line in [*describe_plan(plan, work, num_samples), *describe_no_ops(plan, num_samples)]:
        LOGGER.info(line)
    for shard, rows in plan.groupby("shard"):
        with write_beside(outdir / "plans" / f"{shard}.plan.parquet") as partial:
            rows.to_parquet(partial, index=False)
    counts = plan.groupby("shard").size()
    write_json(outdir / "plan.json", {str(k): int(v) for k, v in counts.items()})
