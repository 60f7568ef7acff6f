"""What a training leaves on record: its figures, the loss curve, which cell was in which split."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from c2sflow.common.files import TRAINING_SOFTWARE, software_versions, write_beside
from c2sflow.training.cells import SPLITS
from c2sflow.training.options import TrainingOptions
from c2sflow.training.trainee import n_trained
from c2sflow.training.trainer import Trainer
from c2sflow.training.written_loss import kept_warnings

PADDED = 0.1  # share of padding worth a warning


def training_record(
    options: TrainingOptions,
    trainer: Trainer,
    described: Mapping[str, str] | None,
    splits: pd.DataFrame,
    warnings: list[str],
) -> dict[str, Any]:
    """Content of ``finetune.json``.

    Parameters
    ----------
    trainer
        After its run.
    described
        id, revision, commit and digest of the base model.
    splits
        From `c2sflow.training.cells.read_splits`.
    warnings
        Warnings about the cells; more are added here.

    Returns
    -------
    The record without what `with_loss_as_read` adds.
    """
    progress, trainee, recipe = trainer.progress, trainer.trainee, trainer.recipe
    looked = [row for row in progress.rows if "validation_loss" in row]
    best = next((row for row in looked if row["step"] == progress.best_step), {})
    padding = 1 - progress.tokens / max(1, progress.slots)
    if padding > PADDED:
        warnings = [*warnings, f"{padding:.0%} of what went through the model was padding"]
    return {
        "method": options.method,
        "tasks": options.shares(),
        "base": described,
        "n_cells": {split: int((splits["split"] == split).sum()) for split in SPLITS},
        "samples": sorted(splits["sample"].unique()),
        "options": options.deciding()
        | {"learning_rate": recipe.rate, "merge_adapter": options.merge_adapter},
        "steps": progress.step,
        "most_steps": recipe.steps,
        "examples_per_step": recipe.examples_per_step,
        "best_step": progress.best_step,
        "stopped": progress.stopped,
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
        "train_loss": progress.rows[-1]["train_loss"],
        "first_validation_loss": looked[0]["validation_loss"] if looked else None,
        "best_validation_loss": best.get("validation_loss"),
        "validation_loss": None,
        "validation_losses": {},
        "n_parameters": trainee.model.num_parameters(),
        "n_trainable": n_trained(trainee),
        "padding": padding,
        "attention": trainee.attention,
        "device": str(trainee.model.device),
        "dtype": str(trainee.precision).removeprefix("torch."),
        "gradient_checkpointing": bool(trainee.model.is_activation_checkpointing),
        "n_processes": trainer.team.size,
        "resumed_from": trainer.resumed_from,
        "warnings": warnings,
        "software": software_versions(TRAINING_SOFTWARE),
    }


def with_loss_as_read(
    record: Mapping[str, Any], losses: Mapping[str, float], read_as: str, mean: float
) -> dict[str, Any]:
    """The record with the loss of the written model: of each task, and their mean."""
    found = {
        **record,
        "validation_loss": mean,
        "validation_losses": dict(losses),
        "read_as": read_as,
    }
    return {**found, "warnings": [*found["warnings"], *kept_warnings(found)]}


def write_tables(
    outdir: Path,
    rows: Sequence[Mapping[str, float]],
    splits: pd.DataFrame,
    state: str | None = None,
) -> None:
    """``loss.tsv``, ``splits.tsv`` and, where there is one, ``splits.toml``."""
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    with write_beside(outdir / "loss.tsv") as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: v for k, v in row.items() if not math.isnan(v)})
    with write_beside(outdir / "splits.tsv") as partial:
        splits.to_csv(partial, sep="\t", index=False)
    if state is not None:
        with write_beside(outdir / "splits.toml") as partial:
            partial.write_text(state, encoding="utf-8")
