"""Logits of the next token: those of genes only, and the token drawn from them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

LOGGER = logging.getLogger(__name__)
ANCHOR = ":"  # what a gene's tokens are made behind; symbols are split differently after a space


def answer_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, list[int]]:
    """Tokens of each text with its leading space, as in an answer.

    A text that does not come back from its tokens is left out.
    """
    whole = [f"{ANCHOR} {text}" for text in texts]
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    tokens = {}
    for text, ids, offsets in zip(
        texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        cut = sum(end <= len(ANCHOR) for _, end in offsets)
        if ids[cut:] and tokenizer.decode(ids, skip_special_tokens=True) == f"{ANCHOR} {text}":
            tokens[text] = ids[cut:]
    return tokens


def gene_tokens(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> dict[str, list[int]]:
    """`answer_tokens` of each gene; genes that cannot be tokenized are dropped with a warning."""
    tokens = answer_tokens(tokenizer, words)
    lost = [word for word in words if word not in tokens]
    if lost:
        LOGGER.warning("this tokenizer cannot represent %d genes, such as %r", len(lost), lost[0])
    return tokens


class GeneTrie:
    """Trie of token paths, in tensors.

    All that follow a trie work with its valid tokens: those of a gene or an end, by their place
    among them.

    Parameters
    ----------
    paths
        Tokens of each gene; not empty, all different.
    eos_token_ids
        Tokens that end an answer.
    device
        Where the logits are.
    no_repeats
        Each gene at most once.

    Attributes
    ----------
    tokens
        int64 (n_valid,): id in the model's vocabulary of each valid token, ascending.
    """

    def __init__(
        self,
        paths: Sequence[Sequence[int]],
        eos_token_ids: Sequence[int],
        device: torch.device | str = "cpu",
        no_repeats: bool = True,
    ):
        ids = sorted({*eos_token_ids, *(token for path in paths for token in path)})
        number = {token: n for n, token in enumerate(ids)}
        self.n_valid, self.no_repeats = len(ids), no_repeats
        children: list[dict[int, int]] = [{}]
        gene_of_node = [-1]
        walks = []
        for gene, path in enumerate(paths):
            node, walk = 0, []
            for token in map(number.__getitem__, path):
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                    gene_of_node.append(-1)
                node = children[node][token]
                walk.append(node)
            gene_of_node[node] = gene
            walks.append(walk)
        n_nodes = len(children)

        def tensor(values: object) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, dtype=np.int64), device=device)

        self.tokens = tensor(ids)
        self.eos = tensor([number[token] for token in eos_token_ids])
        self.is_gene = tensor(gene_of_node) >= 0
        # Edges sorted by (parent, token), to find a child by binary search.
        edges = sorted((p, t, c) for p, found in enumerate(children) for t, c in found.items())
        self.edge_keys = tensor([parent * self.n_valid + token for parent, token, _ in edges])
        self.edge_child = tensor([child for _, _, child in edges])
        self.root_tokens = tensor([token for parent, token, _ in edges if parent == 0])
        self.root_children = tensor([child for parent, _, child in edges if parent == 0])
        # Children of the other nodes, padded with a token beyond the last and a node in which
        # no gene is left.
        inner = [sorted(found.items()) if node else [] for node, found in enumerate(children)]
        width = max(1, max(map(len, inner)))
        padding = [(self.n_valid, n_nodes)]
        table = np.array([found + padding * (width - len(found)) for found in inner])
        self.inner_tokens, self.inner_children = tensor(table[..., 0]), tensor(table[..., 1])
        # Nodes on the way to each node's gene, itself included, padded likewise.
        depth = max(map(len, walks))
        ways = np.full((n_nodes, depth), n_nodes)
        for walk in walks:
            ways[walk[-1], : len(walk)] = walk
        self.ways = tensor(ways)
        # Genes at or below each node; none at the padding node.
        below = np.zeros(n_nodes + 1, dtype=np.int32)
        for walk in walks:
            below[walk] += 1
        self.below = torch.as_tensor(below, device=device)

    def start(self, n_rows: int) -> TrieState:
        """State of rows that have emitted nothing."""
        return TrieState(
            trie=self,
            node=torch.zeros(n_rows, dtype=torch.int64, device=self.below.device),
            left=self.below.repeat(n_rows, 1),
            begun=torch.zeros(n_rows, dtype=torch.int64, device=self.below.device),
            n_genes=torch.zeros(n_rows, dtype=torch.int64, device=self.below.device),
        )

    def restart(self, state: TrieState, rows: torch.Tensor) -> None:
        """Restart some rows, in place."""
        state.assign(rows, self.start(len(rows)))

    def complete(self, state: TrieState) -> torch.Tensor:
        """bool (n_rows,): the row is at the end of a gene that it has not emitted before."""
        below = state.left.gather(1, self.inner_children[state.node]).sum(dim=1)
        here = state.left.gather(1, state.node[:, None])[:, 0]
        return self.is_gene[state.node] & (here > below)

    def constrain(self, scores: torch.Tensor, state: TrieState) -> torch.Tensor:
        """Scores of a step with all tokens forbidden that would lead to no gene.

        Parameters
        ----------
        scores
            float (n_rows, n_valid).
        state
            The state of the rows.

        Returns
        -------
        float (n_rows, n_valid), -inf where forbidden.
        """
        floor = torch.finfo(scores.dtype).min
        complete = self.complete(state)[:, None]
        at_root = (state.node == 0)[:, None]
        result = torch.full(
            (len(scores), self.n_valid + 1), -torch.inf, dtype=scores.dtype, device=scores.device
        )
        # A score of -inf that is allowed stays above the forbidden ones.
        scores = scores.clamp_min(floor)
        tokens = self.inner_tokens[state.node]
        open_ = state.left.gather(1, self.inner_children[state.node]) > 0
        inner = scores.gather(1, tokens.clamp_max(self.n_valid - 1))
        result.scatter_(1, tokens, inner.masked_fill(~open_, -torch.inf))
        left = state.left[:, self.root_children]
        if self.no_repeats:  # the gene just emitted may not follow itself
            left = left - (complete & (self.ways[state.node, :1] == self.root_children)).int()
        open_ = (left > 0) & (complete | at_root)
        result[:, self.root_tokens] = scores[:, self.root_tokens].masked_fill(~open_, -torch.inf)
        result[:, self.eos] = scores[:, self.eos].masked_fill(~complete, -torch.inf)
        return result[:, : self.n_valid]

    def begins(self, state: TrieState, tokens: torch.Tensor) -> torch.Tensor:
        """bool (n_rows,): the token, allowed by `constrain`, is the first of another gene."""
        _, inside = self._child(state.node, tokens)
        return ~inside | (state.node == 0)

    def advance(
        self, state: TrieState, tokens: torch.Tensor, steps: torch.Tensor, active: torch.Tensor
    ) -> None:
        """Move rows along their tokens, in place.

        Parameters
        ----------
        tokens
            int64 (n_rows,), allowed by `constrain`.
        steps
            int64 (n_rows,): number of tokens emitted before.
        active
            bool (n_rows,): the others stay where they are.
        """
        child, inside = self._child(state.node, tokens)
        fresh, _ = self._child(torch.zeros_like(state.node), tokens)
        if self.no_repeats:
            # A row that restarts has emitted its gene: one gene fewer on the way to it.
            leaving = (~inside & (state.node > 0) & active).to(state.left.dtype)
            ways = self.ways[state.node]
            state.left.scatter_add_(1, ways, -leaving[:, None].expand(ways.shape).contiguous())
            state.left[:, -1] = 0
        continues = inside & (state.node > 0) | ~active
        state.begun.copy_(torch.where(continues, state.begun, steps))
        state.n_genes.add_((~continues).to(state.n_genes.dtype))
        state.node.copy_(torch.where(active, torch.where(inside, child, fresh), state.node))

    def _child(self, node: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Child along the token, and whether there is one."""
        keys = node * self.n_valid + tokens
        place = torch.searchsorted(self.edge_keys, keys).clamp_max(len(self.edge_keys) - 1)
        found = self.edge_keys[place] == keys
        return torch.where(found, self.edge_child[place], 0), found


