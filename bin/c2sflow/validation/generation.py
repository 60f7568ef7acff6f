"""Whether cells can be generated as a run asks for it, and how many."""

from __future__ import annotations

import re
from collections.abc import Mapping

from c2sflow.common.errors import Faults, UserError
from c2sflow.generation.plan import GenerationPlan, generation_faults
from c2sflow.inputs.lists import NO_LIST, names_types, read_cell_types
from c2sflow.validation.generated_kind import named_kind, trains
from c2sflow.validation.inputs_staged import Staged
from c2sflow.validation.obs_columns import Targets


def check_generation(flat: Mapping, targets: Targets, faults: Faults) -> None:
    """Check that generated cells can differ, and that the options go together."""
    if not isinstance(flat["generate"], int):
        return
    together, tissues = flat["cells_per_answer"], flat["tissues"]
    kind = named_kind(flat) or "cell_type"
    n_together = together if isinstance(together, int) else 1
    prompt = targets.prompts.get("embedding_prompt", "")
    with faults.collect():
        faults += generation_faults(flat["generate"], flat["temperature"], prompt, n_together, kind)
    if tissues and not together:
        faults.append(
            f"--tissues {tissues}: models generate cells of a tissue several at once; give "
            "--cells_per_answer, such as 5"
        )
    if tissues and together and names_types(flat["cell_types"]) and not flat["annotate"]:
        faults.append(
            "--tissues and --cell_types exclude one another: a prompt names the tissue of its "
            "cells, or their type; leave one of them out"
        )
    if together and trains(flat, "generation") and not trains(flat, "tissue_generation"):
        faults.append(
            f"--cells_per_answer {together}: --finetune generation trains answers of one cell; "
            "train tissue_generation, or leave --cells_per_answer out"
        )


def generation_plan(
    flat: Mapping, targets: Targets, labels: list[str], tissues: list[str]
) -> GenerationPlan | None:
    """What --generate makes, as far as the parameters are sound."""
    if not isinstance(flat["generate"], int) or not targets.organisms:
        return None
    organisms = "\n".join(sorted(targets.organisms))
    size, together = flat["shard_size"], flat["cells_per_answer"]
    return GenerationPlan.from_options(
        flat["generate"],
        organisms,
        "\n".join(labels),
        size if isinstance(size, int) and size > 0 else "auto",
        together if isinstance(together, int) and together > 1 else None,
        "\n".join(tissues),
    )


def given_cell_types(flat: Mapping, staged: Staged, faults: Faults) -> list[str]:
    """The labels that an annotation chooses from, or that cells are generated of, if any."""
    given = flat["cell_types"]
    if not (flat["annotate"] or flat["generate"]) or given == NO_LIST:
        return []
    least = 2 if flat["annotate"] else 1
    return _given("cell_types", given, staged, least, faults)


def given_tissues(flat: Mapping, staged: Staged, faults: Faults) -> list[str]:
    """The tissues that cells are generated of, if any."""
    if not flat["generate"]:
        return []
    return _given("tissues", flat["tissues"], staged, 1, faults)


def _given(option: str, given: object, staged: Staged, least: int, faults: Faults) -> list[str]:
    if not isinstance(given, str):
        return []
    file = getattr(staged, f"{option}_file")
    with faults.collect():
        if not file and re.fullmatch(r"[^,]+\.(csv|tsv|txt)", given.strip()):
            raise UserError(f"--{option} {given}: no such file")
        return read_cell_types(given, file, least, option)
    return []


def generation_line(plan: GenerationPlan) -> str:
    """What is generated, for the log."""
    of = "no type"
    if plan.names:
        of = f"{len(plan.cell_types)} {plan.kind.replace('_', ' ')}s"
    together = f", {plan.n_together} an answer" if plan.n_together > 1 else ""
    return f"plan: {plan.n_cells} cells to generate, of {of}{together}"
