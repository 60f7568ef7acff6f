"""The perturbations' effects on genes and gene sets in the report."""

from __future__ import annotations

import pandas as pd

from c2sflow.report.plots import Section, heat_map, number, safe, table_plot
from c2sflow.report.run import Run

MOST_CONDITIONS = 30  # shown side by side
MOST_GENES = 40
MOST_ROWS = 200
SIGNIFICANT = 0.05
FOLD = "mean_log2_fold_change"


def effects(run: Run) -> list[Section]:
    """Genes that change most, and how many change, by condition."""
    if run.effects is None:
        return []
    notes = _as_list(run.notes["effects"])
    if run.effects.empty:
        return [Section("", content=f"<p>No predicted cell can be compared.</p>{notes}")]
    return [_genes(run.effects), _counts(run.effects, notes)]


def _genes(table: pd.DataFrame) -> Section:
    strongest = table.loc[table[FOLD].abs().sort_values(ascending=False, kind="stable").index]
    conditions = strongest["condition"].unique()[:MOST_CONDITIONS]
    shown = strongest[strongest["condition"].isin(conditions)]
    each = max(1, MOST_GENES // len(conditions))
    genes = shown.groupby("condition", sort=False).head(each)["gene"].unique()[:MOST_GENES]
    values = shown[shown["gene"].isin(genes)].pivot(index="condition", columns="gene", values=FOLD)
    name = "Strongest gene effects"
    against = " and ".join(safe(name) for name in table["compared_with"].unique())
    text = (
        f"Mean log2 fold change of the predicted cells against {against} of the same cells: the "
        f"{each} strongest genes of each perturbation. Both sides are converted from ranks by the "
        "same fit, and both sentences are cut to the length of the shorter one, so that no gene "
        "decreases only because an answer ended. The largest of many changes overestimate the "
        "truth, on average. All genes: <code>perturbation/perturbation_effects.tsv</code>."
    )
    if len(conditions) < table["condition"].nunique():
        text += f" Shown: {len(conditions)} of {table['condition'].nunique()} perturbations."
    values = values.loc[sorted(conditions), genes]
    plot = heat_map("gene_effects", name, ("Gene", "Perturbation", "log2 fold change"), values)
    return Section(name, text, plot=plot)


def _counts(table: pd.DataFrame, notes: str) -> Section:
    by_replicate = "replicate_p_adjusted" in table
    p_value = "replicate_p_adjusted" if by_replicate else "p_adjusted"
    rows = {}
    for condition, genes in table.groupby("condition"):
        sure = genes[genes[p_value] < SIGNIFICANT].sort_values(FOLD, kind="stable")
        down, up = sure[sure[FOLD] < 0], sure[sure[FOLD] > 0].iloc[::-1]
        rows[condition] = {
            "n_cells": genes["n_cells"].max(),
            **({"n_replicates": genes["n_replicates"].max()} if by_replicate else {}),
            "n_up": len(up),
            "n_down": len(down),
            "up": safe(" ".join(up["gene"].head(8))),
            "down": safe(" ".join(down["gene"].head(8))),
        }
    headers = {
        "n_cells": number("Cells", "Cells whose answers are compared", scale=False),
        "n_replicates": number("Replicates", "Donors or samples of these cells", scale=False),
        "n_up": number("Up", f"Genes that increase, adjusted p below {SIGNIFICANT}", "", 0, "Reds"),
        "n_down": number("Down", f"Genes that decrease, adjusted p below {SIGNIFICANT}", "", 0),
        "up": {"title": "Strongest up", "scale": False},
        "down": {"title": "Strongest down", "scale": False},
    }
    if not by_replicate:
        headers.pop("n_replicates")
    name = "Genes up and down"
    test = (
        "Student's t-test over replicates, each with the mean of its cells; fewer than three give "
        "no p-value"
        if by_replicate
        else "Wilcoxon's signed-rank test over cells, exploratory: it shows how consistent "
        "the model's answers are across cells, and cells are not replicates"
    )
    text = f"{test}. Benjamini–Hochberg within each perturbation."
    if table[p_value].isna().all():
        text = "There are no p-values, and so no counts: the lines below give the reason."
    plot = table_plot("effect_counts", name, "Perturbation", rows, headers)
    return Section(name, text + notes, plot=plot)


def screen(run: Run) -> list[Section]:
    """Shifts of gene sets by condition, and the differences between contexts."""
    if run.screen is None:
        return []
    notes = _as_list(run.notes["screen"])
    if run.screen.empty:
        return [Section("", content=f"<p>There is nothing to rank.</p>{notes}")]
    whole = run.screen[run.screen["context"] == ""]
    sections = [_shifts(whole, notes)]
    between = run.screen[run.screen["versus"] != ""]
    sections.append(_ranked(whole if between.empty else between))
    return sections


def _as_list(notes: list[str]) -> str:
    return "".join(f"<p>{safe(note)}</p>" for note in notes)


def _shifts(table: pd.DataFrame, notes: str) -> Section:
    strongest = table.loc[table["shift"].abs().sort_values(ascending=False, kind="stable").index]
    conditions = strongest["condition"].unique()[:MOST_CONDITIONS]
    sets = strongest["gene_set"].unique()[:MOST_GENES]
    values = table.pivot(index="condition", columns="gene_set", values="shift")
    name = "Shift of the gene sets"
    text = (
        "Mean log2 fold change over the genes of a set and all cells, against the no-op where "
        "there is one. Genes in neither sentence count as 0: compare perturbations "
        "within a set, not sets with each other."
    )
    values = values.loc[sorted(conditions), sets]
    plot = heat_map("set_shifts", name, ("Gene set", "Perturbation", "shift"), values)
    return Section(name, text + notes, plot=plot)


def _ranked(table: pd.DataFrame) -> Section:
    first = table.sort_values(["rank", "gene_set", "context"], kind="stable").head(MOST_ROWS)
    rows = {}
    for row in first.to_dict("records"):
        place = f"{row['context']} − {row['versus']} · " if row["versus"] else ""
        row["unit"] = safe(row["unit"])
        rows[f"{row['gene_set']} · {place}{row['condition']}"] = row
    headers = {
        "rank": number("Rank", "Within the gene set and comparison", scale=False),
        "shift": number("Shift", "log2 fold change, or difference of two", "", 3, scale=False),
        "shrunken_shift": number("Shrunken", "The shift, corrected for chance", "", 3, scale=False),
        "ci_low": number(
            "95 % CI, low", "Interval, corrected for the whole screen", "", 3, scale=False
        ),
        "ci_high": number(
            "95 % CI, high", "Interval, corrected for the whole screen", "", 3, scale=False
        ),
        "p_adjusted": number("Adjusted p", "Over the whole screen", "", 3, scale=False),
        "n_cells": number("Cells", "Cells with this perturbation", scale=False),
        "unit": {"title": "Unit", "description": "Unit of the intervals: cells, or replicates"},
        "n_units": number("Units", "Independent units", scale=False),
    }
    contexts = bool(first["versus"].any())
    if contexts:
        headers["n_versus"] = number(
            "Other cells", "Cells of the other side of the difference", scale=False
        )
        headers["n_versus_units"] = number(
            "Other units", "Units of the other side of the difference", scale=False
        )
    name = "Differences between contexts" if contexts else "Ranked perturbations"
    text = (
        "Intervals and p-values are corrected for all perturbations, sets and contexts of the "
        "screen: an interval that excludes 0 has an adjusted p of at most 0.05, and of those about "
        "one in 20 may be due to chance. Where the unit is cells, this is about these cells, and "
        "not about other donors. The first of many is larger than the truth, on average: expect "
        "the shrunken shift. The whole screen: <code>perturbation/screen.tsv</code>."
    )
    return Section(
        name, text, plot=table_plot("ranked", name, "Set and perturbation", rows, headers)
    )
