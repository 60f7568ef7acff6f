"""Links from the report to the results beside it."""

from __future__ import annotations

from urllib.parse import quote

from c2sflow.report.plots import Section, safe
from c2sflow.report.run import Run

MOST_SAMPLES = 20  # with a link each
FIGURES = {
    "accuracy": "cell types read from the embedding and from expression",
    "confusion": "cells of each label by the type read from the embedding",
    "embedding": "how embeddings keep types together and mix batches",
    "labels": "other labels: predicted, and read from the embedding and from expression",
    "labels_confusion": "cells of each other label by what was predicted",
    "calibration": "whether the labels' probabilities are how often they are right",
    "calibration_curves": "reliability, and risk by coverage",
    "genes": "predicted and measured change of each gene",
    "perturbation": "predicted against measured cells",
    "held_out": "the same by what is new of the held-out cells",
    "benchmark": "metrics of the Virtual Cell Challenge, by cell-eval2",
    "generation": "generated against real cells",
    "text_scores": "BERTScore of predicted texts",
    "trust": "validity and novelty of the answers",
    "reconstruction": "expression recovered from ranks",
}


def result_files(run: Run) -> dict[str, str]:
    """Path of each result in the output folder, and what it holds."""
    files = {run.cells_name: "every cell that passed QC, with its embedding"}
    if run.summary is not None:
        files["c2s_perturbed.h5ad"] = "the predicted cells"
        files["perturbation/summary.tsv"] = "the answers to each perturbation"
    if run.effects is not None:
        files["perturbation/perturbation_effects.tsv"] = "predicted changes of each gene"
    if run.screen is not None:
        files["perturbation/screen.tsv"] = "shifts of gene sets"
    if run.generated is not None:
        files["c2s_generated.h5ad"] = "the generated cells"
        files["generation/summary.tsv"] = "the generated cells of each type"
    if run.pairs is not None:
        files["attention/attention_pairs.tsv"] = "the strongest gene pairs"
    tables = [*run.evaluation, *(["genes"] if run.changes is not None else [])]
    files |= {f"evaluation/{name}.tsv": FIGURES[name] for name in tables}
    if run.training is not None:
        files |= {
            "finetuned/": "the trained model", "finetuned/finetune.json": "how it was trained",
            "finetuned/splits.tsv": "the cells of each split",
        }  # fmt: skip
    if len(run.qc) > MOST_SAMPLES:
        files["qc/"] = f"QC of {len(run.qc):,} samples"
    else:
        files |= {f"qc/{record['id']}.json": f"QC of {record['sample']}" for record in run.qc}
    return files | {
        "pipeline_info/params.json": "parameters of the run",
        "pipeline_info/software_versions.yml": "versions of the software",
        "pipeline_info/execution_report.html": "time and memory of each task",
        "pipeline_info/verdict.json": "what is good and poor about the results, and all warnings",
    }


def result_table(run: Run) -> Section:
    """The results as a table of links."""
    rows = "".join(
        f'<tr><th class="text-nowrap">{_link(path)}</th><td>{safe(what)}</td></tr>'
        for path, what in result_files(run).items()
    )
    text = (
        "Links are relative: they work while this page is in the output folder. What each file "
        "holds: <code>docs/output.md</code>."
    )
    table = f'<table class="table table-sm c2s-facts"><tbody>{rows}</tbody></table>'
    return Section("Result files", text, content=table)


def with_links(text: str, run: Run) -> str:
    """A text (HTML) in which results that it names lead to them."""
    for path in result_files(run):
        text = text.replace(f"<code>{safe(path)}</code>", _link(path))
    return text


def _link(path: str) -> str:
    return f'<a href="{quote(path)}"><code>{safe(path)}</code></a>'
