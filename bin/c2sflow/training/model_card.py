"""The model card of a trained model, written from the record of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from c2sflow.model.architectures.registry import family_of
from c2sflow.model.files import HUB_ID
from c2sflow.training.examples import UNCONDITIONAL, Templates

METHODS = {
    "lora": "LoRA: low-rank matrices beside every linear layer; the base's own weights are as "
    "they were",
    "qlora": "QLoRA: low-rank matrices beside every linear layer, trained on the base in 4 bits "
    "(nf4)",
    "full": "all weights of the base",
    "scratch": "all weights, from random ones",
}
TASKS = {
    "cell_type": "cell sentence to cell type",
    "generation": "cell type (in {unconditional:.0%} of the examples none) to cell sentence",
    "perturbation": "sentence of a control cell and a perturbation to the sentence of a cell that "
    "had it",
    "conversion": "sentence of a cell and “conversion to” a cell type to the sentence of a cell of "
    "that type",
    "tissue": "sentences of several cells to their tissue",
    "tissue_generation": "tissue or label (in {unconditional:.0%} of the examples none) to the "
    "sentences of several cells in one answer",
}

CARD = """---
library_name: {library}
pipeline_tag: text-generation
{base_line}tags: [biology, single-cell, cell2sentence]
---
# {title}

Trained by c2sflow {version} on cell sentences. {kind} Use it as `--model` of c2sflow with the
prompts below.

- **Base**: {base}
- **Method**: {method}; {n_trained:,} of {n_parameters:,} parameters trained
- **Loss**: the mean over the answers of the mean over an answer's tokens{gene_loss}

## Data

| split | cells | used for |
|---|---|---|
| train | {train:,} | training |
| validation | {validation:,} | {validation_use} |
| test | {test:,} | nothing: never read by the training |

Samples: {samples}. Which cell is in which split: `splits.tsv` of the run. Only test cells can show
how good the model is.

| task | share of the examples | what is asked |
|---|---|---|
{task_rows}

{pairing}

## Training

{steps:,} of at most {most_steps:,} steps ({tokens:,} tokens) in {minutes:.1f} minutes on
{processes}{device}, {dtype}, attention {attention}; {ended}.

| option | value |
|---|---|
{option_rows}

| step | tokens | training loss | validation loss |
|---|---|---|---|
{curve_rows}

The loss of an answer is the mean cross-entropy of its tokens, the end included (natural logarithm);
that of a task the mean over its answers, so that a short one counts as much as a long one. Training
loss: the mean over the answers of the steps. Validation loss: the mean over the tasks, weighted by
their shares ({weights}). {kept} The whole curve is in `loss.tsv`, the record of the run in
`finetune.json`. Software: {software}.

## Prompts

{prompts}
## Limits

The model has seen only such cells. Its predictions for other tissues, organisms, genes or
perturbations is a guess, and its predictions are hypotheses to be tested.
"""


def model_card(
    record: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    templates: Templates,
    version: str,
) -> str:
    """The card.

    Parameters
    ----------
    record
        Content of ``finetune.json``.
    rows
        Of the loss curve.
    templates
        Prompts of the examples.
    """
    base, options, n_cells = record["base"], record["options"], record["n_cells"]
    adapter = record["method"] in ("lora", "qlora") and not options["merge_adapter"]
    weight = options["prompt_gene_weight"]
    return CARD.format(
        library="peft" if adapter else "transformers",
        base_line=f"base_model: {base['id']}\n" if base and _on_hub(base["id"]) else "",
        title=f"{base['id'].rstrip('/').split('/')[-1]}, fine-tuned" if base else "A c2sflow model",
        version=version,
        kind=_kind(base) if adapter else "",
        base=_base(base, options["scratch_family"]),
        method=METHODS[record["method"]],
        n_trained=record["n_trainable"],
        n_parameters=record["n_parameters"],
        gene_loss=f", and {weight:g} times that of the genes of the prompt" if weight else "",
        **n_cells,
        validation_use="early stopping and the choice of the step" if n_cells["validation"] else
        "nothing",
        samples=", ".join(record["samples"]),
        task_rows="\n".join(
            f"| {task} | {share:.0%} | {TASKS[task].format(unconditional=UNCONDITIONAL)} |"
            for task, share in record["tasks"].items()
        ),
        pairing=_pairing(record),
        steps=record["steps"],
        most_steps=record["most_steps"],
        tokens=record["tokens"],
        minutes=record["seconds"] / 60,
        processes=f"{record['n_processes']} × " if record["n_processes"] > 1 else "",
        device=record["device"],
        dtype=record["dtype"],
        attention=record["attention"],
        ended="ended early, when validation got no better" if record["stopped"] == "patience"
        else "to the last step",
        option_rows="\n".join(f"| {name} | {value} |" for name, value in options.items()),
        curve_rows="\n".join(map(_curve_row, _some(rows))),
        kept=_kept(record),
        weights=", ".join(f"{task} {share:.0%}" for task, share in record["tasks"].items()),
        software=", ".join(f"{name} {found}" for name, found in record["software"].items()),
        prompts="".join(_prompt(task, templates) for task in record["tasks"]),
    )  # fmt: skip


def _on_hub(name: str) -> bool:
    """Whether the base's name is a Hugging Face id ("demo" is the bundled model)."""
    return name != "demo" and HUB_ID.fullmatch(name) is not None


