"""What cells are generated of, one or several an answer: in training and in generation."""

from __future__ import annotations

import re
from collections.abc import Mapping

from c2sflow.inputs.lists import names_types
from c2sflow.training.groups import named_kind as trained_kind


def trains(flat: Mapping, task: str) -> bool:
    """Whether --finetune names a task."""
    return re.search(rf"\b{task}\b", str(flat["finetune"] or "")) is not None


def generates_several(flat: Mapping) -> bool:
    """Whether GENERATE asks for several cells at once."""
    return bool(flat["generate"] and flat["cells_per_answer"])


def asks_for_several(flat: Mapping) -> bool:
    """Whether --generation_prompt asks for several cells at once, in training or generation."""
    trained = bool(flat["cells_per_answer"]) and trains(flat, "tissue_generation")
    return generates_several(flat) or trained


def named_kind(flat: Mapping) -> str:
    """What the prompts of generated cells name: "cell_type", "tissue", or "" for nothing."""
    if not flat["generate"] and trains(flat, "tissue_generation"):
        return trained_kind(flat["label_column"], flat["tissue_column"])
    if flat["cells_per_answer"] and flat["tissues"]:
        return "tissue"
    return "cell_type" if names_types(flat["cell_types"]) else ""
