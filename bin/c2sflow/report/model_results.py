"""Sections of the report on what the model made: embeddings, predictions, generated cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from c2sflow.data.own_columns import PREFIX, generated_column
from c2sflow.report.plots import (
    PADDING,
    PALETTE,
    Section,
    bar_plot,
    number,
    padding,
    ratio,
    safe,
    table_plot,
    total,
)
from c2sflow.report.run import Run, constrained
from c2sflow.report.umap import predicted_umap, umap

MOST_PAIRS, MOST_ROWS = 5, 200  # gene pairs shown of each label, and in all


def embedding(run: Run) -> list[Section]:
    """The map of the cells, and how fast their embeddings were made."""
    return [umap(run), _throughput(run)]


def _throughput(run: Run) -> Section:
    rows = {shard["shard"]: _speed(shard, "n_cells", "n_tokens") for shard in run.embed}
    for shard in run.annotate:
        rows[f"{shard['shard']} · cell types"] = _speed(shard, "n_cells", "n_prompt_tokens")
    for shard in run.perturb:
        rows[f"{shard['shard']} · perturbation"] = _speed(shard, "n_predictions", "n_new_tokens")
    for task in run.generate:
        rows[task["shard"]] = _speed(task, "n_predictions", "n_new_tokens")
    headers = {
        "cells": number("Cells", "Cells embedded, annotated, predicted or generated", scale=False),
        "tokens": number(
            "Tokens", "Tokens of the prompts; for predictions: generated", scale=False
        ),
        "padding": number("Padding", PADDING, "%", 1, top=100),
        "cells_per_second": number(
            "Cells / s", "Cells per second, without start-up", "", 1, "Greens"
        ),
        "tokens_per_second": number("Tokens / s", "Tokens per second", scale="Greens"),
        "memory": number("Memory", "Peak memory of the device", "GiB", 2),
        **{
            key: {"title": key.capitalize(), "scale": False}
            for key in ("device", "dtype", "attention")
        },
    }
    text = (
        "One row per shard and step, each a separate task. A shard much slower than the others may "
        "have shared its machine. Padding is wasted computation."
    )
    plot = table_plot("throughput", "Throughput", "Shard", rows, headers)
    return Section("Throughput", text, plot=plot)


def _speed(shard: Mapping, cells: str, tokens: str) -> dict:
    """A row of the table of throughput."""
    seconds = shard["seconds"]
    return {
        "cells": shard[cells],
        "tokens": shard[tokens],
        "padding": padding([shard]) if "n_padding" in shard else math.nan,
        "cells_per_second": ratio(shard[cells], seconds),
        "tokens_per_second": ratio(shard[tokens], seconds),
        "memory": shard["peak_memory_bytes"] / 2**30,
        **{key: safe(shard[key]) for key in ("device", "dtype", "attention")},
    }


def attention(run: Run) -> list[Section]:
    """Which genes look at which, if there are attention maps."""
    if run.pairs is None:
        return []
    name = "Strongest gene pairs"
    if run.pairs.empty:
        return [Section(name, content="<p>No two genes occur in enough cells of a label.</p>")]
    most = max(1, min(MOST_PAIRS, MOST_ROWS // run.pairs["label"].nunique()))
    shares = ["attention", "shuffled_attention", "excess", "strongest_head_attention"]
    shown = run.pairs.groupby("label", sort=False).head(most)
    rows = {
        f"{row['label']} · {row['query_gene']} → {row['key_gene']}": row
        for row in shown.assign(**100 * shown[shares]).to_dict("records")
    }
    headers = {
        "excess": number("Excess", "Attention minus that of the positions", "%", 2),
        "attention": number("Attention", "Mean over heads and cells", "%", 2, top=100),
        "shuffled_attention": number(
            "By position", "Between the same positions, genes in random order", "%", 2, top=100
        ),
        "strongest_head": number("Head", "The head with the largest excess, from 0", scale=False),
        "strongest_head_attention": number("Its attention", "Mean over cells", "%", 2, top=100),
        "n_cells": number("Cells", "Cells of the label that hold both genes", scale=False),
        "n_cells_label": number("Mapped", "Cells of the label that have a map", scale=False),
    }
    text = (
        f"The {most} pairs of each label with the largest excess: how much more of its attention "
        "a gene (left of the arrow) pays to another one (right) than these positions of the "
        "sentence get with genes in random order. They are the largest of very many, so part of "
        "their excess is chance, especially with few cells; attention between two genes does not "
        "show that they interact. All pairs: "
        "<code>attention/attention_pairs.tsv</code>."
    )
    return [Section(name, text, plot=table_plot("pairs", name, "Pair", rows, headers))]


def perturbations(run: Run) -> list[Section]:
    """Predicted answers: how many, and how far to trust them."""
    if run.summary is not None and run.summary.empty:
        return [Section("", content="<p>There are no predicted cells.</p>")]
    sections = []
    if run.summary is not None:
        sections.append(_predictions(run.summary, run.perturb, free=not constrained(run)))
    sections += predicted_umap(run)
    if run.word_counts is not None and not constrained(run):  # else all words are new genes
        bars = {
            f"{condition} · {sample}": counts
            for (condition, sample), counts in run.word_counts.to_dict("index").items()
        }
        parts = {
            "valid": ("New genes", PALETTE[2]),
            "repeated": ("Repeated genes", PALETTE[6]),
            "invalid": ("Not a gene of the data", PALETTE[3]),
        }
        text = (
            "All words of the answers. Only new genes (green) become expression: if many words are "
            "repeated or not genes, do not rely on the answers."
        )
        name = "Validity of predicted genes"
        plot = bar_plot("validity", name, "Words", bars, parts, percentages=True)
        sections.append(Section(name, text, plot=plot))
    return sections


def answer_table(
    anchor: str,
    name: str,
    text: str,
    first: str,
    rows: Mapping[str, Mapping],
    counted: Mapping[str, Mapping],
    records: list[dict],
    free: bool,
) -> Section:
    """A section with a table of answers: how many, and how far to trust them.

    Parameters
    ----------
    text
        Of the section; what is known of the speed is added.
    first
        Title of the first column.
    rows
        Of a summary of MERGE, by what the first column shows.
    counted
        Headers of the columns with counts.
    records
        Records of the tasks, with their speed.
    free
        Whether decoding leaves words that are no new genes: else there are none to count.
    """
    bad: dict[str, Any] = {"scale": "Reds", "top": 100}
    wrong = {
        "invalid_fraction": number(
            "Invalid", "Words that are not genes of the data", "%", 1, **bad
        ),
        "duplicate_fraction": number("Repeated", "Genes repeated within an answer", "%", 1, **bad),
    }
    headers = {
        **counted,
        **(wrong if free else {}),
        "truncated_fraction": number(
            "Cut off", "Answers that the model would continue", "%", 1, **bad
        ),
        **_likelihood(rows),
    }
    shown = {
        key: {k: 100 * value if k.endswith("_fraction") else value for k, value in row.items()}
        for key, row in rows.items()
    }
    plot = table_plot(anchor, name, first, shown, headers)
    text += cut_answers(records) + _generation_speed(records)
    return Section(name, text, plot=plot)


LIKELIHOOD_HEADERS = {
    "log_likelihood_valid_mean": number(
        "Log-likelihood among genes",
        "Mean over the answers, each token among those that lead to a gene: higher is more "
        "confident",
        "", 1, scale=False,
    ),
    "log_likelihood_mean": number(
        "Log-likelihood", "Mean over the answers: higher is more confident", "", 1, scale=False
    ),
}  # fmt: skip


def _likelihood(rows: Mapping[str, Mapping]) -> dict[str, dict]:
    """The header of the likelihood that these rows have."""
    names = {name for row in rows.values() for name in row}
    return {name: header for name, header in LIKELIHOOD_HEADERS.items() if name in names}


def cut_answers(records: Sequence[Mapping]) -> str:
    """How many answers were cut, and how to get longer ones; "" if none was."""
    if not records:
        return ""
    n_answers, text = total(records, "n_predictions"), ""
    n_genes, source = records[0]["max_answer_genes"], records[0]["max_answer_genes_from"]
    if n_cut := total(records, "n_cut_by_genes"):
        own = ", as many as the model was trained with" if source == "model" else ""
        text += (
            f" {n_cut:,} of {n_answers:,} answers reached {n_genes:,} genes{own}, and were cut "
            "there: raise <code>--max_answer_genes</code> for longer ones."
        )
    if n_cut := total(records, "n_cut_by_tokens"):
        n_tokens = max(record["max_new_tokens"] for record in records)
        text += (
            f" {n_cut:,} of {n_answers:,} answers were cut at {n_tokens:,} tokens, before they "
            f"had {n_genes:,} genes: raise <code>--max_new_tokens</code>."
        )
    return text


def _generation_speed(records: list[dict]) -> str:
    """How fast the shards' answers were generated, and where; "" if that took no time."""
    tokens, seconds = total(records, "n_new_tokens"), total(records, "seconds")
    if not seconds:
        return ""
    devices = ", ".join(sorted({safe(record["device"]) for record in records}))
    return f" {tokens:,} tokens were generated, {tokens / seconds:,.0f}/s ({devices})."


