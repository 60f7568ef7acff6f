#!/usr/bin/env python
"""Write the tables of docs/benchmarks.md from the tables of the runs of `make benchmark`.

python benchmarks/honest/table.py results/benchmark --seconds 1200

Nothing is computed here: every figure is one of a run's own evaluation/*.tsv. Each table stands
between <!-- NAME --> and <!-- /NAME -->; the text around them is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from measured import measured  # noqa: E402

EXPERIMENTS = ("kang", "norman", "mcfaline")
TITLES = {"finetuned": "fine-tuned", "zero_shot": "zero-shot"}  # runs of each
# Columns of a table: heading, run of the experiment, predictor in its tables.
OWN_COLUMNS = (
    ("fine-tuned", "finetuned", "model"),
    ("zero-shot", "zero_shot", "model"),
    ("no change", "finetuned", "no_change"),
    ("another control cell", "finetuned", "another_control"),
    ("mean of the other perturbations", "finetuned", "perturbation_mean"),
    ("training mean", "finetuned", "training_mean"),
    ("measured half", "finetuned", "measured_half"),
)
CELL_EVAL_COLUMNS = (
    ("fine-tuned", "finetuned", "model"),
    ("zero-shot", "zero_shot", "model"),
    ("no change", "finetuned", "no_change"),
    ("mean response", "finetuned", "mean_response"),
    ("linear", "finetuned", "linear"),
    ("replicate", "finetuned", "replicate"),
)
CEILINGS = ("measured half", "replicate")  # measured cells themselves: never marked as the best
# metric, space, what it is, factor, whether more is better
OWN_ROWS = (
    ("pearson_change", "expression", "correlation of the change, all genes", 1, True),
    ("pearson_change_top_20", "expression", "the same, top 20 genes", 1, True),
    (
        "pearson_log2_fold_change",
        "genes",
        "the same of fold changes, against the no-op",
        1,
        True,
    ),
    ("mse_top_20", "expression", "squared error × 1000, top 20 genes", 1000, False),
    ("direction_significant", "expression", "direction right, genes with p < 0.05", 1, True),
    ("gene_overlap_top_100", "pseudobulk", "highest 100 genes in common", 1, True),
    ("energy_distance", "expression_pcs", "energy distance", 1, False),
)
CELL_EVAL_ROWS = (
    ("pds_cosine", True), ("pds_l1", True), ("pds_l2", True), ("delta_pearson", True),
    ("expr_mse_unbiased_capped_norm", False), ("de_wilcoxon_overlap", True),
    ("de_wilcoxon_sig_jaccard", True), ("de_wilcoxon_direction_match", True),
    ("de_wilcoxon_direction_fidelity_yield_raw", True),
    ("de_wilcoxon_direction_reach_raw", True), ("de_wilcoxon_lfc_nmae", False),
)  # fmt: skip
# metric, what it is, decimals
CALIBRATION = (
    ("accuracy", "accuracy", 3),
    ("confidence", "mean probability", 3),
    ("ece", "calibration error", 3),
    ("ece_tempered", "the same with the temperature", 3),
    ("ece_isotonic", "the same by isotonic regression", 3),
    ("rms_error", "root mean square error, less chance", 3),
    ("rms_error_tempered", "the same with the temperature", 3),
    ("rms_error_isotonic", "the same by isotonic regression", 3),
    ("temperature", "temperature", 2),
    ("log_loss", "log loss", 3),
    ("log_loss_tempered", "the same with the temperature", 3),
    ("aurc", "mean risk (right: cells left out by chance)", 3),
)
EMBEDDING_METRICS = ("nmi", "ari", "silhouette", "graph_connectivity", "clisi")
SPACES = (
    ("fine-tuned", "X_c2s"),
    ("zero-shot", "X_c2s of the input"),
    ("principal components", "expression_pcs"),
    ("the same of variable genes", "variable_gene_pcs"),
    ("random", "random"),
)
PACKAGES = ("cell-eval2", "torch", "transformers", "scanpy", "anndata", "numpy")
UNITS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", type=float, help="What all runs took together.")
@click.option("--note", default="", help="On the machine, such as: beside other work.")
@click.option("--docs", type=click.Path(path_type=Path), default=ROOT / "docs/benchmarks.md")
def main(results: Path, seconds: float | None, note: str, docs: Path) -> None:
    """Read the runs; replace the tables."""
    text = docs.read_text(encoding="utf-8")
    text = replaced(text, "measured", measured_on(results, seconds, note))
    for name in EXPERIMENTS:
        runs = {run: results / f"{name}_{run}" for run in TITLES}
        text = replaced(text, name, own_table(runs))
        text = replaced(text, f"{name} by cell-eval2", cell_eval_table(runs))
    text = replaced(text, "embedding", embedding_table(results / "lines_finetuned"))
    text = replaced(text, "calibration", calibration_table(results / "lines_finetuned"))
    docs.write_text(text, encoding="utf-8")
    print(f"{docs}: tables of {results}")


def replaced(text: str, name: str, table: str) -> str:
    """The text with this table between its markers."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise SystemExit(f"docs/benchmarks.md lacks {start} or {end}")
    return f"{before}{start}\n\n{table}\n\n{end}{after}"


