"""What the report says, section by section: figures of a run to MultiQC's plots and tables."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from multiqc.plots import bargraph, linegraph, table
from multiqc.types import Anchor

from c2sflow.report_map import CellMap

PALETTE = (
    "#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#9d755d",
    "#ff9da6", "#2f4b7c", "#88d27a", "#d67195", "#83bcb6", "#79706e", "#9ecae9", "#ffbf79",
    "#b5a300", "#a05195", "#1b7837", "#a50f15", "#6baed6", "#bdbd22", "#8c564b", "#d6a5c9",
)  # fmt: skip
GREY = "#bab0ac"
N_BINS = 50
REASONS = {
    "no_genes": ("No genes", PALETTE[3]),
    "min_genes": ("Too few genes (min_genes)", PALETTE[1]),
    "max_pct_mt": ("Too much mitochondrial expression (max_pct_mt)", PALETTE[5]),
}
METRICS = {
    "n_genes_by_counts": (
        "Genes per cell",
        "Genes detected in a cell",
        "A second hump at the left is debris or empty droplets, one at the right doublets.",
    ),
    "total_counts": (
        "Counts per cell",
        "Counts of a cell",
        "Samples sequenced to a similar depth have similar curves.",
    ),
    "pct_counts_mt": (
        "Mitochondrial share",
        "Expression from mitochondrial genes (%)",
        "A long tail to the right means dying cells; max_pct_mt is where it is cut.",
    ),
}


@dataclass
class Run:
    """All that the report is made of; see docs/output.md for the files.

    Parameters
    ----------
    qc, sentences
        Content of qc.json and sentences.json of each sample.
    embed, perturb
        Content of embed.json and perturb.json of each shard.
    provenance
        ``uns["c2s"]``.
    cells
        The cells' map.
    label_column
        Column of obs to colour by.
    said
        For each perturbation and sample, the sums of valid, repeated and invalid genes.
    summary
        Figures of each perturbation and sample.
    """

    qc: list[dict]
    sentences: list[dict]
    embed: list[dict]
    perturb: list[dict]
    provenance: dict
    cells: CellMap
    label_column: str | None = None
    said: pd.DataFrame | None = None
    summary: pd.DataFrame | None = None


@dataclass
class Section:
    """A part of a chapter: a name (also its anchor), a text, and a plot or HTML."""

    name: str
    description: str
    plot: object = None
    content: str = ""


def safe(text: object) -> str:
    """Text as HTML shows it; whatever a user may call a sample, it is never markup."""
    return escape(str(text), quote=False).replace("\n", " ")


def warnings(run: Run) -> list[Section]:
    """What went otherwise than expected, added up over the shards of a sample."""
    said: Counter[tuple[str, str]] = Counter()
    for record in (*run.qc, *run.embed, *run.perturb):
        for text in record["warnings"]:
            number, rest = re.fullmatch(r"(\d*) ?(.*)", text, re.DOTALL).groups()
            said[record["sample"], rest] += int(number or 0)
    if not said:
        return [Section("", "None: every step went as expected.")]
    items = "".join(
        f"<li><strong>{safe(sample)}</strong>: {f'{number:,} ' if number else ''}{safe(rest)}</li>"
        for (sample, rest), number in said.items()
    )
    content = f'<div class="alert alert-warning"><ul class="mb-0">{items}</ul></div>'
    return [Section("", "Read these before you trust a number below.", content=content)]


def provenance(run: Run) -> list[Section]:
    """What made the results, from ``uns["c2s"]``."""
    made = run.provenance
    model, pipeline = made["model"], made["pipeline"]
    facts = {
        "Model": model["id"],
        "Model revision": model["commit"] or model["revision"] or "local files",
        "Digest of the weights": model["digest"],
        "Architecture": f"{model['model_type']}, {model['num_layers']} layers, "
        f"{model['n_parameters']:,} parameters",
        "Embedding": f"{model['hidden_size']:,} numbers per cell",
        "Context": f"{model['context']:,} tokens",
        "Workflow": " ".join(filter(None, (pipeline.get("name"), pipeline.get("version")))),
        "Workflow revision": pipeline.get("revision") or "unknown",
    }
    parameters = {k: v for k, v in made["parameters"].items() if v != "" and k != "model"}
    columns = [
        _facts("Model and workflow", facts) + _facts("Software", made["software"]),
        _facts("Parameters", parameters) + _prompts(made["prompts"]),
    ]
    content = "".join(f'<div class="col-xl-6">{column}</div>' for column in columns)
    text = (
        "Everything needed to repeat this run; the same record lies in <code>uns['c2s']</code> of "
        "<code>c2s.h5ad</code>. Parameters that are not listed were left unset."
    )
    return [Section("", text, content=f'<div class="row">{content}</div>')]


def _facts(title: str, facts: Mapping[str, object]) -> str:
    rows = "".join(
        f'<tr><th class="text-nowrap">{safe(name)}</th>'
        f'<td class="text-break">{safe(_plain(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f'<h4>{title}</h4><table class="table table-sm c2s-facts"><tbody>{rows}</tbody></table>'


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _prompts(prompts: Mapping[str, str]) -> str:
    return "".join(
        f'<h4>Prompt for {name}</h4><pre class="c2s-prompt">{escape(text, quote=False)}</pre>'
        for name, text in prompts.items()
    )


def samples(run: Run) -> list[Section]:
    """General statistics: a row per sample."""
    lengths = {record["sample"]: record for record in run.sentences}
    rows = {}
    for record in run.qc:
        name = record["sample"]
        shards = [shard for shard in run.embed if shard["sample"] == name]
        words = sum(shard["n_genes"] for shard in lengths[name]["shards"])
        rows[name] = {
            "cells_in": record["n_cells_in"],
            "cells_kept": record["n_cells_kept"],
            "genes": record["n_genes_kept"],
            "median_genes": record["median_genes"],
            "words": words / max(1, lengths[name]["n_cells"]),
            "padding": _padding(shards),
            "speed": _ratio(_sum(shards, "n_cells"), _sum(shards, "seconds")),
            "organism": safe(record["organism"]),
            "state": safe(record["input_state"]),
        }
    headers = {
        "cells_in": _number("Cells in", "Cells in the input"),
        "cells_kept": _number("Cells kept", "Cells that passed quality control", scale="Greens"),
        "genes": _number("Genes", "Genes kept: expressed in at least min_cells cells"),
        "median_genes": _number("Genes / cell", "Median of the genes detected in a cell"),
        "words": _number("Genes / sentence", "Mean number of genes in a cell sentence"),
        "padding": _number("Padding", "Share of computed tokens that only fill up batches", "%", 1),
        "speed": _number("Cells / s", "Cells embedded per second of one shard's task", "", 1),
        "organism": {"title": "Organism", "scale": False},
        "state": {"title": "Input", "description": "What the input held", "scale": False},
    }
    text = (
        "A row per sample. Look for samples that lose many of their cells, or whose cells have far "
        "fewer genes than those of the others."
    )
    return [Section("", text, plot=_table("samples", "Samples", "Sample", rows, headers))]


def quality(run: Run) -> list[Section]:
    """Cells kept and dropped, and the distributions they were judged by."""
    data = {
        safe(record["sample"]): {"kept": record["n_cells_kept"], **record["dropped"]}
        for record in run.qc
    }
    reasons = {key: {"name": name, "color": color} for key, (name, color) in REASONS.items()}
    plot = bargraph.plot(
        data,
        {"kept": {"name": "Kept", "color": PALETTE[0]}, **reasons},
        {"id": "cells", "title": "Cells kept and dropped", "ylab": "Cells", "tt_decimals": 0},
    )
    text = (
        "Cells that passed, and the first reason for which the others were dropped. A sample that "
        "loses most of its cells needs other thresholds, or was a poor preparation."
    )
    sections = [Section("Cells kept and dropped", text, plot=plot)]
    for metric, (name, axis, advice) in METRICS.items():
        records = {r["sample"]: r["histograms"].get(metric) for r in run.qc}
        lines = _before_and_after({k: v for k, v in records.items() if v})
        if lines:
            text = f"Solid: cells kept; dashed: all cells, where some were dropped. {advice}"
            sections.append(Section(name, text, plot=_lines(metric, name, axis, lines)))
    return sections


def _before_and_after(histograms: Mapping[str, Mapping]) -> list[linegraph.Series]:
    if not any(h["edges"][-1] > 0 and sum(h["after"]) for h in histograms.values()):
        return []
    bins = _common_bins(h["edges"] for h in histograms.values())
    lines = []
    for (sample, h), color in zip(histograms.items(), _cycle(len(histograms)), strict=True):
        lines.append(_line(safe(sample), bins, h["edges"], h["after"], color))
        if h["after"] != h["before"]:
            name = f"{safe(sample)}, before"
            lines.append(_line(name, bins, h["edges"], h["before"], color, dash="dash"))
    return lines


def _common_bins(edges: Iterable[Sequence[float]]) -> np.ndarray:
    ends = [(e[0], e[-1]) for e in edges]
    return np.linspace(min(a for a, _ in ends), max(b for _, b in ends), N_BINS + 1)


def _line(
    name: str,
    bins: np.ndarray,
    edges: Sequence[float],
    counts: Sequence[int],
    color: str,
    dash: str | None = None,
) -> linegraph.Series:
    """A histogram over common bins: samples' own bins differ in width, so heights would mislead."""
    total = np.concatenate([[0], np.cumsum(counts)])
    heights = np.diff(np.interp(bins, edges, total))
    middles = (bins[1:] + bins[:-1]) / 2
    pairs = [(round(x, 4), round(y, 2)) for x, y in zip(middles.tolist(), heights, strict=True)]
    return linegraph.Series(name=name, pairs=pairs, color=color, dash=dash)


