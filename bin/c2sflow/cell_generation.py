"""Generated cells: prompts that name a cell type, or none, and the sentences that are said."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.answers import answer_sentences
from c2sflow.embedding import Pooling, embed_cells
from c2sflow.errors import UserError
from c2sflow.generation import GenerationStats
from c2sflow.prompts import fill


def generate_cells(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    genes: Collection[str],
    template: str,
    *,
    num_genes: int = 100,
    max_new_tokens: int = 200,
    **options: object,
) -> tuple[pd.DataFrame, GenerationStats]:
    """Generate the sentence of each cell.

    Parameters
    ----------
    model
        Causal language model with its head.
    cells
        A row a cell: organism, c2s_cell_type ("" for none) and number, which tells cells of one
        type apart: with the seed it decides what is drawn, whatever the batch or the task.
    genes
        Words that a cell may say; what else is said counts as invalid.
    template
        Generation prompt: may hold {num_genes}, {organism} and {cell_type}.
    num_genes
        What {num_genes} asks for.
    max_new_tokens
        Longest answer.
    options
        Those of `c2sflow.answers.answer_sentences`.

    Returns
    -------
    The cells with the columns of `answer_sentences`; and the figures of the run.

    Raises
    ------
    UserError
        If prompt and answer do not fit into the model's context.
    """
    kinds = ["organism", "c2s_cell_type"]
    distinct = cells[kinds].drop_duplicates()
    texts = [
        fill(template, {"organism": organism, "cell_type": cell_type, "n_genes": num_genes})
        for organism, cell_type in distinct.itertuples(index=False)
    ]
    tokens = [np.asarray(ids, dtype=np.int32) for ids in tokenizer(texts)["input_ids"]]
    longest, context = max(map(len, tokens), default=0), model.config.max_position_embeddings
    if longest + max_new_tokens > context:
        raise UserError(
            f"the prompt has {longest} tokens, the answer up to {max_new_tokens} (--max_new_tokens)"
            f", and the model takes {context} together; shorten the prompt or the answer"
        )
    prompts = dict(zip(distinct.itertuples(index=False, name=None), tokens, strict=True))
    rows = list(cells[[*kinds, "number"]].itertuples(index=False, name=None))
    answers, stats = answer_sentences(
        model,
        tokenizer,
        [prompts[row[:2]] for row in rows],
        ["|".join(map(str, ("generated", *row))) for row in rows],
        genes,
        max_new_tokens=max_new_tokens,
        **options,
    )
    return pd.concat([cells.reset_index(drop=True), answers], axis=1), stats


def embed_generated(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cells: pd.DataFrame,
    template: str,
    *,
    pooling: Pooling = "mean",
    layer: int = -1,
    max_batch_tokens: int | str | None = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Embed generated sentences as real cells are embedded.

    Parameters
    ----------
    cells
        From `generate_cells`.
    template
        Embedding prompt, of {cell_sentence}, {num_genes}, {organism} and {cell_type}.

    Returns
    -------
    float32 (n_cells, hidden_size); NaN where no gene was said.
    """
    names = {
        "c2s_sentence": "cell_sentence", "c2s_n_predicted_genes": "n_genes",
        "c2s_cell_type": "cell_type", "organism": "organism",
    }  # fmt: skip
    records = cells[list(names)].rename(columns=names).to_dict("records")
    made = embed_cells(
        model.get_decoder(), tokenizer, template, records,
        pooling=pooling, layer=layer, max_batch_tokens=max_batch_tokens, progress=progress,
    )  # fmt: skip
    return made.vectors
