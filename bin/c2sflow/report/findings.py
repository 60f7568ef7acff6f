"""What the report shows first: each figure with its state, by the rules of docs/output.md.

A figure is good only where it beats its null, or passes a bound that its tile states; poor where it
fails; otherwise it is a plain number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from c2sflow.inputs.lists import LITTLE
from c2sflow.report.annotation import Shown, agreement, held_out, share_of_list, shown_labels
from c2sflow.report.evaluation import better_than_no_change
from c2sflow.report.gene_changes import agreement as agreement_by_gene
from c2sflow.report.plots import median, ratio, safe, total
from c2sflow.report.probes import linear_probe_gains
from c2sflow.report.ranks import at_depth
from c2sflow.report.run import Run, constrained
from c2sflow.report.training import has_learned

GOOD, LOOK, POOR, PLAIN = "good", "look", "poor", ""
KEPT, LOST = 0.8, 0.5  # share of a sample's cells that QC keeps
COMPLETE, CUT = 0.95, 0.5  # share of the answers that end by themselves
LEARNED = 0.01  # least fall of the validation loss, of what it was


@dataclass
class Finding:
    """One tile, and a line of the verdict.

    Parameters
    ----------
    figure, title, meaning
        What the tile shows (HTML).
    state
        GOOD, POOR, PLAIN, or LOOK: no figure, but something to read.
    anchor
        The section with more.
    line
        What the log shows of it at the end of the run, if it is good or poor (text).
    """

    figure: str
    title: str
    state: str = PLAIN
    meaning: str = ""
    anchor: str = ""
    line: str = ""


def findings(run: Run) -> Iterator[Finding]:
    """Every figure of the first look."""
    yield from _cells(run)
    yield from _training(run)
    yield from _embedding(run)
    yield from _labels(run)
    yield from _predictions(run)
    n_warnings = len({text for _, _, text in run.counted_warnings})
    meaning = "Read them first, just below." if n_warnings else "No step has a warning."
    state = LOOK if n_warnings else PLAIN
    yield Finding(f"{n_warnings}", "warnings", state, meaning, "warnings")


def compared(value: float, low: float, null: float) -> str:
    """Good if the interval's lower limit is above the null, poor if the value is not.

    Without a null or an interval there is nothing to judge by.
    """
    if np.isnan([value, null]).any():
        return PLAIN
    return GOOD if low > null else POOR if value <= null else PLAIN


def _known(run: Run, state: str) -> tuple[str, str]:
    """State and words of a finding about the model: no praise by cells that it may have seen."""
    if not run.training_known:
        unknown = " Whether the model was trained on these cells is unknown (--training_cells)."
        return (PLAIN if state == GOOD else state), unknown
    if not run.training:
        return state, " Cells the model was not trained on."
    base = "" if run.training["method"] == "scratch" else "; the training of its base is unknown"
    return state, f" Cells held out of this run's training{base}."


def _cells(run: Run) -> Iterator[Finding]:
    kept, given = total(run.qc, "n_cells_kept"), total(run.qc, "n_cells_in")
    n_samples = f"{len(run.qc)} sample{'s' * (len(run.qc) != 1)}"
    worst = min(run.qc, key=lambda r: ratio(r["n_cells_kept"], r["n_cells_in"]))
    least = ratio(worst["n_cells_kept"], worst["n_cells_in"])
    meaning = f"{ratio(kept, given):.0%} of the input cells, {n_samples}."
    if run.provenance["parameters"].get("skip_qc"):
        state, meaning = PLAIN, f"{meaning} QC was skipped."
    else:
        state = GOOD if least >= KEPT else POOR if least < LOST else PLAIN
        if len(run.qc) > 1:
            meaning += f" Fewest of {safe(worst['sample'])}: {least:.0%}."
        meaning += f" (✓ from {KEPT:.0%} of each sample on, ✗ below {LOST:.0%}.)"
    line = f"cells: QC keeps {least:.0%} of {worst['sample']}"
    yield Finding(f"{kept:,}", "cells kept", state, meaning, "quality-control", line)
    lengths = median(run.obs["c2s_n_genes"])
    if lengths == lengths:
        meaning = "in its sentence (median): the input of the model."
        yield Finding(f"{lengths:,.0f}", "genes per cell", PLAIN, meaning, "cell-sentences")


def _training(run: Run) -> Iterator[Finding]:
    if run.training is None or run.training["validation_loss"] is None:
        return
    before, after = run.training["first_validation_loss"], run.training["validation_loss"]
    fall, scratch = 1 - after / before, run.training["method"] == "scratch"
    if not has_learned(run.training):
        state = POOR
    else:
        state = GOOD if fall >= LEARNED and not scratch else PLAIN
    meaning = (
        f"on validation cells, after {run.training['best_step']:,} steps; {before:.3f} before "
        "training"
    )
    meaning += (
        ", of random weights, which does not show how good it is."
        if scratch
        else f" (✓ if at least {LEARNED:.0%} lower, ✗ if not lower)."
    )
    if state == POOR:
        meaning += " Nothing was learned: the model is no better than its base."
    line = f"fine-tuning: validation loss {after:.3f}, {before:.3f} before training"
    yield Finding(f"{after:.3f}", "validation loss", state, meaning, "fine-tuning", line)


def _embedding(run: Run) -> Iterator[Finding]:
    cells = run.cells
    if cells.neighbours is None:
        yield Finding("—", "no map", LOOK, safe(cells.missing), "embedding")
        return
    if run.label_column and cells.obs[run.label_column].nunique() > 1:
        found, chance = cells.agreement(run.label_column)
        gain = ratio(found - chance, 1 - chance)
        state = GOOD if gain >= 0.5 else POOR if found <= chance else PLAIN
        state, which = _known(run, state)
        label = run.label_column
        meaning = (
            f"of a cell's {cells.n_near} nearest neighbours in the embedding share its "
            f"{safe(label)}; {chance:.0%} by chance (✓ from halfway between "
            f"chance and 100% on, ✗ at chance).{which}"
        )
        line = f"embedding: {found:.0%} of the nearest neighbours share {label}, "
        line += f"{chance:.0%} by chance"
        yield Finding(f"{found:.0%}", "same label nearby", state, meaning, "embedding", line)
    if cells.obs["sample"].nunique() > 1 and run.label_column != "sample":
        found, chance = cells.agreement("sample")
        meaning = f"of the neighbours share the sample ({chance:.0%} if samples were mixed)."
        if ratio(found - chance, 1 - chance) > 0.5:
            meaning += (
                " That is a batch effect, unless the samples differ in biology or the cells are "
                "few."
            )
        yield Finding(f"{found:.0%}", "same sample nearby", PLAIN, meaning, "embedding")
    yield from _beyond_expression(run)


def _beyond_expression(run: Run) -> Iterator[Finding]:
    """Whether a classifier reads labels better from the embedding than from expression itself."""
    found = linear_probe_gains(run.evaluation.get("accuracy"))
    if found is None:
        return
    accuracy, gains = found
    best = gains.loc[gains["value"].idxmin()]
    state = GOOD if (gains["ci_low"] > 0).all() else POOR if (gains["ci_high"] < 0).any() else PLAIN
    judged = {GOOD: "better than", POOR: "worse than"}.get(state, "like")
    state, which = _known(run, state)
    expected = accuracy - best["value"]
    meaning = (
        f"of {safe(run.label_column)}, by a linear probe; {expected:.0%} from expression, without "
        f"a model (✓ if better than every baseline, ✗ if worse than one, by 95 % intervals).{which}"
    )
    line = f"embedding: {judged} expression: {accuracy:.0%} of {run.label_column} read right, "
    line += f"{expected:.0%} from expression"
    title = "cell types read from the embedding"
    yield Finding(f"{accuracy:.0%}", title, state, meaning, "evaluation", line)


def _labels(run: Run) -> Iterator[Finding]:
    """A tile of each predicted label."""
    for shown in shown_labels(run):
        yield from _label(run, shown)


def _label(run: Run, shown: Shown) -> Iterator[Finding]:
    """How many predictions agree with the truth, or how probable they are."""
    if shown.table["predicted"].isna().all():
        return
    judged, share = held_out(shown.table), share_of_list(run.annotate, shown.name)
    what = "cell types" if shown.is_type else shown.words
    predicted = "predicted cell types" if shown.is_type else f"cells' predicted {safe(shown.words)}"
    unlisted = share is not None and share < LITTLE
    little = line = ""
    if unlisted:
        has = f"have {share:.1%} of the model's probability"
        line = f"{what}: the labels of the list {has}"
        little = f" The labels of the list together {has} (✗ below {LITTLE:.0%}): the model "
        little += "prefers other answers."
    same = agreement(shown.table)
    if same is not None:
        commonest = same.commonest
        state, which = _known(run, POOR if unlisted else compared(same.share, same.low, commonest))
        meaning = (
            f"of the {predicted} agree with {safe(shown.column)}; {commonest:.0%} if "
            f"each were the most common label (✓ if the 95 % interval is above that).{little}"
            f"{which}"
        )
        if not unlisted:
            line = f"{what}: {same.share:.0%} agree with {shown.column}, "
            line += f"{commonest:.0%} by the most common label alone"
        title = f"{safe(what)} as labelled"
        yield Finding(f"{same.share:.0%}", title, state, meaning, "cell-types", line)
        return
    typical = median(judged["probability"])
    if typical != typical:
        return
    n_types = judged["predicted"].nunique()
    kinds = "types" if shown.is_type else "labels"
    several = f"of {n_types} {kinds}" if n_types > 1 else "the same for all cells"
    truth = "--label_column" if shown.is_type else "a measured column"
    meaning = (
        f"of the predicted {safe(shown.words)}, {several}. No ✓ without {truth}: a probability "
        f"does not show that an answer is right.{little}"
    )
    state = POOR if unlisted else PLAIN
    title = "median probability" + ("" if shown.is_type else f" of {safe(shown.words)}")
    yield Finding(f"{typical:.2f}", title, state, meaning, "cell-types", line)


def _predictions(run: Run) -> Iterator[Finding]:
    if run.summary is None or run.summary.empty:
        return
    yield from _changes_by_gene(run)
    yield from _against_measured(run)
    n = run.summary["n_predictions"]
    cut, bad = (
        float((run.summary[columns].sum(axis=1) * n).sum() / n.sum())
        for columns in (["truncated_fraction"], ["invalid_fraction", "duplicate_fraction"])
    )
    # To end where the training's answers ended is no fault, and no merit.
    own = {record["max_answer_genes_from"] for record in run.perturb} == {"model"}
    own = own and not total(run.perturb, "n_cut_by_tokens")
    poor = max(bad, 0 if own else cut) > CUT
    state = GOOD if max(cut, bad) <= 1 - COMPLETE else POOR if poor else PLAIN
    rule = f"(✓ if at most {1 - COMPLETE:.0%} are, ✗ if more than {CUT:.0%})"
    line = f"predictions: {cut:.0%} of the answers are cut off (--max_answer_genes)"
    if own:
        line = f"predictions: {cut:.0%} of the answers are cut at the model's own length"
    if own and constrained(run):
        words = "the others are cut at the length that the model was trained with"
    elif constrained(run):
        words = f"the others are cut off {rule}"
    else:
        words = f"{cut:.0%} are cut off, {bad:.0%} of their words are not new genes {rule}"
        line += f", {bad:.0%} of their words are not new genes"
    meaning = f"of {n.sum():,} predicted cells; {words}. This does not show that they are right."
    yield Finding(f"{1 - cut:.0%}", "complete answers", state, meaning, "perturbations", line)
    yield from _from_ranks(run)


def _changes_by_gene(run: Run) -> Iterator[Finding]:
    """Whether the genes that are predicted to change are those that do."""
    found = agreement_by_gene(run.evaluation.get("perturbation"))
    if found is None:
        return
    state = GOOD if found.n_beyond == found.n else POOR if 2 * found.n_within >= found.n else PLAIN
    of = f" (mean of {found.n} perturbations)" if found.n > 1 else ""
    line = f"predictions: changes by gene correlate with the measured ones by {found.value:.2f}{of}"
    line += f", {found.null:.2f} without an effect"
    state, which = _known(run, state)
    meaning = (
        f"between predicted and measured change of each gene{of}; {found.null:.2f} without an "
        f"effect, {found.another:.2f} by another control cell (✓ if the 95 % interval is above "
        f"what occurs without an effect, ✗ if the value is not"
        f"{', in half of the perturbations' * (found.n > 1)}).{which}"
    )
    title = "correlation by gene"
    yield Finding(f"{found.value:.2f}", title, state, meaning, "perturbations", line)


def _against_measured(run: Run) -> Iterator[Finding]:
    """In how many figures the predictions beat control cells left as they are."""
    better, worse = better_than_no_change(run.evaluation.get("perturbation"))
    n = better + worse
    if not n:
        return
    state = GOOD if not worse else POOR if 2 * worse >= n else PLAIN
    line = f"predictions: better than no change in {better} of {n} figures"
    if state == POOR:
        line = f"predictions: worse than no change in {worse} of {n} figures"
    state, which = _known(run, state)
    meaning = (
        f"figures of the predictions against measured cells; in {worse} no change is as good or "
        f"better (✓ if in none, ✗ if in half or more).{which}"
    )
    yield Finding(f"{better} of {n}", "better than no change", state, meaning, "evaluation", line)


def _from_ranks(run: Run) -> Iterator[Finding]:
    """R² of the rank fit at the depth of the answers; where that is not known, of the fit."""
    fit, anchor, state = run.provenance["rank_fit"]["r_squared"], "cell-sentences", PLAIN
    meaning, line = "For whole sentences in their true order; shorter answers recover less.", ""
    if found := at_depth(run.evaluation.get("reconstruction")):
        fit, anchor, null = found["all_genes"], "evaluation", found["gene_mean"]
        state = compared(fit, found["all_genes_low"], null)
        meaning = (
            f"Over all genes, for the cells' own sentences cut to {found['depth']} genes as in the "
            f"answers; {found['named']:.2f} over these genes alone. By the mean of each gene, "
            f"without ranks: {null:.2f} (✓ if the 95 % interval is above that)."
        )
        line = f"rank to expression: R² {fit:.2f}, {null:.2f} by the mean of each gene"
    if fit == fit:
        yield Finding(f"R² {fit:.2f}", "rank to expression", state, meaning, anchor, line)
