"""The logits of the next token that lead to genes, and to no other words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Self

import numpy as np
import torch


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
    first
        Of each path the tokens of the same gene where it is the first of a cell: a trie with a root
        of its own. Empty for a gene that cannot be.
    full_stop
        Token that may stand behind a gene, before the end of the answer; None for none.

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
        first: Sequence[Sequence[int]] = (),
        full_stop: int | None = None,
    ):
        words = [*paths] if full_stop is None else [*paths, [full_stop]]
        table, firsts = _padded(words), _padded(first)
        ids = np.unique(np.concatenate([table.ravel(), firsts.ravel(), np.asarray(eos_token_ids)]))
        ids = ids[ids >= 0]
        self.n_valid, self.no_repeats = len(ids), no_repeats
        ways, parents, tokens = _nodes(_numbered(table, ids))
        begins, below = _ends(ways), np.bincount(ways[ways >= 0])
        self.second_root = len(parents)  # of a cell's first gene; no node without any
        if len(first):
            own, more_parents, more_tokens = _nodes(_numbered(firsts, ids))
            # A gene counts as emitted on its way in the first trie, whichever it came by.
            known = np.flatnonzero(own[:, 0] >= 0)
            begins = np.append(begins, self.second_root + _ends(own)[known])
            below = np.append(below, np.bincount(own[own >= 0]))
            ways = np.concatenate([ways, ways[known]])
            roots = np.where(more_parents < 0, -1, more_parents + self.second_root)
            parents, tokens = np.append(parents, roots), np.append(tokens, more_tokens)
        self._make_tensors(ids, eos_token_ids, parents, tokens, torch.device(device))
        n_nodes = len(parents)
        self.is_gene = torch.zeros(n_nodes, dtype=torch.bool, device=device)
        self.is_gene[self._tensor(begins)] = True
        # Where nothing but the end may follow.
        self.is_stop = torch.zeros_like(self.is_gene)
        if full_stop is not None:
            stop = self._tensor(begins[len(paths) :][:1])
            self.is_gene[stop], self.is_stop[stop] = False, True
        # Nodes on the way to each node's gene, itself included, padded likewise.
        self.ways = torch.full((n_nodes, ways.shape[1]), n_nodes, dtype=torch.int64, device=device)
        self.ways[self._tensor(begins)] = self._tensor(np.where(ways >= 0, ways, n_nodes))
        # Genes at or below each node; none at the padding node, and nobody asks at a root.
        below = np.append(below, 0)
        small = below.max() <= np.iinfo(np.int16).max
        self.below = self._tensor(below).to(torch.int16 if small else torch.int32)

    def _make_tensors(
        self,
        ids: np.ndarray,
        eos_token_ids: Sequence[int],
        parents: np.ndarray,
        tokens: np.ndarray,
        device: torch.device,
    ) -> None:
        """What a row's moves from node to node are looked up in."""
        self._device, n_nodes = device, len(parents)
        inner = np.flatnonzero(parents >= 0)  # in the order of (parent, token)
        self.tokens = self._tensor(ids)
        self.eos = self._tensor(np.searchsorted(ids, eos_token_ids))
        # Ascending, to find a child by binary search.
        self.edge_keys = self._tensor(parents[inner] * self.n_valid + tokens[inner])
        self.edge_nodes = self._tensor(inner)
        # Children are numbered one after the other: of node n, those of `first` to `last`.
        first, last = np.searchsorted(
            parents[inner], [np.arange(n_nodes), np.arange(1, n_nodes + 1)]
        )
        is_root = parents < 0
        self.first = self._tensor(inner[np.minimum(first, len(inner) - 1)])
        self.n_children = self._tensor(last - first)
        self.root_children = self._tensor(inner[first[0] : last[0]])
        self.root_tokens = self._tensor(tokens[self.root_children.cpu().numpy()])
        self.is_root = torch.from_numpy(is_root).to(device)
        width = max(1, int((last - first)[~is_root].max(initial=1)))
        self.places = self._tensor(np.arange(width))  # of the children of any node but a root
        # The padding node, behind all others: a token beyond the last, and no gene.
        self.node_tokens = self._tensor(np.append(tokens, self.n_valid))

    def _tensor(self, values: np.ndarray | Sequence[int]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(self._device)

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
        below = state.left.gather(1, self._children(state.node)).sum(dim=1)
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
        children = self._children(state.node)
        tokens = self.node_tokens[children]
        open_ = state.left.gather(1, children) > 0
        inner = scores.gather(1, tokens.clamp_max(self.n_valid - 1))
        result.scatter_(1, tokens, inner.masked_fill(~open_, -torch.inf))
        left = state.left[:, self.root_children]
        if self.no_repeats:  # the gene just emitted may not follow itself
            left = left - (complete & (self.ways[state.node, :1] == self.root_children)).short()
        open_ = (left > 0) & (complete | at_root & ~self.is_stop[self.root_children])
        # A token may continue a gene and begin another word as well.
        inner = result[:, self.root_tokens]
        result[:, self.root_tokens] = torch.where(open_, scores[:, self.root_tokens], inner)
        may_end = complete | self.is_stop[state.node][:, None]
        result[:, self.eos] = scores[:, self.eos].masked_fill(~may_end, -torch.inf)
        return result[:, : self.n_valid]

    def begins(self, state: TrieState, tokens: torch.Tensor) -> torch.Tensor:
        """bool (n_rows,): the token, allowed by `constrain`, is the first of another gene."""
        node, inside = self._next(state, tokens)
        return (~inside | self.is_root[state.node]) & ~self.is_stop[node]

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
        node, inside = self._next(state, tokens)
        continues = inside & ~self.is_root[state.node] | ~active
        if self.no_repeats:
            # A row that restarts has emitted its gene: one gene fewer on the way to it.
            leaving = (~inside & active).to(state.left.dtype)
            ways = self.ways[state.node]
            state.left.scatter_add_(1, ways, -leaving[:, None].expand(ways.shape).contiguous())
            state.left[:, -1] = 0
        state.begun.copy_(torch.where(continues, state.begun, steps))
        state.n_genes.add_((~continues).to(state.n_genes.dtype))
        state.node.copy_(torch.where(active, node, state.node))

    def _children(self, node: torch.Tensor) -> torch.Tensor:
        """int64 (n_rows, width): children of each node, padded; of the root none.

        At the first root all of `root_children` may follow, whatever the node's own.
        """
        inside = self.places < self.n_children[node][:, None]
        inside &= ~self.is_root[node][:, None]
        return torch.where(inside, self.first[node][:, None] + self.places, len(self.below) - 1)

    def _next(self, state: TrieState, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The node that a token leads to, and whether it is a child: else a word begins."""
        child, inside = self._child(state.node, tokens)
        inside &= state.left.gather(1, child[:, None])[:, 0] > 0
        fresh, _ = self._child(torch.zeros_like(state.node), tokens)
        return torch.where(inside, child, fresh), inside

    def _child(self, node: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Child along the token, and whether there is one."""
        keys = node * self.n_valid + tokens
        place = torch.searchsorted(self.edge_keys, keys).clamp_max(len(self.edge_keys) - 1)
        found = self.edge_keys[place] == keys
        return torch.where(found, self.edge_nodes[place], 0), found


def _padded(paths: Sequence[Sequence[int]]) -> np.ndarray:
    """int64 (n_paths, longest), -1 behind the end of each."""
    lengths = np.fromiter(map(len, paths), dtype=np.int64, count=len(paths))
    table = np.full((len(paths), lengths.max(initial=1)), -1, dtype=np.int64)
    flat = np.fromiter(chain.from_iterable(paths), dtype=np.int64, count=int(lengths.sum()))
    table[np.arange(table.shape[1]) < lengths[:, None]] = flat
    return table


def _numbered(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """A table of `_padded` with the places of its tokens among `ids`."""
    return np.where(table >= 0, np.searchsorted(ids, table), -1)


def _ends(ways: np.ndarray) -> np.ndarray:
    """int64 (n_paths,): the last node of each way."""
    return ways[np.arange(len(ways)), (ways >= 0).sum(axis=1) - 1]


def _nodes(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The trie of paths, numbered by depth and among one depth in the order of their paths.

    So the nodes but the root, 0, are in the order of (parent, token).

    Parameters
    ----------
    table
        int64 (n_paths, depth), -1 behind the end of each path.

    Returns
    -------
    int64 (n_paths, depth): the nodes of each path, -1 behind its end; and int64 (n_nodes,) twice:
    parent and token of each node, -1 of the root.
    """
    order = np.lexsort(table.T[::-1])
    ordered = table[order]
    ways = np.full_like(table, -1)
    parents, tokens = [np.array([-1])], [np.array([-1])]
    n_nodes, above = 1, np.zeros(len(table), dtype=np.int64)
    new = np.zeros(len(table), dtype=bool)
    new[0] = True
    for depth, column in enumerate(ordered.T):
        new[1:] |= column[1:] != column[:-1]  # paths that leave the one before them at last here
        begins = new & (column >= 0)
        here = np.where(column >= 0, n_nodes - 1 + np.cumsum(begins), -1)
        parents.append(above[begins])
        tokens.append(column[begins])
        ways[order, depth] = above = here
        n_nodes += int(begins.sum())
    return ways, np.concatenate(parents), np.concatenate(tokens)


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
        int16, or int32 where a node has more genes, (n_rows, n_nodes + 1): genes at or below each
        node that are not emitted yet.
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
        return [getattr(self, own.name) for own in fields(self) if own.name != "trie"]

    def select(self, rows: torch.Tensor | slice) -> Self:
        """State of some rows: a copy, or for a slice a view."""
        return type(self)(self.trie, *(tensor[rows] for tensor in self.tensors()))

    def assign(self, rows: torch.Tensor | slice, state: Self) -> None:
        """Take over the state of some rows."""
        if not isinstance(rows, slice):  # else `state` is a view of this one
            for own, new in zip(self.tensors(), state.tensors(), strict=True):
                own[rows] = new