def _lines(anchor: str, title: str, axis: str, lines: list[linegraph.Series]) -> object:
    config = linegraph.LinePlotConfig(
        id=anchor,
        title=title,
        xlab=axis,
        ylab="Cells",
        ymin=0,
        tt_label="%{x:.4~g}: %{y:,.0f} cells",
    )
    names = [line.name for line in lines]
    return linegraph.LinePlot.create([lines], config, Anchor(anchor), names)


def sentences(run: Run) -> list[Section]:
    """How long the sentences are, and how well rank tells expression."""
    records = [r for r in run.sentences if r["n_cells"]]
    sections = []
    if records:
        bins = _common_bins(r["sentence_lengths"]["edges"] for r in records)
        lines = [
            _line(safe(r["sample"]), bins, *r["sentence_lengths"].values(), color)
            for r, color in zip(records, _cycle(len(records)), strict=True)
        ]
        name, axis = "Sentence lengths", "Genes in the cell sentence"
        text = (
            "Longer sentences cost more time and memory. A spike at the right end is where "
            "max_genes cuts them."
        )
        sections.append(Section(name, text, plot=_lines("lengths", name, axis, lines)))
    rows = {r["sample"]: r["rank_fit"] for r in run.sentences}
    rows["All samples"] = run.provenance["rank_fit"]
    headers = {
        "slope": _number("Slope", "Change of expression for a tenfold rank", "", 3, scale=False),
        "intercept": _number("Intercept", "Expression at rank 1", "", 3, scale=False),
        "r_squared": _number("R²", "Share of the variance explained", "", 3, "Greens", top=1),
        "n": _number("Genes fitted", "Genes of all cells", scale=False),
    }
    text = (
        "Log-normalised expression as a line over log10 of a gene's rank in its cell. Predicted "
        "sentences become expression by the line of all samples: the nearer R² is to 1, the more "
        "faithful that is."
    )
    plot = _table("rank_fit", "From rank to expression", "Sample", rows, headers)
    return [*sections, Section("From rank to expression", text, plot=plot)]


