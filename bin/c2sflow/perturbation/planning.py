"""Which cells are predicted under which perturbation, and the work that takes."""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from c2sflow.common.errors import UserError
from c2sflow.data.obs.figure_cells import figure_cells
from c2sflow.data.obs.held_values import offer_values
from c2sflow.data.obs.labels import is_control, is_perturbed
from c2sflow.data.obs.queries import query_columns, select_cells
from c2sflow.data.obs.shard_columns import N_GENES
from c2sflow.data.sampling import Draws
from c2sflow.inputs.perturbations import Treatment
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.files import config_number
from c2sflow.sentences.no_ops import COMPARED_WITH, NO_OP, NoOps, filled, predicted_only

LOGGER = logging.getLogger(__name__)
CELL = ["shard", "cell_id"]


def plan_predictions(
    cells: pd.DataFrame,
    *,
    treatments: Sequence[Treatment] = (),
    perturbation_column: str | None = None,
    control: str | None = None,
    training_cells: str | None = None,
    max_cells_per_perturbation: int | None = None,
    seed: int = 42,
    no_ops: NoOps | None = None,
) -> pd.DataFrame:
    """Pairs of cell and condition.

    Parameters
    ----------
    cells
        shard, cell_id, sample and every obs column, all cells that passed QC, in order.
    treatments
        Each is applied to every control cell that its own query selects.
    perturbation_column
        Column of obs, if there are no treatments. With `control`, its other labels are applied to
        the control cells; without, each cell is perturbed with its own label, unlabelled and
        control cells left out.
    control
        pandas query that picks the control cells; None picks all cells.
    training_cells
        See `c2sflow.data.obs.figure_cells.figure_cells`: none of these is perturbed.
    max_cells_per_perturbation
        So many cells for each treatment without a number of its own, drawn by a hash of seed, cell
        and condition, not by position: `c2sflow.data.sampling.Draws`.
    no_ops
        Each cell that gets a treatment gets its no-op too, once for all treatments that share it.

    Returns
    -------
    shard, cell_id, condition, perturbation and the columns of the treatments, in the order of the
    cells; each cell once for each condition. With `no_ops` also `NO_OP`, whether a row is one, and
    `COMPARED_WITH`, the condition of the cell's no-op that a prediction is compared with; missing
    where the cell lacks a value that the no-op needs, such as a type.

    Raises
    ------
    UserError
        If nothing is left to predict.
    """
    usable = figure_cells(cells, training_cells)
    if usable.known:
        LOGGER.info(
            "plan: predictions are made for the %d of %d cells that the model was not trained on",
            usable.held_out.sum(), len(cells),
        )  # fmt: skip
    if treatments:
        controls = _controls(cells, control)
        applied = _applied(cells, treatments, controls)
    elif perturbation_column is None:
        raise ValueError("a plan needs treatments or a perturbation_column")
    else:
        applied = _labelled(cells, perturbation_column, control)
    draws: Draws | None = None  # made once some cells are to be drawn: it hashes all cells
    chosen = []
    for treatment, rows in applied:
        rows = rows[usable.held_out[rows]]
        most = treatment.n_cells or max_cells_per_perturbation
        if most is not None and most < len(rows):
            draws = draws or Draws(cells, seed)
            rows = draws.lowest(rows, most, treatment.condition)
        chosen.append((treatment, rows))
    plan = _pairs(cells, chosen) if no_ops is None else _with_no_ops(cells, chosen, no_ops)
    # By cell, then by condition: prompts of one cell stay together.
    conditions, _ = pd.factorize(plan["condition"], sort=True)
    plan = plan.iloc[np.lexsort((conditions, plan.index))]
    plan = plan.drop_duplicates([*CELL, "condition"]).reset_index(drop=True)
    if plan.empty:
        queries = [control, training_cells, *(treatment.cell_query for treatment in treatments)]
        names = [name for query in queries if query for name in query_columns(query, "plan")]
        raise UserError(
            "nothing to predict: no cell that passed QC is selected by --control, is not among the "
            "--training_cells and has a perturbation in --perturbations or --perturbation_column"
            + offer_values(cells[[n for n in (perturbation_column, *names) if n is not None]])
        )
    return plan


def _controls(cells: pd.DataFrame, control: str | None) -> np.ndarray:
    controls = select_cells(cells, control, "--control")
    if control is not None:
        LOGGER.info(
            "plan: %d of %d cells are control cells; predictions are made for these only",
            controls.sum(), len(cells),
        )  # fmt: skip
    return controls


