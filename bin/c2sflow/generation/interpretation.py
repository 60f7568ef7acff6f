"""A text about each group of cells, in the model's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.generation.decoding import Decoding, GenerationStats, end_tokens, generate_tokens
from c2sflow.model.tokenization import tokenize_prompts

# What obs["c2s_interpretation_status"] holds: the model ended its text, the text was cut, there is
# none.
OK, CUT, EMPTY = "ok", "length", "empty"


def interpret(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Mapping[str, object]],
    template: str,
    max_tokens: int,
    *,
    max_batch_tokens: int | str | None = "auto",
    max_rows: int | None = None,
    progress: bool = True,
) -> tuple[pd.DataFrame, GenerationStats]:
    """Ask for a text about each group, decoded greedily.

    Parameters
    ----------
    model
        Causal language model with its head.
    records
        cell_sentence (`c2sflow.sentences.groups.text`), n_genes, num_cells, organism and the other
        fields of `template`.
    max_tokens
        Of a text, at most.

    Returns
    -------
    c2s_interpretation (None where it is empty) and c2s_interpretation_status, a row a group; and
    the figures of the run.

    Raises
    ------
    UserError
        If the context has no room for a text of so many tokens.
    """
    room = model.config.max_position_embeddings - max_tokens
    if room < 1:
        raise UserError(
            f"--interpretation_tokens {max_tokens}: the model takes "
            f"{model.config.max_position_embeddings} tokens with the prompt; take fewer"
        )
    prompts = tokenize_prompts(tokenizer, template, records, room)
    ends = end_tokens(model, tokenizer.eos_token_id)
    decoding = Decoding(tokenizer.pad_token_id, ends, max_new_tokens=max_tokens)
    answers, stats = generate_tokens(
        model, prompts.input_ids, decoding,
        max_batch_tokens=max_batch_tokens, max_rows=max_rows, progress=progress,
    )  # fmt: skip
    decoded = tokenizer.batch_decode([a.token_ids for a in answers], skip_special_tokens=True)
    texts = [text.strip() for text in decoded]
    ended = np.array([answer.finish_reason == "eos" for answer in answers], dtype=bool)
    table = pd.DataFrame(
        {
            "c2s_interpretation": pd.Series([text or None for text in texts], dtype=object),
            "c2s_interpretation_status": np.where(ended, OK, CUT),
        }
    )
    table.loc[table["c2s_interpretation"].isna(), "c2s_interpretation_status"] = EMPTY
    return table, stats


def interpretation_warnings(table: pd.DataFrame, max_tokens: int) -> list[str]:
    """What a user should know of the texts, a line each."""
    counts = table["c2s_interpretation_status"].value_counts()
    warnings = []
    if n := int(counts.get(CUT, 0)):
        warnings.append(
            f"{n} interpretations were cut at {max_tokens} tokens: raise --interpretation_tokens"
        )
    if n := int(counts.get(EMPTY, 0)):
        warnings.append(f"{n} interpretations are empty")
    return warnings
