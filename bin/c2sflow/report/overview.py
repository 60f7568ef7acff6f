"""The report's first look: is the run good? Each figure with what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from c2sflow.report.annotation import agreement, held_out
from c2sflow.report.plots import Section, ratio, safe, total
from c2sflow.report.ranks import at_depth
from c2sflow.report.run import Run
from c2sflow.report.training import has_learned

GOOD, LOOK, POOR, PLAIN = "good", "look", "poor", ""
SIGNS = {GOOD: "✓", LOOK: "!", POOR: "✗", PLAIN: "·"}


@dataclass
class Finding:
    """One tile: a figure, its title, state and meaning, and the section with more."""

    figure: str
    title: str
    state: str = PLAIN
    meaning: str = ""
    anchor: str = ""


def overview(run: Run) -> list[Section]:
    """The findings as tiles."""
    tiles = "".join(map(_tile, _findings(run)))
    legend = (
        f"<strong>{SIGNS[GOOD]}</strong> as expected, <strong>{SIGNS[LOOK]}</strong> have a look, "
        f"<strong>{SIGNS[POOR]}</strong> find the reason before you use the results. The "
        "thresholds are rules of thumb; each tile links to its section."
    )
    return [Section("", legend, content=f'<div class="c2s-tiles">{tiles}</div>')]


def _tile(finding: Finding) -> str:
    sign = SIGNS[finding.state]
    state = f" ({finding.state})" if finding.state else ""
    return (
        f'<a class="c2s-tile c2s-{finding.state or "plain"}" href="#{finding.anchor}">'
        f'<span class="c2s-sign" aria-label="{finding.state or "figure"}">{sign}</span>'
        f'<span class="c2s-figure">{finding.figure}</span>'
        f'<span class="c2s-title">{finding.title}</span>'
        f'<span class="c2s-meaning">{finding.meaning}<span hidden>{state}</span></span></a>'
    )


def _graded(value: float, good: float, look: float) -> str:
    """`good` and `look` are the least (or, if good < look, the most) for each grade."""
    if good > look:
        return GOOD if value >= good else LOOK if value >= look else POOR
    return GOOD if value <= good else LOOK if value <= look else POOR


def _judged(run: Run, state: str) -> tuple[str, str]:
    """State and words of a finding about the model: no praise by cells that it may have seen."""
    if not run.training_known:
        unknown = " Whether the model was trained on these cells is unknown (--training_cells)."
        return (PLAIN if state == GOOD else state), unknown
    if not run.training:
        return state, " Cells the model was not trained on."
    base = "" if run.training["method"] == "scratch" else "; the training of its base is unknown"
    return state, f" Cells held out of this run's training{base}."


def _findings(run: Run) -> Iterator[Finding]:
    yield from _cells(run)
    yield from _training(run)
    yield from _embedding(run)
    yield from _types(run)
    yield from _predictions(run)
    n_warnings = len({text for record in run.records for text in record["warnings"]})
    meaning = "Read them first, just below." if n_warnings else "No step has a warning."
    yield Finding(
        f"{n_warnings}", "warnings", LOOK if n_warnings else GOOD,
        meaning, "warnings",
    )  # fmt: skip


def _cells(run: Run) -> Iterator[Finding]:
    kept, given = total(run.qc, "n_cells_kept"), total(run.qc, "n_cells_in")
    n_samples = f"{len(run.qc)} sample{'s' * (len(run.qc) != 1)}"
    share = ratio(kept, given)
    worst = min(run.qc, key=lambda r: ratio(r["n_cells_kept"], r["n_cells_in"]))
    lost = 1 - ratio(worst["n_cells_kept"], worst["n_cells_in"])
    meaning = f"{share:.0%} of the input cells, {n_samples}."
    if len(run.qc) > 1 and lost > 0.2:
        meaning += f" Largest loss: {safe(worst['sample'])}, {lost:.0%}."
    yield Finding(
        f"{kept:,}", "cells kept", _graded(1 - lost, 0.8, 0.5), meaning, "quality-control"
    )
    lengths = [record for record in run.sentences if record["n_cells"]]
    words = sum(shard["n_genes"] for record in lengths for shard in record["shards"])
    if lengths:
        mean = words / total(lengths, "n_cells")
        meaning = "in its sentence, on average: the input of the model."
        yield Finding(f"{mean:,.0f}", "genes per cell", PLAIN, meaning, "cell-sentences")


def _training(run: Run) -> Iterator[Finding]:
    if run.training is None or run.training["validation_loss"] is None:
        return
    before, after = run.training["first_validation_loss"], run.training["validation_loss"]
    state = GOOD if has_learned(run.training) else POOR
    meaning = (
        f"on validation cells, after {run.training['best_step']:,} steps; {before:.3f} before."
    )
    if state == POOR:
        meaning += " Nothing was learned: the model is no better than its base."
    yield Finding(f"{after:.3f}", "validation loss", state, meaning, "fine-tuning")


def _embedding(run: Run) -> Iterator[Finding]:
    cells = run.cells
    if cells.neighbours is None:
        yield Finding("—", "no map", LOOK, safe(cells.missing), "embedding")
        return
    if run.label_column and cells.obs[run.label_column].nunique() > 1:
        found, chance = cells.agreement(run.label_column)
        state = PLAIN if found != found else _graded(ratio(found - chance, 1 - chance), 0.5, 0.2)
        state, which = _judged(run, state)
        meaning = (
            f"of a cell's {cells.n_near} nearest neighbours in the embedding share its "
            f"{safe(run.label_column)} ({chance:.0%} by chance).{which}"
        )
        yield Finding(f"{found:.0%}", "same label nearby", state, meaning, "embedding")
    if cells.obs["sample"].nunique() > 1 and run.label_column != "sample":
        found, chance = cells.agreement("sample")
        state = LOOK if ratio(found - chance, 1 - chance) > 0.5 else PLAIN
        meaning = f"of the neighbours share the sample ({chance:.0%} if samples were mixed)." + (
            " That is a batch effect, unless the samples differ in biology or the cells are few."
            if state
            else ""
        )
        yield Finding(f"{found:.0%}", "same sample nearby", state, meaning, "embedding")


def _types(run: Run) -> Iterator[Finding]:
    if run.types is None or run.types["predicted"].isna().all():
        return
    same = agreement(run.types)
    if same is not None:
        state, which = _judged(run, _graded(same, 0.7, 0.4))
        meaning = f"of the predicted cell types agree with {safe(run.label_column)}.{which}"
        yield Finding(f"{same:.0%}", "cell types as labelled", state, meaning, "cell-types")
        return
    judged = held_out(run.types)
    median = float(judged["probability"].median())
    if median != median:
        return
    state, which = _judged(run, _graded(median, 0.7, 0.4))
    meaning = f"of the predicted cell type, of {judged['predicted'].nunique()} types.{which}"
    yield Finding(f"{median:.2f}", "median probability", state, meaning, "cell-types")


def _predictions(run: Run) -> Iterator[Finding]:
    if run.summary is not None and not run.summary.empty:
        n = run.summary["n_predictions"]
        cut, bad = (
            float((run.summary[columns].sum(axis=1) * n).sum() / n.sum())
            for columns in (["truncated_fraction"], ["invalid_fraction", "duplicate_fraction"])
        )
        state = max(_graded(cut, 0.05, 0.5), _graded(bad, 0.05, 0.3), key=list(SIGNS)[:3].index)
        meaning = f"{bad:.0%} of their words are not new genes; {cut:.0%} are cut off."
        yield Finding(f"{n.sum():,}", "predicted cells", state, meaning, "perturbations")
        yield from _from_ranks(run)


def _from_ranks(run: Run) -> Iterator[Finding]:
    """R² of the rank fit at the depth of the answers; where that is not known, of the fit."""
    fit, anchor = run.provenance["rank_fit"]["r_squared"], "cell-sentences"
    meaning = "For whole sentences in their true order; shorter answers recover less."
    if found := at_depth(run.evaluation.get("reconstruction")):
        fit, anchor = found["all_genes"], "evaluation"
        meaning = (
            f"Over all genes, for the cells' own sentences cut to {found['depth']} genes as in the "
            f"answers; {found['named']:.2f} over these genes alone."
        )
    if fit == fit:
        grade = _graded(fit, 0.8, 0.5)
        yield Finding(f"R² {fit:.2f}", "rank to expression", grade, meaning, anchor)