def markdown(rows: list[list[str]]) -> str:
    """Rows of a table, its heading first."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def own_table(runs: dict[str, Path]) -> str:
    """Figures of perturbation.tsv, with intervals."""
    tables = {run: means(folder) for run, folder in runs.items()}
    check_same_cells(tables)
    rows = [["figure", *(heading for heading, _, _ in OWN_COLUMNS), "without an effect"]]
    for metric, space, title, factor, more in OWN_ROWS:
        found = [figure(tables[run], metric, space, predictor) for _, run, predictor in OWN_COLUMNS]
        null = found[0]["null"] * factor if found[0] is not None else np.nan
        values = [np.nan if one is None else one["value"] * factor for one in found]
        cells = [with_interval(one, factor) for one in found]
        cells = bold(cells, values, [heading for heading, _, _ in OWN_COLUMNS], more)
        rows.append([title, *cells, number(null)])
    return f"{what_is_scored(runs['finetuned'])}\n\n{markdown(rows)}"


def what_is_scored(folder: Path) -> str:
    """The conditions, and how many cells of each."""
    table = pd.read_csv(folder / "evaluation/perturbation.tsv", sep="\t")
    own = table[(table["metric"] == OWN_ROWS[0][0]) & (table["predictor"] == "model")].dropna(
        subset=["subject"]
    )
    counts = [
        f"{one.min():.0f}" if one.min() == one.max() else f"{one.min():.0f} to {one.max():.0f}"
        for one in (own["n"], own["n_reference"])
    ]
    names = ", ".join(own["subject"])
    cells = f"{counts[0]} predicted and {counts[1]} measured cells"
    return f"{names}: {cells}." if len(own) == 1 else f"Means over {names}: {cells} of each."


def means(folder: Path) -> pd.DataFrame:
    """Of perturbation.tsv the means over conditions; of a single condition, its own figures."""
    table = pd.read_csv(folder / "evaluation/perturbation.tsv", sep="\t")
    subjects = table["subject"].dropna().unique()
    return table if len(subjects) == 1 else table[table["subject"].isna()]


def check_same_cells(tables: dict[str, pd.DataFrame]) -> None:
    """Both runs of an experiment are of the same cells: control cells score alike in both."""
    both = [
        table[(table["predictor"] == "no_change") & (table["metric"] == "mse_top_20")]
        for table in tables.values()
    ]
    columns = ["value", "n", "n_reference"]
    if not np.allclose(*(one[columns].to_numpy() for one in both), rtol=1e-3, equal_nan=True):
        raise SystemExit("the runs of an experiment are not of the same cells: no table")


def figure(table: pd.DataFrame, metric: str, space: str, predictor: str) -> pd.Series | None:
    """A row of the table; None where there is none, or it has no value."""
    same = (table["metric"] == metric) & (table["predictor"] == predictor)
    found = table[same & (table["space"] == space)].dropna(subset=["value"])
    return None if found.empty else found.iloc[0]


def cell_eval_table(runs: dict[str, Path]) -> str:
    """Figures of benchmark.tsv, and the models' on the challenge's scale, where there is one."""
    tables = {
        run: pd.read_csv(folder / "evaluation/benchmark.tsv", sep="\t").set_index(
            ["predictor", "metric"]
        )
        for run, folder in runs.items()
    }
    headings = [heading for heading, _, _ in CELL_EVAL_COLUMNS]
    scaled = [run for run in tables if tables[run]["scaled"].notna().any()]
    rows = [["figure", *headings, *(f"{TITLES[run]}, scaled" for run in scaled)]]
    for metric, more in CELL_EVAL_ROWS:
        found = [
            tables[run]["value"].get((predictor, metric), np.nan)
            for _, run, predictor in CELL_EVAL_COLUMNS
        ]
        if np.isnan(found).all():
            continue
        cells = bold([number(value) for value in found], found, headings, more)
        ends = [number(tables[run]["scaled"].get(("model", metric), np.nan)) for run in scaled]
        rows.append([f"`{metric}`", *cells, *ends])
    return markdown(rows)


def embedding_table(folder: Path) -> str:
    """Figures of embedding.tsv and accuracy.tsv, with intervals."""
    neighbours = pd.read_csv(folder / "evaluation/embedding.tsv", sep="\t")
    accuracy = pd.read_csv(folder / "evaluation/accuracy.tsv", sep="\t")
    accuracy = accuracy[accuracy["subject"].isna()]
    headings = [heading for heading, _ in SPACES]
    rows = [["figure", *headings]]
    asked = [(neighbours, metric, "embedding", metric) for metric in EMBEDDING_METRICS]
    asked += [
        (accuracy, "balanced_accuracy", predictor, f"balanced accuracy, {title}")
        for predictor, title in (("knn", "5 nearest neighbours"), ("linear_probe", "linear probe"))
    ]
    for table, metric, predictor, title in asked:
        found = [figure(table, metric, space, predictor) for _, space in SPACES]
        values = [np.nan if one is None else one["value"] for one in found]
        rows.append(
            [title, *bold([with_interval(one, 1) for one in found], values, headings, True)]
        )
    return markdown(rows)


def calibration_table(folder: Path) -> str:
    """Figures of calibration.tsv, and what chance gives a calibrated model of as many cells."""
    table = pd.read_csv(folder / "evaluation/calibration.tsv", sep="\t").set_index("metric")
    rows = [["figure", "", "of a calibrated model"]]
    for metric, title, digits in CALIBRATION:
        own = table.loc[metric]
        given = own[["value", "ci_low", "ci_high"]], own[["null", "null_low", "null_high"]]
        rows.append([title, *(bracketed(numbers, digits) for numbers in given)])
    return f"{table['n'].iloc[0]:.0f} cells.\n\n{markdown(rows)}"


def bracketed(numbers: Sequence[float], digits: int) -> str:
    """Value [low, high] with these decimals, as far as there are such."""
    shown = [f"{value:.{digits}f}".replace("-", "−") for value in numbers if np.isfinite(value)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(shown) == 3 else (*shown, "–")[0]


def number(value: float) -> str:
    """Three figures at most; – for none."""
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".replace("-", "−")


def with_interval(row: pd.Series | None, factor: float) -> str:
    """Value [low, high]."""
    if row is None:
        return "–"
    shown = number(row["value"] * factor)
    if not np.isfinite(row["ci_low"]):
        return shown
    return f"{shown} [{number(row['ci_low'] * factor)}, {number(row['ci_high'] * factor)}]"


def bold(cells: list[str], values: list[float], headings: list[str], more: bool) -> list[str]:
    """With the best value marked, but for `CEILINGS`."""
    ranked = [
        -np.inf if np.isnan(value) or heading in CEILINGS else (value if more else -value)
        for value, heading in zip(values, headings, strict=True)
    ]
    best = max(ranked)
    return [
        f"**{cell}**" if rank == best and np.isfinite(best) else cell
        for cell, rank in zip(cells, ranked, strict=True)
    ]


def measured_on(results: Path, seconds: float | None, note: str) -> str:
    """Commit, date, machine, versions, and what each run took."""
    made = measured()
    machine, versions = made["machine"], dict(made["versions"])
    times = []
    for path in sorted(results.glob("*/pipeline_info/software_versions.yml")):
        for step in yaml.safe_load(path.read_text(encoding="utf-8")).values():
            versions.update(step)
        times.append((path.parts[-3], *times_of(path.with_name("execution_trace.tsv"))))
    named = ", ".join(f"{name} {versions[name]}" for name in ("python", *PACKAGES, "nextflow"))
    whole = f"All of it took {seconds / 60:.0f} minutes" if seconds else "Not timed as a whole"
    noted = f" ({note})" if note else ""
    lines = [
        f"Measured on {made['date']} at commit {made['commit'][:12]}: {machine['cores']} cores of "
        f"{machine['cpu']}, {machine['memory_gib']} GiB, no GPU; {named}. {whole}{noted}; its "
        f"tasks, {sum(own for _, _, own in times):.0f} CPU seconds:",
        "",
        markdown(
            [["run", "first task to last, s", "CPU s"]]
            + [[f"`{name}`", f"{wall:.0f}", f"{own:.0f}"] for name, wall, own in times]
        ),
    ]
    return "\n".join(lines)


def times_of(trace: Path) -> tuple[float, float]:
    """Seconds from the first task's submission to the last one's end; CPU seconds of all."""
    table = pd.read_csv(trace, sep="\t")
    took = table["realtime"].map(seconds_of)
    busy = table["%cpu"].astype(str).str.rstrip("%").astype(float) / 100
    ends = pd.to_datetime(table["start"]) + pd.to_timedelta(took, unit="s")
    wall = (ends.max() - pd.to_datetime(table["submit"]).min()).total_seconds()
    return wall, float((took * busy).sum())


def seconds_of(duration: str) -> float:
    """Of Nextflow's way to write it: 1h 2m 3s, 1.5s, 20ms."""
    found = re.findall(r"([\d.]+)(ms|s|m|h|d)", str(duration))
    return sum(float(value) * UNITS[unit] for value, unit in found)


if __name__ == "__main__":
    main()
