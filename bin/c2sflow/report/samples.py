"""Sections of the report on the samples: QC, features, states, bulk, sentences."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from c2sflow.data.bulk.bulk import MOST_SAMPLES, TOP, TOP_GENES
from c2sflow.data.matrices import in_words
from c2sflow.data.state.normalization import LOG_NAMES
from c2sflow.report.files import result_table
from c2sflow.report.plots import (
    PADDING,
    PALETTE,
    Section,
    bar_plot,
    colors,
    common_bins,
    histogram_line,
    line_plot,
    median,
    number,
    padding,
    plain,
    ratio,
    safe,
    table_plot,
    total,
)
from c2sflow.report.run import Run

REASONS = {
    "no_genes": ("No genes", PALETTE[3]),
    "min_genes": ("Too few genes (min_genes)", PALETTE[1]),
    "max_pct_mt": ("Too much mitochondrial expression (max_pct_mt)", PALETTE[5]),
}
METRICS = {
    "n_genes_by_counts": (
        "Genes per cell",
        "Genes detected in a cell",
        "A second peak on the left may be debris or empty droplets, one on the right doublets.",
    ),
    "total_counts": (
        "Counts per cell",
        "Counts of a cell",
        "Samples sequenced to a similar depth have similar curves.",
    ),
    TOP: (
        f"Share of the top {TOP_GENES} genes",
        f"Expression from the {TOP_GENES} highest genes of a bulk sample (%)",
        "A sample far to the right may have low complexity, or a few dominant secreted genes.",
    ),
    "pct_counts_mt": (
        "Mitochondrial share",
        "Expression from mitochondrial genes (%)",
        "A long tail to the right often comes from dying cells; max_pct_mt cuts it.",
    ),
}


# Where modules/run.nf puts the command line, the run's name and its date when the run is done.
OF_THE_RUN = '<tr hidden class="c2s-of-the-run"></tr>'


def warnings(run: Run) -> list[Section]:
    """The warnings of all steps, added up over the shards of a sample."""
    found = run.counted_warnings
    if not found:
        return [Section("", content="<p>None: no step has a warning.</p>")]
    items = "".join(
        f"<li><strong>{safe(sample)}</strong>: {f'{number:,} ' if number else ''}{safe(text)}</li>"
        for sample, number, text in found
    )
    content = f'<div class="alert alert-warning"><ul class="mb-0">{items}</ul></div>'
    return [Section("", "Read these before you trust a number below.", content=content)]


def provenance(run: Run) -> list[Section]:
    """What made the results, from ``uns["c2s"]``."""
    provenance_of_run = run.provenance
    model, pipeline = provenance_of_run["model"], provenance_of_run["pipeline"]
    facts = {
        "Model": model["id"],
        **({"Base of the adapter": model["base"]} if "base" in model else {}),
        "Model revision": model["commit"] or model["revision"] or "local files",
        "Digest of the weights": model["digest"],
        "Architecture": f"{model['model_type']}, {model['num_layers']} layers, "
        f"{model['n_parameters']:,} parameters",
        "Embedding": f"{model['hidden_size']:,} numbers per cell",
        "Context": f"{model['context']:,} tokens",
        "Workflow": " ".join(filter(None, (pipeline.get("name"), pipeline.get("version")))),
        "Workflow revision": pipeline.get("revision") or "unknown",
    }
    parameters = {
        k: v for k, v in provenance_of_run["parameters"].items() if v != "" and k != "model"
    }
    content = facts_table(facts, OF_THE_RUN) + "".join(
        f'<details class="c2s-details"><summary>{title}</summary>{table}</details>'
        for title, table in (
            (f"{len(parameters)} parameters", facts_table(parameters)),
            (
                f"{len(provenance_of_run['prompts'])} prompts",
                _prompts(provenance_of_run["prompts"]),
            ),
            ("Versions of the software", facts_table(provenance_of_run["software"])),
        )
    )
    text = (
        "Everything needed to repeat this run; the same record is in <code>uns['c2s']</code> of "
        f"<code>{run.cells_name}</code>. Parameters that are not listed were left unset."
    )
    return [Section("", text, content=content), result_table(run)]


def facts_table(facts: Mapping[str, object], more: str = "") -> str:
    """Names and values, in two columns; `more` are further rows (HTML)."""
    rows = "".join(
        f'<tr><th class="text-nowrap">{safe(name)}</th>'
        f'<td class="text-break">{_one_line(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<table class="table table-sm c2s-facts"><tbody>{rows}{more}</tbody></table>'


def _one_line(value: object) -> str:
    return safe(str(plain(value)).replace("\n", "; "))


def _prompts(prompts: Mapping[str, str]) -> str:
    return "".join(
        f'<h4>Prompt for {name}</h4><pre class="c2s-prompt">{escape(text, quote=False)}</pre>'
        for name, text in prompts.items()
    )


def samples(run: Run) -> list[Section]:
    """General statistics: a row per sample."""
    rows = {}
    for record in run.qc:
        name = record["sample"]
        shards = [shard for shard in run.embed if shard["sample"] == name]
        own = run.obs[run.obs["sample"].astype(str) == name]
        rows[name] = {
            "cells_in": record["n_cells_in"],
            "cells_kept": record["n_cells_kept"],
            "genes": record["n_genes_kept"],
            "median_genes": median(own["n_genes_by_counts"]),
            "words": median(own["c2s_n_genes"]),
            "padding": padding(shards),
            "speed": ratio(total(shards, "n_cells"), total(shards, "seconds")),
            "organism": safe(record["organism"]),
            "state": safe(record["input_state"]),
        }
    headers = {
        "cells_in": number("Cells in", "Cells in the input"),
        "cells_kept": number("Cells kept", "Cells that passed quality control", scale="Greens"),
        "genes": number("Genes", "Genes kept: expressed in at least min_cells cells"),
        "median_genes": number("Genes / cell", "Genes detected in a cell: median"),
        "words": number("Genes / sentence", "Genes in the sentence that the model reads: median"),
        "padding": number("Padding", PADDING, "%", 1, top=100),
        "speed": number("Cells / s", "Cells embedded per second of one shard's task", "", 1),
        "organism": {"title": "Organism", "scale": False},
        "state": {"title": "Input", "description": "Values of the input", "scale": False},
    }
    text = (
        "One row per sample. Look for samples that lose many cells, or whose cells have far fewer "
        "genes than those of other samples. Genes are medians over the cells that were kept."
    )
    return [Section("", text, plot=table_plot("samples", "Samples", "Sample", rows, headers))]


def quality(run: Run) -> list[Section]:
    """Cells kept and dropped, and the distributions of the metrics."""
    bars = {
        record["sample"]: {"kept": record["n_cells_kept"], **record["dropped"]} for record in run.qc
    }
    name, parts = "Cells kept and dropped", {"kept": ("Kept", PALETTE[0]), **REASONS}
    if any("other_genome" in dropped for dropped in bars.values()):
        parts |= GENOME_REASONS
    plot = bar_plot("cells", name, "Cells", bars, parts)
    text = (
        "Cells that passed, and the first reason for dropping the others. A sample that loses most "
        "of its cells may need other thresholds, or be a poor preparation."
    )
    sections = [Section(name, text, plot=plot)]
    for metric, (name, axis, advice) in METRICS.items():
        records = {r["sample"]: r["histograms"].get(metric) for r in run.qc}
        whole = not metric.startswith("pct_")
        lines = _before_and_after({k: v for k, v in records.items() if v}, whole)
        if lines:
            text = f"Solid: cells kept; dashed: all cells, where some were dropped. {advice}"
            sections.append(Section(name, text, plot=line_plot(metric, name, axis, lines)))
    return [*sections, *values_read(run), *features(run), *bulk(run)]


def _before_and_after(histograms: Mapping[str, Mapping], whole: bool) -> list:
    if not any(h["edges"][-1] > 0 and sum(h["after"]) for h in histograms.values()):
        return []
    bins = common_bins((h["edges"] for h in histograms.values()), whole)
    lines = []
    for (sample, h), color in zip(histograms.items(), colors(len(histograms)), strict=True):
        lines.append(histogram_line(safe(sample), bins, h["edges"], h["after"], color))
        if h["after"] != h["before"]:
            name = f"{safe(sample)}, before"
            lines.append(histogram_line(name, bins, h["edges"], h["before"], color, dash="dash"))
    return lines


def sentences(run: Run) -> list[Section]:
    """How long the sentences are, and how well rank predicts expression."""
    records = [r for r in run.sentences if r["n_cells"]]
    sections = []
    if records:
        bins = common_bins(r["sentence_lengths"]["edges"] for r in records)
        lines = [
            histogram_line(safe(r["sample"]), bins, lengths["edges"], lengths["counts"], color)
            for r, color in zip(records, colors(len(records)), strict=True)
            for lengths in [r["sentence_lengths"]]
        ]
        name, axis = "Sentence lengths", "Genes in the cell sentence"
        text = (
            "Longer sentences cost more time and memory. A spike at the right end shows that "
            "max_genes cuts them."
        )
        sections.append(Section(name, text, plot=line_plot("lengths", name, axis, lines)))
    rows = {r["sample"]: r["rank_fit"] for r in run.sentences}
    rows["All samples"] = run.provenance["rank_fit"]
    headers = {
        "slope": number("Slope", "Change in expression per tenfold rank", "", 3, scale=False),
        "intercept": number("Intercept", "Expression at rank 1", "", 3, scale=False),
        "r_squared": number("R²", "Share of the variance explained", "", 3, "Greens", top=1),
        "n": number("Genes fitted", "Genes of all cells", scale=False),
    }
    text = (
        "Linear fit of log-normalised expression on log10 of a gene's rank in its cell. Predicted "
        "sentences are converted to expression with the fit of all samples. R² is for whole "
        "sentences in their true order: it does not judge which genes a model predicts, and an "
        "answer with fewer genes gives no value to the genes after its end."
    )
    plot = table_plot("rank_fit", "Rank-to-expression fit", "Sample", rows, headers)
    return [*sections, Section("Rank-to-expression fit", text, plot=plot)]


def bulk(run: Run) -> list[Section]:
    """Library size, genes and dominance of each bulk sample, if there are any."""
    rows = {
        f"{record['sample']} · {row['name']}": {k: v for k, v in row.items() if k != "name"}
        for record in run.qc
        for row in record.get("bulk_samples", ())
    }
    if not rows:
        return []
    headers = {
        "n_cells": number("Cells", "Cells that were summed", scale=False),
        "total_counts": number("Library size", "Counts of the sample"),
        "n_genes_by_counts": number("Genes", "Genes detected", scale="Greens"),
        TOP: number(f"Top {TOP_GENES}", "Share of the highest genes", "%", 1, "Reds", top=100),
        "pct_counts_mt": number("Mitochondrial", "Share of these genes", "%", 1, "Reds", top=100),
    }
    headers = {key: own for key, own in headers.items() if any(key in row for row in rows.values())}
    summed = {safe(", ".join(r["pseudobulk"]["by"])) for r in run.qc if "pseudobulk" in r}
    text = (
        "Bulk samples are not filtered: thresholds for cells do not apply. Look for libraries far "
        "smaller than the others, or dominated by few genes: their gene ranks are less reliable."
    )
    if summed:
        text += f" Pseudobulk: cells summed by {' and '.join(sorted(summed))}."
    if len(rows) >= MOST_SAMPLES:
        text += f" At most {MOST_SAMPLES} of each file are shown."
    name = "Bulk samples"
    return [Section(name, text, plot=table_plot("bulk", name, "Sample", rows, headers))]


# Cells that a chosen genome leaves out: parts of the bars of cells.
GENOME_REASONS = {
    "other_genome": ("Of another genome (genome)", PALETTE[4]),
    "mixed_genomes": ("Of mixed genomes: doublets (genome)", PALETTE[7]),
}


def features(run: Run) -> list[Section]:
    """Features left out by kind, genes by genome and the matrix that was read, if not plain X."""
    rows = {}
    titles: dict[str, str] = {}
    for record in run.qc:
        left_out, genes = record.get("features_left_out", {}), record.get("genome_genes", {})
        others = {name: n for name, n in genes.items() if name != record.get("genome")}
        row = {f"kind_{kind}": n for kind, n in left_out.items()}
        titles |= {f"kind_{kind}": safe(kind.replace("_", " ").capitalize()) for kind in left_out}
        row |= {f"genome_{name}": n for name, n in others.items()}
        titles |= {f"genome_{name}": f"Genes of {safe(name)}" for name in others}
        matrix, genome = record.get("matrix", "X"), record.get("genome")
        if row or matrix != "X":
            row |= {"genes": record["n_genes_in"], "matrix": safe(matrix)}
            rows[record["sample"]] = row | ({"genome": safe(genome)} if genome else {})
    if not rows:
        return []
    headers = {
        "genes": number("Genes", "Features that are genes, before min_cells", scale=False),
        **{key: number(title, "Left out", scale=False) for key, title in titles.items()},
        "genome": {"title": "Genome", "description": "The genome that is kept", "scale": False},
        "matrix": {"title": "Matrix", "description": "Source of the values", "scale": False},
    }
    text = (
        "Features that are not genes are excluded from sentences and totals. Types with up to a "
        f"few thousand features are in <code>obsm</code> of <code>{run.cells_name}</code>, with "
        "their names in <code>uns['c2s_features']</code>. Change this with "
        "<code>--features</code>, <code>--genome</code> and <code>--matrix</code>."
    )
    name = "Features read"
    return [Section(name, text, plot=table_plot("features", name, "Sample", rows, headers))]


def values_read(run: Run) -> list[Section]:
    """State of each sample's values and the evidence for it."""
    rows = {}
    for record in run.qc:
        state, base = record["input_state"], record.get("log_base")
        held = in_words(state) + (f" ({LOG_NAMES[base]})" if base in LOG_NAMES else "")
        rows[record["sample"]] = {
            "held": held,
            "why": safe(record.get("state_evidence", "not recorded")),
        }
    headers = {
        "held": {"title": "Values", "description": "Content of the matrix", "scale": False},
        "why": {"title": "Evidence", "description": "In all cells of the input", "scale": False},
    }
    text = (
        "How the values were interpreted, and why. If this is wrong, every sentence is wrong: "
        "declare the state with <code>--input_state</code>, or name another matrix with "
        "<code>--matrix</code>."
    )
    name = "Values read"
    return [Section(name, text, plot=table_plot("values", name, "Sample", rows, headers))]
