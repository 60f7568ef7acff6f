"""What transformers did not find in a checkpoint, or did not use.

A hole would be filled with random numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from transformers import PreTrainedModel

from c2sflow.name_lists import some

# A pooler is on top of what is read of an encoder, and checkpoints of language models lack it.
UNUSED = re.compile(r"(.+\.)?pooler\..+")


def loading_faults(
    report: Mapping[str, Iterable], model: type[PreTrainedModel] | PreTrainedModel, names: set[str]
) -> list[str]:
    """What is wrong with the weights of a model by transformers' report of loading them.

    Parameters
    ----------
    report
        From ``from_pretrained(..., output_loading_info=True)``; transformers has taken out what a
        family is known to tie or drop.
    model
        The class, or the model: a backbone alone may leave out the head that a checkpoint has.
    names
        All tensors of the checkpoint.

    Returns
    -------
    A line for each kind of fault, without the model's name.
    """
    prefix = f"{model.base_model_prefix}."
    headless = not _has_head(model) and any(name.startswith(prefix) for name in names)
    missing = sorted(name for name in report["missing_keys"] if not UNUSED.fullmatch(name))
    left = sorted(n for n in report["unexpected_keys"] if not headless or n.startswith(prefix))
    sizes = sorted((name, list(own), list(asked)) for name, own, asked in report["mismatched_keys"])
    faults = []
    if missing:
        faults.append(
            f"the weights lack {_count(missing)} that config.json asks for ({some(missing)}), and "
            "random numbers would stand there; fetch the model again, or take the config.json "
            "that was saved with it"
        )
    if left:
        faults.append(
            f"the weights hold {_count(left)} that config.json has no place for ({some(left)}); "
            "take the config.json that was saved with them"
        )
    if sizes:
        name, own, asked = sizes[0]
        more = f", and {len(sizes) - 1} more differ" if len(sizes) > 1 else ""
        faults.append(
            f"{name} has the shape {own} and config.json asks for {asked}{more}; take the "
            "config.json that was saved with the weights"
        )
    faults += [" ".join(str(error).split())[:200] for error in report.get("error_msgs") or []]
    return faults


def _has_head(model: type[PreTrainedModel] | PreTrainedModel) -> bool:
    """Whether the backbone is a part of it, and not all of it."""
    whole = model if isinstance(model, type) else type(model)
    return whole.__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _count(names: list[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
