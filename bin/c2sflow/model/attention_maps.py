"""Gene × gene attention: which genes of a cell a layer looks at from which.

Attention goes to the head of a sentence whatever genes are there. The effect of position alone is
measured on the same genes in random order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import BLOCKWISE, using
from c2sflow.model.embedding_engine import LayerReached
from c2sflow.sentences.prompts import fill

SHUFFLES = 3  # orders of a cell's genes


def gene_of_token(
    tokenizer: PreTrainedTokenizerBase, template: str, record: Mapping[str, object]
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of a cell's prompt, and the gene each token belongs to.

    Returns
    -------
    int32 (n_tokens,) input_ids, and int64 (n_tokens,) position of the gene in the sentence, -1
    for the words of the prompt and for a space that is a token of its own.
    """
    sentence = str(record["cell_sentence"])
    start = len(fill(template.partition("{cell_sentence}")[0], record))
    encoded = tokenizer(fill(template, record), return_offsets_mapping=True)
    # A token's last character decides: a leading space is often part of the token.
    ends = np.array([end - 1 - start for _, end in encoded["offset_mapping"]])
    empty = np.array([begin == end for begin, end in encoded["offset_mapping"]])
    spaces = np.flatnonzero([character == " " for character in sentence])
    genes = np.searchsorted(spaces, ends)
    between = np.isin(ends, spaces)  # Gemma-2's tokenizer makes a space before a digit a token
    genes[empty | between | (ends < 0) | (ends >= len(sentence))] = -1
    return np.asarray(encoded["input_ids"], dtype=np.int32), genes


class _Aggregate:
    """Attention between tokens to attention between genes: mean over queries, sum over keys.

    Blocks of weights are added as the layer computes them; its whole matrix never exists.
    """

    def __init__(self, genes: np.ndarray, n_genes: int, layer: int, device: torch.device):
        self.layer = layer
        tokens = np.flatnonzero(genes >= 0)
        self.member = torch.zeros(len(genes), n_genes, device=device)
        self.member[torch.from_numpy(tokens), torch.from_numpy(genes[tokens])] = 1
        self.mean = self.member / self.member.sum(dim=0).clamp_min(1)
        self.maps: torch.Tensor | float = 0.0

    def __call__(
        self, module: torch.nn.Module, weights: torch.Tensor, query: int, key: int
    ) -> None:
        """Add weights (1, n_heads, n_queries, n_keys) of queries and keys from these on."""
        if module.layer_idx != self.layer:
            return
        n_queries, n_keys = weights.shape[2:]
        by_gene = weights[0] @ self.member[key : key + n_keys]
        self.maps = self.maps + self.mean[query : query + n_queries].T @ by_gene
        if query + n_queries == len(self.member):
            raise LayerReached(self.maps)


@torch.inference_mode()
def attention_maps(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    records: Sequence[Mapping[str, object]],
    layer: int = -1,
) -> Iterator[np.ndarray]:
    """Attention between the genes of each cell, in one layer.

    Cells go one by one, no further than that layer: memory grows with the length of a prompt and
    the square of its genes, not with the number of cells.

    Parameters
    ----------
    model
        A backbone, with any attention.
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
    layer %= model.config.num_hidden_layers
    layers = family_of(model.config.model_type).layers(model)
    device = next(model.parameters()).device
    for record in records:
        input_ids, genes = gene_of_token(tokenizer, template, record)
        n_genes = len(str(record["cell_sentence"]).split())
        where = next(layers[layer].parameters()).device
        aggregate = _Aggregate(genes, n_genes, layer, where)
        ids = torch.from_numpy(input_ids[None].astype(np.int64)).to(device)
        with using(model, BLOCKWISE):
            try:
                model(input_ids=ids, use_cache=False, attention_observer=aggregate)
            except LayerReached as reached:
                states = reached.hidden.cpu().numpy()
        yield states


def shuffled_maps(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    records: Sequence[Mapping[str, object]],
    layer: int = -1,
) -> Iterator[np.ndarray]:
    """Attention between the positions of each cell's sentence, its genes in random order.

    Yields
    ------
    float32 (n_heads, n_genes, n_genes) of each cell, query × key by position in the sentence: mean
    over `SHUFFLES` orders, which the cell's name decides.
    """
    for record in records:
        orders = [shuffled(record, number) for number in range(SHUFFLES)]
        maps = attention_maps(model, tokenizer, template, orders, layer)
        yield np.stack(list(maps)).mean(axis=0, dtype=np.float32)


def shuffled(record: Mapping[str, object], number: int) -> dict[str, object]:
    """The record with the genes of its sentence in a random order."""
    name = f"{record.get('sample')}\0{record.get('cell_id')}\0{number}"
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    genes = np.random.default_rng(seed).permutation(str(record["cell_sentence"]).split())
    return {**record, "cell_sentence": " ".join(genes.tolist())}