def embedding(run: Run) -> list[Section]:
    """The map of the cells, and how fast their embeddings were made."""
    return [_map(run), _throughput(run)]


def _map(run: Run) -> Section:
    cells, name = run.cells, "Map of the cells"
    if cells.coordinates is None:
        return Section(name, f"There is no map to draw: {cells.missing}")
    shown = f"{len(cells.obs):,} of {cells.n_cells:,}"
    text = (
        f"Each point is a cell ({shown} shown), placed by UMAP of its embedding "
        "<code>obsm['X_c2s']</code>: cells that the model finds alike lie together. Good "
        "embeddings keep labels apart and mix samples, unless the samples differ in biology. "
    )
    columns = list(cells.obs)
    text += " ".join(_agreement(cells, c) for c in columns if cells.obs[c].nunique() > 1)
    config = linegraph.LinePlotConfig(
        id="map",
        title="Map of the cells",
        xlab="UMAP 1",
        ylab="UMAP 2",
        height=600,
        data_labels=[{"name": safe(column)} for column in columns],
        tt_label=" ",
    )
    groups = [_points(cells, column) for column in columns]
    names = [series.name for series in groups[0]]
    plot = linegraph.LinePlot.create(groups, config, Anchor("map"), names)
    for dataset in plot.datasets:
        size = 6 if len(cells.obs) < 3000 else 4
        dataset.trace_params |= {"mode": "markers", "marker": {"size": size, "opacity": 0.8}}
    return Section(name, text, plot=plot)