def _applied(
    cells: pd.DataFrame, treatments: Sequence[Treatment], controls: np.ndarray
) -> Iterator[tuple[Treatment, np.ndarray]]:
    """Each treatment and the positions of its cells."""
    chosen: dict[str | None, np.ndarray] = {None: controls}
    for treatment in treatments:
        query = treatment.cell_query
        where = f"{treatment.where}: cell_query"
        if query not in chosen:
            chosen[query] = controls & select_cells(cells, query, where)
        rows = np.flatnonzero(chosen[query])
        if not rows.size:
            names = query_columns(query, where) if query else []
            LOGGER.warning(
                "plan: %s: no cell that passed QC is left for %s%s", treatment.where,
                treatment.condition, offer_values(cells.loc[controls, names]),
            )  # fmt: skip
        yield treatment, rows


def _labelled(
    cells: pd.DataFrame, column: str, control: str | None
) -> Iterator[tuple[Treatment, np.ndarray]]:
    """Each label of the column and the positions of the cells that it is applied to."""
    labels = cells[column]
    perturbed = is_perturbed(labels).to_numpy(copy=True)
    own = is_control(labels).to_numpy(copy=True)
    if control is None:
        LOGGER.info(
            "plan: %d cells without a label in %s and %d labelled as control are skipped",
            (~perturbed & ~own).sum(), column, own.sum(),
        )  # fmt: skip
        rows_of = pd.Series(np.flatnonzero(perturbed)).groupby(
            labels[perturbed].astype(str).to_numpy()
        )
        for name, rows in rows_of:
            yield Treatment(name, name, "--perturbation_column"), rows.to_numpy()
        return
    controls = _controls(cells, control)
    LOGGER.info(
        "plan: of the other cells, %d give their label in %s; %d without a label and %d labelled "
        "as control are skipped", (perturbed & ~controls).sum(), column,
        (~perturbed & ~own & ~controls).sum(), (own & ~controls).sum(),
    )  # fmt: skip
    for name in sorted(labels[perturbed & ~controls].astype(str).unique()):
        yield Treatment(name, name, "--perturbation_column"), np.flatnonzero(controls)


def _pairs(cells: pd.DataFrame, chosen: Sequence[tuple[Treatment, np.ndarray]]) -> pd.DataFrame:
    """A row for each treatment and cell, indexed by the place of the cell."""
    numbers, rows = _numbered([rows for _, rows in chosen])
    pairs = cells[CELL].iloc[rows].set_axis(rows)
    names = dict.fromkeys(name for treatment, _ in chosen for name in treatment.columns)
    columns = {
        "condition": [treatment.condition for treatment, _ in chosen],
        "perturbation": [treatment.perturbation for treatment, _ in chosen],
        **{
            name: [treatment.columns.get(name) or None for treatment, _ in chosen] for name in names
        },
    }
    for name, values in columns.items():
        pairs[name] = np.array(values, dtype=object)[numbers]
    return pairs


