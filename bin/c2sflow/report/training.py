"""The training of the model in the report."""

from __future__ import annotations

import pandas as pd

from c2sflow.data.splits.splits import SPLITS, UNUSED
from c2sflow.report.plots import PALETTE, Section, bar_plot, curve_plot, plain
from c2sflow.report.run import Run
from c2sflow.report.samples import facts_table

STOPPED = {
    "steps": "all steps were done",
    "patience": "the validation loss stopped improving (patience)",
}
MOST_POINTS = 400  # of a curve


def finetuning(run: Run) -> list[Section]:
    """The recipe, the curve of the loss, and the splits."""
    if run.training is None:
        return []
    return [_recipe(run.training), _curve(run.training, run.losses), _splits(run)]


def _recipe(record: dict) -> Section:
    base = record["base"] or {"id": "none: from scratch", "commit": ""}
    shares = ", ".join(f"{name} {share:.0%}" for name, share in record["tasks"].items())
    facts = {
        "Method": record["method"],
        "Base": " ".join(filter(None, (base["id"], base.get("commit") or base.get("revision")))),
        "Tasks": shares,
        "Trained weights": f"{record['n_trainable']:,} of {record['n_parameters']:,}",
        "Steps": f"{record['steps']:,}, ended because "
        f"{STOPPED.get(record['stopped'], record['stopped'])}",
        "Weights used": f"those of step {record['best_step']:,}"
        + ("" if has_learned(record) is not False else " ✗ nothing was learned"),
        "Tokens": f"{record['tokens']:,}, {record['tokens_per_second']:,.0f} per second",
        "Validation loss": _validated(record),
        "Ran on": f"{record['device']}, {record['dtype']}, attention {record['attention']}",
    }
    options = {name: plain(v) for name, v in record["options"].items() if v not in (None, "")}
    content = facts_table(facts) + (
        f'<details class="c2s-details"><summary>{len(options)} options</summary>'
        f"{facts_table(options)}</details>"
    )
    text = (
        "This run trained its model; every metric below is for the trained model. It is in "
        "<code>finetuned/model</code>, for use as <code>--model</code>."
    )
    return Section("Recipe", text, content=content)


def _validated(record: dict) -> str:
    if record["validation_loss"] is None:
        return "none: no validation cell has an answer"
    before = record["first_validation_loss"]
    read = f", of the files read as {record['read_as']}" if "read_as" in record else ""
    return f"{record['validation_loss']:.4f} ({before:.4f} before training){read}"


def has_learned(record: dict) -> bool | None:
    """Whether the written model is better on validation cells than before; None where unknown."""
    if record["validation_loss"] is None:
        return None
    return bool(record["best_step"] and record["validation_loss"] < record["first_validation_loss"])


def _curve(record: dict, losses: pd.DataFrame) -> Section:
    columns = {"train_loss": "training"} | {
        name: name.removesuffix("_loss").replace("_", ": ", 1)
        for name in losses.columns
        if name.startswith("validation_")
    }
    if sum(name.startswith("validation_") for name in columns) == 2:  # one task: twice the same
        columns.popitem()
    curves = {}
    for name, title in columns.items():
        known = losses[["tokens", name]].dropna()
        known = known.iloc[:: -(-len(known) // MOST_POINTS)] if len(known) else known
        curves[title] = list(known.astype(float).itertuples(index=False, name=None))
    name = "Loss"
    text = (
        "Mean negative log-probability (natural logarithm) of an answer's tokens, its end "
        "included; then the mean over answers, so that a short one counts as much as a long one. "
        "The validation loss is the mean over the tasks, weighted by their shares, and is of cells "
        "that the model was not trained on: where it rises while the other falls, the model "
        f"overfits. The weights of step {record['best_step']:,} were used."
    )
    axes = ("Tokens trained on", "Loss (nats per token, mean over answers)")
    plot = curve_plot("loss", name, axes, {k: v for k, v in curves.items() if v})
    return Section(name, text, plot=plot)


def _splits(run: Run) -> Section:
    bars = {record["sample"]: record["splits"] for record in run.qc}
    names = {**{split: split.capitalize() for split in SPLITS}, UNUSED: "Not used"}
    parts = {
        key: (name, color)
        for (key, name), color in zip(names.items(), PALETTE, strict=False)
        if any(bar.get(key) for bar in bars.values())
    }
    name = "Splits"
    text = (
        "Cells after quality control used for training, for validation (early stopping), and held "
        "out for the evaluation. Per cell: <code>obs['c2s_split']</code> and "
        "<code>finetuned/splits.tsv</code>."
    )
    return Section(name, text, plot=bar_plot("splits", name, "Cells", bars, parts))
