"""The model directory as the pipeline takes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from c2sflow.model_saving import save_model


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    heldout_ids: Iterable[str],
    outdir: Path,
) -> None:
    """Write bf16 weights, configurations, tokenizer and the names of the held-out cells."""
    save_model(model, tokenizer, outdir, torch.bfloat16)
    (outdir / "heldout_cells.txt").write_text("".join(f"{name}\n" for name in heldout_ids))
