"""Predicted changes where nothing was measured to compare them with: a volcano."""

from __future__ import annotations

import numpy as np
import pandas as pd

from c2sflow.report.colours import BLUE, VERMILLION
from c2sflow.report.effects import SIGNIFICANT
from c2sflow.report.gene_plots import GREY, N_NAMED, gene_plot
from c2sflow.report.gene_tables import MOST_CONDITIONS, largest
from c2sflow.report.plots import Section
from c2sflow.report.run import Run

UP, DOWN, OTHER = "Increases", "Decreases", f"Adjusted p above {SIGNIFICANT}"
OVER_CELLS = {"fold": "mean_log2_fold_change", "p": "p_value", "adjusted": "p_adjusted"}
OVER_REPLICATES = {
    "fold": "replicate_log2_fold_change", "p": "replicate_p_value",
    "adjusted": "replicate_p_adjusted",
}  # fmt: skip


def volcano(run: Run) -> list[Section]:
    """Predicted change of each gene against its p-value; nothing where there are no p-values."""
    if run.effects is None:
        return []
    by_replicate = OVER_REPLICATES["p"] in run.effects
    names = OVER_REPLICATES if by_replicate else OVER_CELLS
    table = run.effects[["condition", "gene", *names.values()]].dropna()
    table = table.rename(columns={name: ours for ours, name in names.items()})
    if table.empty:
        return []
    table = table.assign(size=-np.log10(table["p"].clip(lower=1e-300)))
    n_conditions = table["condition"].nunique()
    tabs = {
        condition: _points(own)
        for condition, own in largest(table, ["fold", "size"]).groupby("condition", sort=False)
    }
    over = (
        "over replicates (Student's t)"
        if by_replicate
        else "over cells, exploratory: they show how consistent the model's answers are, and cells "
        "are not replicates (Wilcoxon's signed-rank test)"
    )
    text = (
        "Predicted change of each gene against the no-op (horizontal) and its p-value (vertical), "
        f"{over}. The {N_NAMED} genes that change most among those with an adjusted p below "
        f"{SIGNIFICANT} are named. There are no measured cells to compare with "
        "(<code>--measured_column</code>), so this does not show whether the changes are right. "
        "All genes: <code>perturbation/perturbation_effects.tsv</code>."
    )
    if n_conditions > MOST_CONDITIONS:
        text += f" Shown: {MOST_CONDITIONS} of {n_conditions} perturbations."
    name = "Predicted changes of the genes"
    colors = {OTHER: GREY, DOWN: BLUE, UP: VERMILLION}
    plot = gene_plot("volcano", name, ("Predicted log2 fold change", "−log10 p"), tabs, colors)
    return [Section(name, text, plot=plot)]


def _points(own: pd.DataFrame) -> pd.DataFrame:
    """What the plot takes of one condition."""
    sure = own["adjusted"] < SIGNIFICANT
    kind = np.where(sure, np.where(own["fold"] > 0, UP, DOWN), OTHER)
    strongest = own["fold"].abs()[sure].sort_values(ascending=False, kind="stable")
    table = pd.DataFrame({"gene": own["gene"], "x": own["fold"], "y": own["size"], "kind": kind})
    return table.assign(is_named=table.index.isin(strongest.index[:N_NAMED]))
