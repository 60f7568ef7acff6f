"""The model directory as the pipeline takes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    heldout_ids: Iterable[str],
    outdir: Path,
) -> None:
    """Write bf16 weights, configurations, tokenizer and the names of the held-out cells."""
    outdir.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(outdir)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(outdir)
    path = outdir / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    # By another class's name AutoTokenizer would rebuild the tokenizer, and genes fall apart.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n")
    (outdir / "heldout_cells.txt").write_text("".join(f"{name}\n" for name in heldout_ids))
    for file in outdir.iterdir():
        file.chmod(0o644)  # transformers writes weights for their owner only