def _predictions(summary: pd.DataFrame, records: list[dict], free: bool) -> Section:
    rows = {f"{row['condition']} · {row['sample']}": row for row in summary.to_dict("records")}
    counted = {
        "n_predictions": number("Predicted cells", "Control cells with this perturbation"),
        "n_genes_mean": number("Genes / answer", "Mean number of new, valid genes", "", 1),
    }
    bad = (
        "Many invalid, repeated or cut-off words are a bad sign; few do not prove that the answers "
        "are right"
        if free
        else "Decoding leaves only genes of the data, each once: that does not prove that the "
        "answers are right"
    )
    text = (
        f"One row per perturbation and sample. {bad}: see the evaluation. The predicted cells are "
        "in <code>c2s_perturbed.h5ad</code>."
    )
    name = "Predicted cells"
    return answer_table("predictions", name, text, "Perturbation", rows, counted, records, free)


MOST_TYPES = 200


def generation(run: Run) -> list[Section]:
    """Generated cells of each type, or tissue: how many, and how far to trust them."""
    if run.generated is None:
        return []
    kind = generated_column(run.generated)
    what = kind.removeprefix(PREFIX).replace("_", " ")
    several = run.generated["organism"].nunique() > 1
    rows = {}
    for row in run.generated.head(MOST_TYPES).to_dict("records"):
        name = row[kind] or "no type given"
        name = f"{name} · {row['organism']}" if several else name
        rows[name] = row
    counted = {
        "n_cells": number("Generated cells", f"Generated cells of this {what}"),
        "n_genes_mean": number("Genes / cell", "Mean number of valid genes", "", 1),
    }
    if "n_groups" in run.generated:
        counted["n_groups"] = number("Answers", "Answers of several cells that hold them")
        counted["n_missing"] = number("Missing", "Cells asked for that no answer holds")
    text = (
        f"One row per {what}: sentences generated by the model, in "
        "<code>c2s_generated.h5ad</code>. They are not measurements. With labels, the evaluation "
        "below compares them with real cells."
    )
    if "n_missing" in run.generated and (n_missing := run.generated["n_missing"].sum()):
        text += (
            f" Several cells were asked for in one answer, and {n_missing:,} did not come back: "
            "their answers ended before."
        )
    name, free = f"Generated cells by {what.split()[-1]}", not constrained(run)
    first = what.capitalize()
    return [answer_table("generated", name, text, first, rows, counted, run.generate, free)]
