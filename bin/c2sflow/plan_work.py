"""How much work a plan is: counted and told before any of it is done. No torch here."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from c2sflow.model_files import config_number
from c2sflow.no_ops import COMPARED_WITH, NO_OP, predicted_only
from c2sflow.planning import CELL
from c2sflow.shard_columns import N_GENES


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
        Tokens of all answers, if each is as long as it may be.
    to_embed
        Tokens that EMBED reads for all cells, for comparison.
    """

    tokens_per_gene: float
    to_read: int
    to_write: int
    to_embed: int


def estimate_work(
    plan: pd.DataFrame,
    cells: pd.DataFrame,
    examples: Sequence[str],
    model: str | Path,
    template: str,
    max_new_tokens: int = 200,
    num_samples: int = 1,
) -> Work:
    """Count with the model's tokenizer what a gene and the prompt's own words cost.

    Parameters
    ----------
    plan
        From `c2sflow.planning.plan_predictions`.
    cells
        shard, cell_id and n_sentence_genes of all cells.
    examples
        Sentences of some cells.
    model
        Directory with tokenizer.json and config.json.
    template
        Perturbation prompt.
    """
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    context = config_number(config, "max_position_embeddings")
    # In a prompt a space stands before the first gene too.
    n_tokens = [
        len(tokenizer.encode(f" {text}", add_special_tokens=False).ids) for text in examples
    ]
    n_genes = sum(len(text.split()) for text in examples)
    per_gene = sum(n_tokens) / max(1, n_genes)
    words = "".join(text for text, *_ in string.Formatter().parse(template))
    own = len(tokenizer.encode(words).ids)

    def tokens(genes: np.ndarray, most: int) -> np.ndarray:
        return np.where(genes > 0, np.minimum(own + per_gene * genes, most), 0)

    genes = plan[CELL].merge(cells[[*CELL, N_GENES]], on=CELL, how="left")[N_GENES].to_numpy()
    return Work(
        tokens_per_gene=per_gene,
        to_read=int(tokens(genes, context - max_new_tokens).sum()) * num_samples,
        to_write=len(plan) * num_samples * max_new_tokens,
        to_embed=int(tokens(cells[N_GENES].to_numpy(), context).sum()),
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
        f"plan: about {work.to_read:,} tokens to read ({work.tokens_per_gene:.1f} a gene) and at "
        f"most {work.to_write:,} to write: {times:.2g} times the tokens of embedding all cells",
    ]


def describe_no_ops(plan: pd.DataFrame, num_samples: int = 1) -> list[str]:
    """What is predicted only to compare with, its cost, and what has no no-op; a line each.

    Parameters
    ----------
    plan
        From `c2sflow.planning.plan_predictions`, with `NO_OP` and `COMPARED_WITH`.
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
