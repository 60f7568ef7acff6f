"""The split of a run in STATE's form, where that has words for it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from c2sflow.data.splits.splits import TEST, TRAIN, UNUSED, VALIDATION, Rule
from c2sflow.data.splits.state_form import StateForm

DATASET = "c2sflow"
RESULT = "c2s.h5ad"  # which holds all cells, seen from the folder of the results
NO_WORDS = (
    "cells of one perturbation and context are in several splits, which STATE's form has no words "
    "for: splits.tsv has them"
)


def state_text(obs: pd.DataFrame, splits: pd.Series, rule: Rule) -> tuple[str | None, str]:
    """``splits.toml`` of a split, and what it leaves out.

    Parameters
    ----------
    obs
        Of all cells, their names as index: sample and what `rule` looks at.
    splits
        As `rule` gives them.

    Returns
    -------
    The text; None, and why, where what is read of it would be another split of the perturbed cells.
    """
    form, by = _form_of(obs, splits, rule)
    if form is None:
        return None, NO_WORDS
    again = pd.Series(by.apply(obs), obs.index)
    other = (again != splits) & (splits != UNUSED)
    if (other & ~by.controls(obs)).any() and rule.perturbation_column in obs:
        return None, NO_WORDS
    of_control = by.labels(obs)[by.controls(obs)].dropna().value_counts()
    control = f", control_pert = {of_control.index[0]}" if len(of_control) else ""
    head = [
        "The split of this run, for cell-load and STATE, from the folder of the results:",
        f"pert_col = {rule.perturbation_column}, cell_type_key = {by.context_column}, "
        f"batch_col = sample{control}",
        "They train on and test with the same control cells; c2sflow never does (splits.tsv).",
    ]
    left_out = f"{int(other.sum())} control cells are split otherwise" if other.any() else ""
    if rule.few_shot is not None:
        left_out = "training cells that --few_shot leaves out are for training here"
    if left_out:
        head.append(f"Not in this form: {left_out}; splits.tsv has them.")
    return form.text(head), left_out


def _context_column(obs: pd.DataFrame, rule: Rule) -> str:
    """Column of the contexts: the one that is named, or that cells are held out by, or sample."""
    others = [name for name in rule.columns if name != rule.perturbation_column and name in obs]
    if rule.context_column is not None or len(others) != 1:
        return rule.context_column or "sample"
    return others[0]


def _form_of(obs: pd.DataFrame, splits: pd.Series, rule: Rule) -> tuple[StateForm | None, Rule]:
    """The tables, and the rule that reads them."""
    by = replace(
        rule, by="cell", column=None, hold_out=None, few_shot=None, groups={}, partly=(),
        context_column=_context_column(obs, rule),
    )  # fmt: skip
    used = (splits != UNUSED).to_numpy()
    if by.contexts(obs)[used].isna().any():
        by = replace(by, context_column="sample")
    own = {
        "context_column": by.context_column, "seed": rule.seed,
        "held_out": float(rule.held_out), "validation": float(rule.validation),
    }  # fmt: skip
    if rule.state is not None:
        form = replace(rule.state, own=own)
        return form, replace(rule, few_shot=None)
    controls = by.controls(obs)[used]
    labels = by.labels(obs)[used].where(~controls, None).fillna("")
    cells = pd.DataFrame({"context": by.contexts(obs)[used], "label": labels})
    cells = cells.assign(split=splits[used].to_numpy(), control=controls)
    pairs = cells[~controls].groupby(["context", "label"])["split"].agg(frozenset)
    if any({TRAIN, VALIDATION} <= own_splits for own_splits in pairs):  # drawn by cell
        cells["split"] = cells["split"].replace({VALIDATION: TRAIN})
        pairs = cells[~controls].groupby(["context", "label"])["split"].agg(frozenset)
    if any(len(own_splits) > 1 for own_splits in pairs):
        return None, by
    zeroshot, fewshot = {}, {}
    for context, own_cells in cells.groupby("context"):
        found = set(own_cells["split"])
        of_controls = set(own_cells["split"][own_cells["control"]])
        if len(found) == 1 and found != {TRAIN}:
            zeroshot[str(context)] = found.pop()
        elif TEST in found or len(of_controls) > 1 or VALIDATION in found - of_controls:
            own_pairs = pairs.get(context, pd.Series(dtype=object)).items()
            listed = {str(label): next(iter(own_splits)) for label, own_splits in own_pairs}
            fewshot[str(context)] = {k: v for k, v in sorted(listed.items()) if v != TRAIN}
    form = StateForm(
        {DATASET: RESULT},
        [DATASET],
        {DATASET: zeroshot} if zeroshot else {},
        {DATASET: fewshot} if fewshot else {},
        own,
    )
    return form, replace(by, state=form)