@dataclass
class TrieState:
    """The state of the rows of a batch.

    Attributes
    ----------
    trie
        Through which they go.
    node
        int64 (n_rows,).
    left
        int32 (n_rows, n_nodes + 1): genes at or below each node that are not emitted yet.
    begun
        int64 (n_rows,): step at which the gene under way began.
    n_genes
        int64 (n_rows,): genes begun.
    """

    trie: GeneTrie
    node: torch.Tensor
    left: torch.Tensor
    begun: torch.Tensor
    n_genes: torch.Tensor

    def tensors(self) -> list[torch.Tensor]:
        """What `advance` writes."""
        return [self.node, self.left, self.begun, self.n_genes]

    def select(self, rows: torch.Tensor | slice) -> TrieState:
        """State of some rows: a copy, or for a slice a view."""
        return TrieState(
            self.trie, self.node[rows], self.left[rows], self.begun[rows], self.n_genes[rows]
        )

    def assign(self, rows: torch.Tensor | slice, state: TrieState) -> None:
        """Take over the state of some rows."""
        if not isinstance(rows, slice):  # else `state` is a view of this one
            for name in ("node", "left", "begun", "n_genes"):
                getattr(self, name)[rows] = getattr(state, name)


def row_numbers(seed: int, key: str, n_steps: int) -> np.ndarray:
    """float64 (n_steps,) in [0, 1): by seed and key (cell, perturbation, sample), not by batch."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little")).random(n_steps)


def next_tokens(
    scores: torch.Tensor,
    numbers: torch.Tensor | None,
    temperature: float = 0.0,
    top_p: float = 1.0,
) -> torch.Tensor:
    """Choose a token a row.

    Parameters
    ----------
    scores
        float32 (n_rows, n_tokens): logits, or log-probabilities; -inf where forbidden.
    numbers
        float64 (n_rows,) in [0, 1), each row's own random number of this step; None if greedy.
    temperature
        0 for the likeliest token.
    top_p
        Draw only from the likeliest tokens that together have this probability.

    Returns
    -------
    int64 (n_rows,)
    """
    if not temperature:
        return scores.argmax(dim=-1)
    if numbers is None:
        raise ValueError("to draw a token takes a number for each row")
    probabilities = (scores / temperature).softmax(dim=-1)
    if top_p >= 1:
        return _draw(probabilities, numbers)
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    place = _draw(ordered.masked_fill(before >= top_p, 0), numbers)
    return tokens.gather(1, place[:, None])[:, 0]


def _draw(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The first token up to which the weights exceed a row's share of their sum."""
    sums = weights.cumsum(dim=-1, dtype=torch.float64)
    place = torch.searchsorted(sums, (numbers[:, None] * sums[:, -1:]), right=True)[:, 0]
    return place.clamp_max(weights.shape[-1] - 1)
