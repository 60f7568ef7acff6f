"""The validation loss of a trained model as it is read back from its files.

What is used is the file, in the dtype of the steps that use it: in bfloat16 small changes of a
weight are rounded away, and with them some of what was learned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2sflow.model.adapters import has_adapter
from c2sflow.model.batching import resolve_max_batch_tokens
from c2sflow.model.hub import link_adapter
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.training.loss import answer_losses
from c2sflow.training.trainer import Validation

KEPT = 0.9  # share of what was learned that a file must keep to be written without a warning


def loss_as_read(
    directory: Path,
    base: Path | None,
    validation: Validation,
    *,
    device: str,
    dtype: str,
    quantization: str = "none",
) -> tuple[dict[str, float], str]:
    """Loss of each task, and the dtype that the model is read in.

    Parameters
    ----------
    directory
        Of the trained model.
    base
        Directory of its base, which an adapter needs.
    device, dtype, quantization
        See `c2sflow.model.loading.load_model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        if base is not None and has_adapter(directory):
            link_adapter(directory, base, Path(folder))
            directory = Path(folder)
        model = load_model(
            directory, head=True, device=device, dtype=dtype, quantization=quantization
        )
        pad = load_tokenizer(directory).pad_token_id
    tasks = list(validation.shares)
    sums = answer_losses(
        model,
        validation.examples,
        tasks,
        max_tokens=resolve_max_batch_tokens(None, model),
        attention=model.config._attn_implementation,
        pad_token_id=pad,
    )
    means = (sums[0] / sums[1]).tolist()
    return dict(zip(tasks, means, strict=True)), str(model.dtype).removeprefix("torch.")


def kept_warnings(record: Mapping[str, Any]) -> list[str]:
    """Warnings where the files hold less than was learned, or nothing was.

    Parameters
    ----------
    record
        first_validation_loss, best_validation_loss, validation_loss, best_step and read_as of
        ``finetune.json``.
    """
    before, best, found = (
        record[name]
        for name in ("first_validation_loss", "best_validation_loss", "validation_loss")
    )
    if before is None:
        return []
    if not record["best_step"]:
        return [
            "nothing was learned: the validation loss was never lower than before the "
            "training; the model is the one that the training began with. Use another "
            "--learning_rate, more --epochs or more cells"
        ]
    kept = (before - found) / (before - best)
    if kept >= KEPT:
        return []
    return [
        f"read as {record['read_as']}, the trained model keeps {max(kept, 0):.0%} of what it "
        f"learned (validation loss {before:.4f}, {best:.4f} after the training, {found:.4f} as "
        "read): use it with --dtype float32, or train with a higher --learning_rate"
    ]