def _numbered(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All rows in one array, and of which part each is."""
    none = np.empty(0, np.int64)
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return numbers, np.concatenate([none, *parts])


def _with_no_ops(
    cells: pd.DataFrame, chosen: Sequence[tuple[Treatment, np.ndarray]], no_ops: NoOps
) -> pd.DataFrame:
    """The pairs, and those of the same cells with the no-ops that they are compared with."""
    found, which = _shared_no_ops(chosen, no_ops)
    numbers, rows = _numbered([rows for _, rows in chosen])
    order = np.argsort(which[numbers], kind="stable")
    starts = np.searchsorted(which[numbers][order], np.arange(len(found) + 1))
    compared = np.full(rows.size, None, dtype=object)
    matched = []
    for no_op, start, stop in zip(found, starts, starts[1:], strict=False):
        own = order[start:stop]
        there = np.unique(rows[own])
        texts = filled(no_op.perturbation, cells.iloc[there])
        known = pd.notna(texts)
        compared[own[np.isin(rows[own], there[known])]] = no_op.condition
        pairs = _pairs(cells, [(no_op, there[known])])
        pairs["perturbation"] = texts[known]
        matched.append(pairs.assign(**{NO_OP: True, COMPARED_WITH: None}))
    pairs = _pairs(cells, chosen).assign(**{NO_OP: False, COMPARED_WITH: compared})
    return pd.concat([pairs, *matched])


def _shared_no_ops(
    chosen: Sequence[tuple[Treatment, np.ndarray]], no_ops: NoOps
) -> tuple[list[Treatment], np.ndarray]:
    """The different no-ops, and which of them each treatment is compared with; -1 for none."""
    places: dict[tuple[str, str], int] = {}
    found: list[Treatment] = []
    which = np.full(len(chosen), -1)
    for number, (treatment, _) in enumerate(chosen):
        if no_op := no_ops.no_op_for(treatment):
            key = no_op.condition, no_op.perturbation
            if key not in places:
                places[key] = len(found)
                found.append(no_op)
            which[number] = places[key]
    return found, which


@dataclass(frozen=True)
class Work:
    """Tokens of a plan, estimated.

    Attributes
    ----------
    tokens_per_gene
        Mean over the example sentences.
    to_read
        Tokens of all prompts.
    to_write
        Tokens of all answers, if each has as many genes as it may have.
    n_genes
        Those genes.
    to_embed
        Tokens that EMBED reads for all cells, for comparison.
    """

    tokens_per_gene: float
    to_read: int
    to_write: int
    to_embed: int
    n_genes: int


def estimate_work(
    plan: pd.DataFrame,
    cells: pd.DataFrame,
    examples: Sequence[str],
    model: str | Path,
    template: str,
    length: AnswerLength | None = None,
    num_samples: int = 1,
    words: Collection[str] = (),
) -> Work:
    """Count with the model's tokenizer what a gene and the prompt's own words cost.

    Parameters
    ----------
    plan
        From `c2sflow.perturbation.planning.plan_predictions`.
    cells
        shard, cell_id and n_sentence_genes of all cells.
    examples
        Sentences of some cells.
    model
        Directory with tokenizer.json and config.json.
    template
        Perturbation prompt.
    length
        How long an answer may be; None for the defaults.
    words
        Genes that an answer may hold.
    """
    length = length or AnswerLength()
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    context = config_number(config, "max_position_embeddings")
    # In a prompt there is a space before the first gene too.
    n_tokens = [
        len(tokenizer.encode(f" {text}", add_special_tokens=False).ids) for text in examples
    ]
    n_genes = sum(len(text.split()) for text in examples)
    per_gene = sum(n_tokens) / max(1, n_genes)
    words = "".join(text for text, *_ in string.Formatter().parse(template))
    own = len(tokenizer.encode(words).ids)

    encoded = tokenizer.encode_batch([f" {word}" for word in words], add_special_tokens=False)
    limit = length.limit([len(gene.ids) for gene in encoded], context)
    answer = min(limit.n_tokens, round(limit.n_genes * per_gene) + 1)

    def tokens(genes: np.ndarray, most: int) -> np.ndarray:
        return np.where(genes > 0, np.minimum(own + per_gene * genes, most), 0)

    genes = plan[CELL].merge(cells[[*CELL, N_GENES]], on=CELL, how="left")[N_GENES].to_numpy()
    return Work(
        tokens_per_gene=per_gene,
        to_read=int(tokens(genes, context - limit.n_tokens).sum()) * num_samples,
        to_write=len(plan) * num_samples * answer,
        to_embed=int(tokens(cells[N_GENES].to_numpy(), context).sum()),
        n_genes=limit.n_genes,
    )


def describe_plan(plan: pd.DataFrame, work: Work, num_samples: int = 1) -> list[str]:
    """The plan in words, a line each. The work is that of the no-ops, too."""
    predicted = predicted_only(plan)
    counts = predicted["condition"].value_counts()
    n_cells = len(predicted[CELL].drop_duplicates())
    few, many = counts.min(), counts.max()
    each = f"{many:,}" if few == many else f"{few:,} to {many:,}"
    answers = f" x {num_samples} answers" if num_samples > 1 else ""
    # What is written is read again, to embed the predicted cells.
    times = (work.to_read + 2 * work.to_write) / max(1, work.to_embed)
    return [
        f"plan: {len(predicted) * num_samples:,} predictions: {len(counts):,} "
        f"perturbation{'s' * (len(counts) != 1)} of {each} cells{answers}; "
        f"{n_cells:,} different cells",
        f"plan: about {work.to_read:,} tokens to read ({work.tokens_per_gene:.1f} per gene) and "
        f"{work.to_write:,} to write (answers of at most {work.n_genes} genes): {times:.2g} times "
        "the tokens of embedding all cells",
    ]


def describe_no_ops(plan: pd.DataFrame, num_samples: int = 1) -> list[str]:
    """What is predicted only to compare with, its cost, and what has no no-op; a line each.

    Parameters
    ----------
    plan
        From `c2sflow.perturbation.planning.plan_predictions`, with `NO_OP` and `COMPARED_WITH`.
    """
    predicted = predicted_only(plan)
    lines = []
    if n := len(plan) - len(predicted):
        words = " and ".join(
            repr(name) for name in sorted(plan.loc[plan[NO_OP], "condition"].unique())
        )
        lines.append(
            f"plan: {n * num_samples:,} more answers (+{n / len(predicted):.0%}), to {words}: "
            "effects are differences from them; --no_op none leaves them out, and p-values too"
        )
    if without := int(predicted[COMPARED_WITH].isna().sum()):
        lines.append(
            f"plan: {without * num_samples:,} predictions have no no-op to compare with, and get "
            "no p-values: a conversion needs the cell's own type (--label_column), a text of "
            "--no_op the values that it names"
            if n
            else "plan: no no-op is predicted to compare with: effects are differences from each "
            "cell's own sentence, without p-values"
        )
    return lines
