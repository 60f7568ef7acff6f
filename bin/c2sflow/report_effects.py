"""What the report says of the perturbations' effects on genes and gene sets."""

from __future__ import annotations

import pandas as pd

from c2sflow.report_inputs import Run
from c2sflow.report_plots import Section, heat_map, number, safe, table_plot

MOST_CONDITIONS = 30  # shown side by side
MOST_GENES = 40
MOST_ROWS = 200
SIGNIFICANT = 0.05
FOLD = "mean_log2_fold_change"


def effects(run: Run) -> list[Section]:
    """Genes that change most, and how many change, by condition."""
    if run.effects is None:
        return []
    notes = _said(run.notes["effects"])
    if run.effects.empty:
        return [Section("", content=f"<p>No predicted cell could be compared.</p>{notes}")]
    return [_genes(run.effects), _counts(run.effects, notes)]


def _genes(table: pd.DataFrame) -> Section:
    strongest = table.loc[table[FOLD].abs().sort_values(ascending=False, kind="stable").index]
    conditions = strongest["condition"].unique()[:MOST_CONDITIONS]
    shown = strongest[strongest["condition"].isin(conditions)]
    each = max(1, MOST_GENES // len(conditions))
    genes = shown.groupby("condition", sort=False).head(each)["gene"].unique()[:MOST_GENES]
    values = shown[shown["gene"].isin(genes)].pivot(index="condition", columns="gene", values=FOLD)
    name = "Genes that change most"
    text = (
        f"Mean log2 fold change of the predicted cells against their own control cells: the {each} "
        "strongest genes of each perturbation. Both sides come from ranks by the same line, and "
        "both sentences are cut to the length of the shorter one, so that no gene falls only "
        "because an answer ended. All genes: <code>perturbation/perturbation_effects.tsv</code>."
    )
    if len(conditions) < table["condition"].nunique():
        text += f" Shown: {len(conditions)} of {table['condition'].nunique()} perturbations."
    values = values.loc[sorted(conditions), genes]
    plot = heat_map("gene_effects", name, ("Gene", "Perturbation", "log2 fold change"), values)
    return Section(name, text, plot=plot)


def _counts(table: pd.DataFrame, notes: str) -> Section:
    rows = {}
    for condition, genes in table.groupby("condition"):
        sure = genes[genes["p_adjusted"] < SIGNIFICANT].sort_values(FOLD, kind="stable")
        down, up = sure[sure[FOLD] < 0], sure[sure[FOLD] > 0].iloc[::-1]
        rows[condition] = {
            "n_cells": genes["n_cells"].max(),
            "n_up": len(up),
            "n_down": len(down),
            "up": safe(" ".join(up["gene"].head(8))),
            "down": safe(" ".join(down["gene"].head(8))),
        }
    headers = {
        "n_cells": number("Cells", "Control cells compared with their prediction", scale=False),
        "n_up": number("Up", f"Genes that rise, adjusted p below {SIGNIFICANT}", "", 0, "Reds"),
        "n_down": number("Down", f"Genes that fall, adjusted p below {SIGNIFICANT}", "", 0),
        "up": {"title": "Strongest up", "scale": False},
        "down": {"title": "Strongest down", "scale": False},
    }
    name = "Genes up and down"
    text = (
        "Wilcoxon's signed-rank test over cells, Benjamini–Hochberg within each perturbation. It "
        "says how alike the model's answers are from cell to cell: cells of one model and one "
        "sample are no independent experiments."
    )
    plot = table_plot("effect_counts", name, "Perturbation", rows, headers)
    return Section(name, text + notes, plot=plot)


def screen(run: Run) -> list[Section]:
    """Shifts of gene sets by condition, and the differences between contexts."""
    if run.screen is None:
        return []
    notes = _said(run.notes["screen"])
    if run.screen.empty:
        return [Section("", content=f"<p>There is nothing to rank.</p>{notes}")]
    whole = run.screen[run.screen["context"] == ""]
    sections = [_shifts(whole, notes)]
    between = run.screen[run.screen["versus"] != ""]
    sections.append(_ranked(whole if between.empty else between))
    return sections


def _said(notes: list[str]) -> str:
    return "".join(f"<p>{safe(note)}</p>" for note in notes)


def _shifts(table: pd.DataFrame, notes: str) -> Section:
    strongest = table.loc[table["shift"].abs().sort_values(ascending=False, kind="stable").index]
    conditions = strongest["condition"].unique()[:MOST_CONDITIONS]
    sets = strongest["gene_set"].unique()[:MOST_GENES]
    values = table.pivot(index="condition", columns="gene_set", values="shift")
    name = "Shift of the gene sets"
    text = (
        "Mean log2 fold change over the genes of a set and all cells. Genes that stand in neither "
        "sentence count with 0: compare perturbations within a set, not sets with each other."
    )
    values = values.loc[sorted(conditions), sets]
    plot = heat_map("set_shifts", name, ("Gene set", "Perturbation", "shift"), values)
    return Section(name, text + notes, plot=plot)


def _ranked(table: pd.DataFrame) -> Section:
    first = table.sort_values(["rank", "gene_set", "context"], kind="stable").head(MOST_ROWS)
    rows = {}
    for row in first.to_dict("records"):
        place = f"{row['context']} − {row['versus']} · " if row["versus"] else ""
        rows[f"{row['gene_set']} · {place}{row['condition']}"] = row
    headers = {
        "rank": number("Rank", "Within the gene set and comparison", scale=False),
        "shift": number("Shift", "log2 fold change, or difference of two", "", 3, scale=False),
        "ci_low": number("from", "95 % bootstrap interval over cells", "", 3, scale=False),
        "ci_high": number("to", "95 % bootstrap interval over cells", "", 3, scale=False),
        "n_cells": number("Cells", "Cells with this perturbation", scale=False),
    }
    contexts = bool(first["versus"].any())
    if contexts:
        headers["n_versus"] = number("against", "Cells of the other side", scale=False)
    name = "Differences between contexts" if contexts else "Ranked perturbations"
    text = (
        "An interval that holds 0 shows no effect; one of few cells is too narrow. The whole "
        "screen: <code>perturbation/screen.tsv</code>."
    )
    return Section(
        name, text, plot=table_plot("ranked", name, "Set and perturbation", rows, headers)
    )
