"""What a run is going to do, in words."""

from __future__ import annotations

from collections.abc import Mapping

from c2sflow.estimates import MIN_UNITS
from c2sflow.generation_plan import GenerationPlan
from c2sflow.targets import Targets


def plan_lines(
    samples: list[dict], targets: Targets, flat: Mapping, generation: GenerationPlan | None
) -> list[str]:
    """What the run is going to do, for the log."""
    n_cells = sum(sample["n_obs"] for sample in samples)
    size = flat["shard_size"]
    row = "cell" if all(s["input_kind"] == "cells" for s in samples) else "row"
    row = "row" if flat["pseudobulk"] else row
    counts = {"sample": len(samples), row: n_cells}
    if size != "auto":  # by the genes that QC keeps, which nobody knows yet
        counts["shard"] = sum(-(-sample["n_obs"] // size) for sample in samples)
    many = ", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items())
    of_cells = "" if size == "auto" else f" of at most {size} {row}s"
    lines = [f"plan: {many}{of_cells}"]
    if flat["attention_maps"]:
        n_maps = min(n_cells, flat["attention_maps"])
        lines.append(f"plan: attention maps of at most {n_maps} cells")
    unused = []
    if not flat["finetune"]:
        unused.append((["split_column", "max_steps", "checkpoint_dir"], "without --finetune"))
    if all(s["input_kind"] == "bulk" for s in samples):
        unused.append((["pseudobulk"], "with bulk samples only"))
    if generation:
        types = (
            f"{len(generation.cell_types)} cell types" if generation.cell_types[0] else "no type"
        )
        lines.append(f"plan: {generation.n_cells} cells to generate, of {types}")
    elif not flat["finetune"]:
        unused.append((["generation_prompt"], "without --generate or --finetune"))
    if not flat["annotate"]:
        if not flat["finetune"]:
            unused.append((["annotation_prompt"], "without --annotate"))
        if not generation:
            unused.append((["cell_types"], "without --annotate or --generate"))
    if not flat["evaluate"]:
        names = ["measured_column", "evaluation_key"]
        names = names[1:] if flat["finetune"] else names
        if not (targets.wanted or flat["label_column"]):  # which the report judges
            names.append("training_cells")
        unused.append((names, "without --evaluate"))
    said = flat["annotate"] and flat["label_column"]
    predicted = targets.wanted and (flat["measured_column"] or flat["perturbation_column"])
    if not flat["evaluate"]:
        unused.append((["text_encoder"], "without --evaluate"))
    elif not (said or predicted):
        why = "without --annotate and --label_column, or predictions and --measured_column"
        unused.append((["text_encoder"], why))
    if targets.wanted:
        n_predictions = targets.n_predictions(flat["max_cells_per_perturbation"])
        n_predictions *= flat["num_samples"]
        lines.append(f"plan: at most {n_predictions} perturbed cells to predict")
        if n_no_ops := targets.n_no_ops(flat["max_cells_per_perturbation"]) * flat["num_samples"]:
            lines.append(
                f"plan: at most {n_no_ops} answers to no-ops, to compare with (--no_op none: none)"
            )
        if names := targets.without_no_op():
            lines.append(
                f"{names[0]}: no no-op to compare with, and no p-values, since nothing tells the "
                "cells' own types: name their column with --label_column"
            )
        n_replicates = len(targets.replicates)
        if targets.replicate_column and n_replicates < MIN_UNITS:
            lines.append(
                f"--replicate_column {targets.replicate_column}: {n_replicates} in the cells to "
                f"perturb: with fewer than {MIN_UNITS} there are no intervals, ranks or p-values "
                "over them"
            )
        lines += targets.alike()
        if flat["perturbations"]:
            unused.append((["perturbation_column"], "beside --perturbations"))
        if not flat["gene_sets"]:
            unused.append((["context"], "without --gene_sets"))
        elif flat["context"] and len(targets.contexts) < 2:
            lines.append(f"--context {flat['context']}: one value only, nothing to compare")
    else:
        names = ["max_cells_per_perturbation"] + ["gene_vocabulary"] * (not generation)
        if not flat["finetune"]:
            names = ["control", *names, "perturbation_prompt", "measured_column"]
            names.append("replicate_column")
        unused.append(
            ([*names, "gene_sets", "context"], "without --perturbations or --perturbation_column")
        )
    for names, why in unused:
        given = ", ".join(f"--{name}" for name in names if flat[name] is not None)
        if given:
            lines.append(f"{given}: {why} no effect")
    return lines
