"""What MODEL does: models checked and described under the names that the user gave them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from c2sflow.common.errors import Faults
from c2sflow.model.files import describe_model
from c2sflow.model.trained import read_trained


def check_and_describe(
    directory: Path | None, encoder: Path | None, model: str, asked: Mapping[str, Mapping]
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

    Returns
    -------
    The description (see `c2sflow.model.files.describe_model`), empty without a model or with
    faults; the faults; and a line for the log.
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
        record = describe_model(directory, model)
        log = (
            f"model {model}: {record['model_type']}, {record['n_parameters']:,} parameters; names, "
            f"shapes and values of all tensors checked{_trained_for(directory)}"
        )
    return record, faults, log


def _trained_for(directory: Path) -> str:
    """What a model of ours was trained for, for the log; "" of others."""
    trained, parts = read_trained(directory), []
    if trained.max_answer_genes:
        parts.append(f"answers of at most {trained.max_answer_genes} genes")
    if trained.cell_types:
        parts.append(f"{len(trained.cell_types)} cell types")
    return f"; trained for {' and '.join(parts)}" if parts else ""
