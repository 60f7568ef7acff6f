"""Examples of several cells: what asks about a group, and a group as an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.generation.cell_tokens import LINE_END
from c2sflow.generation.logits import behind
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.groups.prompts import NUM_CELLS, opened
from c2sflow.sentences.groups.text import FIRST, join_sentences


def group_record(record: Mapping[str, object], genes: Sequence[Sequence[str]]) -> dict[str, object]:
    """What a prompt may use of a group, as its shards have it.

    Parameters
    ----------
    record
        Of one of its cells.
    genes
        Of each of its cells.
    """
    own = {
        "cell_sentence": join_sentences([" ".join(sentence) for sentence in genes]),
        "n_genes": max(map(len, genes)),
        NUM_CELLS: len(genes),
    }
    return {**record, **own}


def cells_to_generate(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    record: Mapping[str, object],
    genes: Sequence[Sequence[str]],
    context: int,
) -> tuple[np.ndarray, int]:
    """A prompt that asks for several cells, and these, as decoding makes them.

    Where they do not fit into the context, each keeps the same number of genes.

    Parameters
    ----------
    template
        See `c2sflow.sentences.groups.prompts.group_generation_template`.
    record
        What it names of the cells.
    genes
        Of each cell.
    context
        Most tokens.

    Returns
    -------
    int32 (n_tokens,), the end included; and how many of them are the prompt.

    Raises
    ------
    UserError
        If cells of one gene do not fit, or the tokenizer cannot write them.
    """
    most = max(map(len, genes))
    while True:
        own = group_record(record, [sentence[:most] for sentence in genes])
        answer = _answer(tokenizer, str(own["cell_sentence"]))
        asked = {**own, "cell_sentence": ""}
        prompt = tokenize_prompts(tokenizer, opened(template), [asked], context).input_ids[0]
        room = context - prompt.size
        if answer.size <= room:
            return np.concatenate([prompt, answer]), prompt.size
        if most == 1:
            raise UserError(
                f"an answer of {len(genes)} cells of one gene has {answer.size} tokens, and the "
                f"context has room for {room}; take fewer --cells_per_answer"
            )
        most = max(1, min(most - 1, most * room // answer.size))


def _answer(tokenizer: PreTrainedTokenizerBase, text: str) -> np.ndarray:
    """Tokens of several cells behind the line that begins the first, and the end."""
    answer = f"{text.removeprefix(FIRST)}."
    tokens = behind(tokenizer, LINE_END, [answer]).get(answer)
    if tokens is None:
        raise UserError(f"the model's tokenizer cannot represent {answer[:60]!r}")
    return np.array([*tokens, tokenizer.eos_token_id], dtype=np.int32)