def _kind(base: Mapping[str, str] | None) -> str:
    """How an adapter finds its base."""
    name = base["id"] if base else ""
    where = (
        "the model that c2sflow bundles"
        if name == "demo"
        else "a Hugging Face id, which is fetched"
        if _on_hub(name)
        else "a path from where the training was launched: it is looked for from there, and from "
        "the folders that hold this adapter"
    )
    return (
        f"It is an adapter and needs its base, `{name}` ({where}). If the base is elsewhere, name "
        "its folder or its Hugging Face id with `--base_model`."
    )


def _base(base: Mapping[str, str] | None, family: str) -> str:
    if base is None:
        name = family_of(family).name
        return f"none; a small {name} with random weights and a tokenizer made for the data"
    commit = f", revision {base['revision']} ({base['commit']})" if base["commit"] else ""
    return f"`{base['id']}`{commit}, digest {base['digest'][:16]}"


def _pairing(record: Mapping[str, Any]) -> str:
    if "perturbation" not in record["tasks"]:
        return ""
    options = record["options"]
    stratum = options["label_column"]
    alone = stratum in (None, options["perturbation_column"])
    alike = "organism" if alone else f"organism and {stratum}"
    origin = (
        f"of the same {alike}, and of the same {options['replicate_column'] or 'sample'} where it "
    )
    origin += "has any"
    if options["pairing"] == "assignment":
        return (
            "In every epoch as many control cells as perturbed cells were drawn anew at random, "
            f"{origin}; they were paired by optimal assignment."
        )
    return f"The control of a perturbed cell was drawn anew in every epoch, at random {origin}."


def _kept(record: Mapping[str, Any]) -> str:
    """Whose weights these are, and what the files are worth."""
    text = f"The weights are those of step {record['best_step']:,}"
    if record["validation_loss"] is None:
        return f"{text}."
    found = f"{record['validation_loss']:.4f}"
    read = f"Read from its files as {record['read_as']}, the model has a loss of {found}."
    if not record["best_step"]:
        return f"**✗ Nothing was learned**: {text}, before the training. {read}"
    return f"{text}, of the least validation loss. {read}"


def _some(rows: Sequence[Mapping[str, float]], most: int = 12) -> list[Mapping[str, float]]:
    """Rows with a validation, or all where there are none: at most so many, first and last too."""
    chosen = [row for row in rows if "validation_loss" in row] or list(rows)
    step = max(1, -(-(len(chosen) - 1) // (most - 1)))
    return [*chosen[:-1:step], chosen[-1]]


def _curve_row(row: Mapping[str, float]) -> str:
    def shown(name: str) -> str:
        value = row.get(name)
        return "" if value is None or value != value else f"{value:.4f}"

    losses = " | ".join(shown(name) for name in ("train_loss", "validation_loss"))
    return f"| {row['step']:,} | {row['tokens']:,} | {losses} |"


def _prompt(task: str, templates: Templates) -> str:
    template = templates.for_task(task)
    n = len(templates.wordings(task))
    many = f" (the first of {n} wordings, of which each example has one)" if n > 1 else ""
    return f"{task}{many}:\n\n```text\n{template}\n```\n\n"