def _agreement(cells: CellMap, column: str) -> str:
    found, chance = cells.agreement(column)
    return (
        f"Of a cell's {cells.neighbours.shape[1]} nearest neighbours, {found:.0%} have its "
        f"<code>{safe(column)}</code> ({chance:.0%} by chance)."
    )


def _points(cells: CellMap, column: str) -> list[linegraph.Series]:
    """Points by group: the largest have a colour each, the rest share one.

    MultiQC's own scatter plot makes each point a trace: too slow for thousands of cells.
    """
    groups = cells.obs[column].astype(object).where(cells.obs[column].notna(), "unknown")
    sizes = groups.astype(str).value_counts()
    largest = sorted(sizes.index[: len(PALETTE)])
    groups = groups.astype(str).where(groups.astype(str).isin(largest), None)
    colors = dict(zip(largest, PALETTE, strict=False))
    rest = f"{len(sizes) - len(largest)} others"
    order = [None, *largest] if len(sizes) > len(largest) else largest
    return [
        linegraph.Series(
            name=rest if group is None else safe(group),
            pairs=cells.coordinates[
                groups.isna() if group is None else (groups == group).to_numpy()
            ].round(3).tolist(),
            color=colors.get(group, GREY),
        )
        for group in order
    ]  # fmt: skip


def _throughput(run: Run) -> Section:
    rows = {
        shard["shard"]: {
            "cells": shard["n_cells"],
            "tokens": shard["n_tokens"],
            "padding": _padding([shard]),
            "cells_per_second": shard["cells_per_second"],
            "tokens_per_second": shard["tokens_per_second"],
            "memory": shard["peak_memory_bytes"] / 2**30,
            **{key: safe(shard[key]) for key in ("device", "dtype", "attention")},
        }
        for shard in run.embed
    }
    headers = {
        "cells": _number("Cells", "Cells in the shard", scale=False),
        "tokens": _number("Tokens", "Tokens of the prompts", scale=False),
        "padding": _number("Padding", "Share of computed tokens that only fill up batches", "%", 1),
        "cells_per_second": _number("Cells / s", "Cells embedded per second", "", 1, "Greens"),
        "tokens_per_second": _number("Tokens / s", "Tokens per second", scale="Greens"),
        "memory": _number("Memory", "Peak memory of the device", "GiB", 2),
        **{
            key: {"title": key.capitalize(), "scale": False}
            for key in ("device", "dtype", "attention")
        },
    }
    text = (
        "A row per shard, each a task of its own. Shards far slower than the others shared their "
        "machine; a padding above a few percent means that max_batch_tokens is too small."
    )
    plot = _table("throughput", "Throughput", "Shard", rows, headers)
    return Section("Throughput", text, plot=plot)


