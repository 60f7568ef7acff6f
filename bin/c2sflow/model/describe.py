"""What MODEL does: models checked and described under the names that the user gave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from c2sflow.common.errors import Faults
from c2sflow.model.files import describe_model
from c2sflow.model.trained import read_trained, task_warnings
from c2sflow.sentences.organism_words import words_line

# Fields of `c2sflow.model.prompt_room.Asked` of prompts that are answered.
ANSWERS = {"n_tokens", "labels", "n_genes"}


@dataclass(frozen=True)
class Place:
    """Where a run's model will run: `device`, `dtype` and `quantization` are its parameters.

    Attributes
    ----------
    gpus
        Of each task.
    here
        On this machine, whose memory is then known.
    """

    device: str = "auto"
    dtype: str = "auto"
    quantization: str = "none"
    gpus: int = 1
    here: bool = False


def check_and_describe(
    directory: Path | None,
    encoder: Path | None,
    model: str,
    asked: Mapping[str, Mapping],
    place: Place = Place(),
) -> tuple[dict, Faults, str]:
    """Check the model and the text encoder of a run.

    Parameters
    ----------
    directory
        Of the model; None where one is trained from scratch.
    encoder
        Directory of the text encoder, or None.
    model
        As the results call it.
    asked
        By option, the fields of `c2sflow.model.prompt_room.Asked`.
    place
        Where it will run.

    Returns
    -------
    The description (see `c2sflow.model.files.describe_model`), empty without a model or with
    faults; the faults; and lines for the log.
    """
    faults, record, log = Faults(), {}, "no model to check: one is trained from scratch"
    if directory or encoder:  # torch takes seconds
        from c2sflow.model.check import encoder_faults, model_faults
        from c2sflow.model.prompt_room import Asked
    if directory:
        prompts = {name: Asked(**fields) for name, fields in asked.items()}
        wrong = model_faults(directory, prompts)
        faults += [fault.replace(f"model {directory}:", f"--model {model}:") for fault in wrong]
    if encoder:
        wrong = encoder_faults(encoder)
        faults += [fault.replace(f"model {encoder}:", "--text_encoder:") for fault in wrong]
    if directory and not faults:
        with faults.collect(f"--model {model}: "):
            memory = _memory(directory, place)
    if directory and not faults:
        record = describe_model(directory, model)
        answered = [name for name, fields in asked.items() if set(fields) & ANSWERS]
        fitting, room = _room(directory, prompts)
        if warnings := [*task_warnings(read_trained(directory), answered, model), *room]:
            record["warnings"] = warnings
        if words := read_trained(directory).organism_words:
            record["organism_words"] = dict(words)
        log = (
            f"model {model}: {record['model_type']}, {record['n_parameters']:,} parameters; names, "
            f"shapes and values of all tensors checked{_trained_for(directory)}\n{memory}"
        )
        log = "\n".join([log, *fitting])
    return record, faults, log


def _memory(directory: Path, place: Place) -> str:
    """What the model takes, for the log.

    Raises
    ------
    UserError
        If this machine, where it will run, can never hold it.
    """
    import torch

    from c2sflow.model import placement
    from c2sflow.model.config import load_config
    from c2sflow.model.memory_plan import ALTERNATIVES, MemoryPlan, kept_bytes

    config = load_config(directory)
    cpu = place.device == "cpu"
    dtype = {"auto": "float32" if cpu else "bfloat16"}.get(place.dtype, place.dtype)
    plan = MemoryPlan(config, getattr(torch, dtype), head=True)
    # A container may see no GPU here that the tasks on one will see.
    if place.here and (cpu or placement.sees_gpu()):
        device = placement.resolve_device(place.device)
        sizes = placement.whole_memory(device)[: place.gpus]
        placement.place(plan, place.quantization, device, sizes, what="")
    amount = placement.amount
    smaller = ", ".join(f"{amount(plan.weights(name))} as {name}" for name in ALTERNATIVES)
    answer = 1000 * kept_bytes(config, plan.dtype)
    return (
        f"memory of the model: {amount(plan.weights())} in {dtype} ({smaller}), at least "
        f"{amount(plan.working())} to work, and {amount(answer)} for each 1,000 tokens of a prompt "
        "that is answered"
    )


def _room(directory: Path, asked: Mapping) -> tuple[list[str], list[str]]:
    """See `c2sflow.model.prompt_room.room_lines`."""
    from c2sflow.model.config import load_config, load_tokenizer
    from c2sflow.model.prompt_room import room_lines

    context = load_config(directory).max_position_embeddings
    return room_lines(load_tokenizer(directory), context, asked)


def _trained_for(directory: Path) -> str:
    """What a model of ours was trained for, for the log; "" of others."""
    trained, parts = read_trained(directory), []
    if trained.max_answer_genes:
        parts.append(f"answers of at most {trained.max_answer_genes} genes")
    if trained.max_genes:
        parts.append(f"sentences of {trained.max_genes} genes")
    if trained.organism_words:
        parts.append(f"prompts that call {words_line(trained.organism_words)}")
    if trained.tasks:
        parts.append(" and ".join(trained.tasks))
    if trained.cell_types:
        parts.append(f"{len(trained.cell_types)} cell types")
    return f"; trained for {' and '.join(parts)}" if parts else ""
