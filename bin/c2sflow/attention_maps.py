"""Gene × gene attention: which genes of a cell a layer looks at from which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.batching import pad_left
from c2sflow.prompts import fill


def gene_of_token(
    tokenizer: PreTrainedTokenizerBase, template: str, record: Mapping[str, object]
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of a cell's prompt, and the gene each token belongs to.

    Returns
    -------
    int32 (n_tokens,) input_ids, and int64 (n_tokens,) position of the gene in the sentence, -1
    for the words of the prompt.
    """
    sentence = str(record["cell_sentence"])
    start = len(fill(template.partition("{cell_sentence}")[0], record))
    encoded = tokenizer(fill(template, record), return_offsets_mapping=True)
    # A token's last character decides: a leading space is often part of the token.
    ends = np.array([end - 1 - start for _, end in encoded["offset_mapping"]])
    empty = np.array([begin == end for begin, end in encoded["offset_mapping"]])
    spaces = np.flatnonzero([character == " " for character in sentence])
    genes = np.searchsorted(spaces, ends)
    genes[empty | (ends < 0) | (ends >= len(sentence))] = -1
    return np.asarray(encoded["input_ids"], dtype=np.int32), genes


def aggregate(weights: torch.Tensor, genes: np.ndarray, n_genes: int) -> torch.Tensor:
    """Attention between tokens to attention between genes: mean over queries, sum over keys.

    Parameters
    ----------
    weights
        (n_heads, n_tokens, n_tokens), query × key.
    genes
        (n_tokens,) from `gene_of_token`.

    Returns
    -------
    (n_heads, n_genes, n_genes) float32, query × key.
    """
    member = torch.zeros(len(genes), n_genes, device=weights.device)
    tokens = np.flatnonzero(genes >= 0)
    member[torch.from_numpy(tokens), torch.from_numpy(genes[tokens])] = 1
    per_query = (member / member.sum(dim=0).clamp_min(1)).T
    return per_query @ weights.float() @ member


@torch.inference_mode()
def attention_maps(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    records: Sequence[Mapping[str, object]],
    layer: int = -1,
) -> Iterator[np.ndarray]:
    """Attention between the genes of each cell, in one layer.

    Cells go one by one, and one layer's weights are held at a time: memory grows with the square
    of the longest prompt, not with the number of cells.

    Parameters
    ----------
    model
        A backbone loaded with ``attention="eager"``: the others never form the weights.
    template
        Embedding prompt.
    records
        cell_sentence, n_genes, organism and the other fields of `template`.
    layer
        Layer to look at; -1 is the last.

    Yields
    ------
    float32 (n_heads, n_genes, n_genes) of each cell, query × key.
    """
    seen: list[torch.Tensor] = []
    attention = model.layers[layer].self_attn
    handle = attention.register_forward_hook(lambda _m, _args, output: seen.append(output[1]))
    try:
        for record in records:
            input_ids, genes = gene_of_token(tokenizer, template, record)
            ids, mask = pad_left([input_ids], tokenizer.pad_token_id, model.device)
            model(input_ids=ids, attention_mask=mask, use_cache=False)
            n_genes = len(str(record["cell_sentence"]).split())
            yield aggregate(seen.pop()[0], genes, n_genes).cpu().numpy()
    finally:
        handle.remove()