def perturbations(run: Run) -> list[Section]:
    """Predicted answers: how many, and how far to trust them."""
    sections = []
    if run.summary is not None:
        sections.append(_predictions(run))
    if run.said is not None:
        data = {
            safe(f"{perturbation} · {sample}"): counts
            for (perturbation, sample), counts in run.said.to_dict("index").items()
        }
        categories = {
            "valid": {"name": "Genes of the data, new in the answer", "color": PALETTE[2]},
            "repeated": {"name": "Genes said before", "color": PALETTE[6]},
            "invalid": {"name": "No gene of the data", "color": PALETTE[3]},
        }
        config = {
            "id": "said",
            "title": "What was said",
            "ylab": "Words",
            "tt_decimals": 0,
            "cpswitch_c_active": False,
        }
        text = (
            "All words of the answers. Only new, valid genes (green) become expression; a model "
            "that repeats itself or makes up genes has not learnt this task."
        )
        plot = bargraph.plot(data, categories, config)
        sections.append(Section("What was said", text, plot=plot))
    return sections


def _predictions(run: Run) -> Section:
    rows = {
        f"{row['perturbation']} · {row['sample']}": {
            key: 100 * value if key.endswith("_fraction") else value for key, value in row.items()
        }
        for row in run.summary.to_dict("records")
    }
    bad = {"scale": "Reds", "top": 100}
    headers = {
        "n_predictions": _number("Predicted cells", "Control cells with this perturbation"),
        "n_genes_mean": _number("Genes / answer", "Mean number of new, valid genes", "", 1),
        "invalid_fraction": _number("Invalid", "Words that are no gene of the data", "%", 1, **bad),
        "duplicate_fraction": _number("Repeated", "Genes said before", "%", 1, **bad),
        "truncated_fraction": _number(
            "Cut off", "Answers that max_new_tokens ended", "%", 1, **bad
        ),
        "log_likelihood_mean": _number(
            "Log-likelihood", "Mean of the answers: higher is surer", "", 1, scale=False
        ),
    }
    text = (
        "A row per perturbation and sample. Trust answers with few invalid, repeated and cut-off "
        "words; the predicted cells lie in <code>c2s_perturbed.h5ad</code>."
    )
    tokens, seconds = _sum(run.perturb, "n_new_tokens"), _sum(run.perturb, "seconds")
    if seconds:
        devices = ", ".join(sorted({safe(r["device"]) for r in run.perturb}))
        text += f" {tokens:,} tokens were generated, {tokens / seconds:,.0f} per second ({devices})."
    title = "Predicted cells"
    return Section(title, text, plot=_table("predictions", title, "Perturbation", rows, headers))


def _table(
    anchor: str, title: str, first: str, rows: Mapping[str, Mapping], headers: Mapping[str, Mapping]
) -> object:
    data = {
        safe(name): {key: _finite(values.get(key)) for key in headers}
        for name, values in rows.items()
    }
    config = {"id": anchor, "title": title, "col1_header": first, "sort_rows": False}
    return table.plot(data, {k: dict(v) for k, v in headers.items()}, config)


def _number(
    title: str,
    description: str,
    suffix: str = "",
    decimals: int = 0,
    scale: str | bool = "Blues",
    top: float | None = None,
) -> dict:
    """Header of a column of numbers; bars start at 0 and end at `top`."""
    header = {"title": title, "description": description, "scale": scale}
    bounds = {"min": 0, **({} if top is None else {"max": top})} if scale else {}
    form = f"{{:,.{decimals}f}}"
    return header | bounds | {"format": form, **({"suffix": f" {suffix}"} if suffix else {})}


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else _plain(value)


def _sum(records: Iterable[Mapping], key: str) -> float:
    return sum(record[key] for record in records)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _padding(shards: Sequence[Mapping]) -> float:
    padding = _sum(shards, "n_padding")
    return 100 * _ratio(padding, padding + _sum(shards, "n_tokens"))


def _cycle(n: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(n)]
