"""The logits of the next token of an answer that is several cells.

The form is that of `c2sflow.sentences.groups.text`; the line "Cell 1:" belongs to the prompt.
Behind each whole gene the model may go to the next cell, or end the answer, with the last cell or
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from c2sflow.generation.gene_trie import GeneTrie, TrieState


@dataclass(frozen=True)
class CellTokens:
    """Tokens of what parts cells, see `c2sflow.generation.cell_tokens.cell_tokens`.

    Attributes
    ----------
    first
        Of each gene where it is the first of a cell, behind a line end; empty if it cannot be.
    between
        Of what leads to the second cell, the third, and so on.
    end
        Of what stands behind the last gene, before the end token; empty for nothing.
    """

    first: Sequence[Sequence[int]]
    between: Sequence[Sequence[int]]
    end: Sequence[int] = ()

    @property
    def n_cells(self) -> int:
        """Cells of an answer, at most."""
        return len(self.between) + 1


class CellTrie(GeneTrie):
    """Trie of the genes of several cells, each gene at most once a cell.

    What parts the cells are words too. They count as emitted but for the one that leads to the
    next cell, and the end: so nothing else can follow.

    Parameters
    ----------
    paths
        Tokens of each gene behind another gene; not empty, all different.
    cells
        The other tokens.
    eos_token_ids, device, no_repeats
        See `GeneTrie`.
    """

    def __init__(
        self,
        paths: Sequence[Sequence[int]],
        cells: CellTokens,
        eos_token_ids: Sequence[int],
        device: torch.device | str = "cpu",
        no_repeats: bool = True,
    ):
        ends = [cells.end] if len(cells.end) else []
        words = [*cells.between, *ends]
        more = [()] * len(words)
        super().__init__([*paths, *words], eos_token_ids, device, no_repeats, [*cells.first, *more])
        self.n_cells = cells.n_cells
        last = torch.stack([self._walk(path) for path in words]) if words else self._tensor([])
        ways = self.ways[last]
        self.is_gene[last] = False
        # Cell that begins at a node; 0 at all others.
        self.cell_at = torch.zeros(len(self.is_gene), dtype=torch.int64, device=device)
        self.cell_at[last[: len(cells.between)]] = self._tensor(range(2, self.n_cells + 1))
        self.is_stop[last[len(cells.between) :]] = True
        # Ways that are open in each cell: to the next one, and to the end.
        padding = torch.full((1, self.ways.shape[1]), len(self.is_gene), device=device)
        nowhere = [padding] * (not ends)
        following = torch.cat([ways[: len(cells.between)], padding])
        end = torch.cat([*nowhere, ways[len(cells.between) :]]).expand_as(following)
        self.open_ways = torch.cat([following, end], dim=1)
        ones = torch.ones_like(ways, dtype=self.below.dtype)
        self.below.scatter_add_(0, ways.reshape(-1), -ones.reshape(-1))
        self.below[-1] = 0
        self.ends_gene = self._ends_gene(words)
        self.gene_tokens = self.root_tokens[~self.ends_gene[self.root_tokens]]
        inside = torch.arange(int(self.n_children[self.second_root]), device=self.below.device)
        self.first_tokens = self.node_tokens[self.first[self.second_root] + inside]

    def start(self, n_rows: int) -> CellState:
        """State of rows whose prompts end where the first cell begins."""
        device = self.below.device
        cell = torch.ones(n_rows, dtype=torch.int64, device=device)
        cut = torch.zeros(n_rows, self.n_cells, dtype=torch.bool, device=device)
        own = super().start(n_rows)
        state = CellState(self, own.node, own.left, own.begun, own.n_genes, cell, cut)
        state.node.fill_(self.second_root)
        state.left.copy_(self._left(state.cell))
        return state

    def constrain(self, scores: torch.Tensor, state: TrieState) -> torch.Tensor:
        """See `GeneTrie.constrain`."""
        result = super().constrain(scores, state)
        scores = scores.clamp_min(torch.finfo(scores.dtype).min)
        at_first, tokens = (state.node == self.second_root)[:, None], self.first_tokens
        result[:, tokens] = torch.where(at_first, scores[:, tokens], result[:, tokens])
        return result

    def begins(self, state: TrieState, tokens: torch.Tensor) -> torch.Tensor:
        """See `GeneTrie.begins`; what parts cells is no gene."""
        _, inside = self._next(state, tokens)
        return ~inside & ~self.ends_gene[tokens] | self.is_root[state.node]

    def advance(
        self, state: TrieState, tokens: torch.Tensor, steps: torch.Tensor, active: torch.Tensor
    ) -> None:
        """See `GeneTrie.advance`; where a cell begins, all its genes are free."""
        assert isinstance(state, CellState)
        super().advance(state, tokens, steps, active)
        cell = self.cell_at[state.node]
        begins = (cell > 0) & active
        state.cell.copy_(torch.where(begins, cell, state.cell))
        state.node.masked_fill_(begins, self.second_root)
        state.n_genes.masked_fill_(begins, 0)
        state.left.copy_(torch.where(begins[:, None], self._left(state.cell), state.left))

    def _left(self, cell: torch.Tensor) -> torch.Tensor:
        """What is not emitted at the beginning of each row's cell."""
        left = self.below.repeat(len(cell), 1)
        ways = self.open_ways[cell - 1]
        left.scatter_add_(1, ways, torch.ones_like(ways, dtype=left.dtype))
        left[:, -1] = 0
        return left

    def _walk(self, path: Sequence[int]) -> torch.Tensor:
        """The node at the end of a path of the first trie."""
        node = self._tensor([0])
        for token in torch.searchsorted(self.tokens, self._tensor(path)):
            node, _ = self._child(node, token[None])
        return node[0]

    def _ends_gene(self, words: Sequence[Sequence[int]]) -> torch.Tensor:
        """bool (n_valid,): what may follow a gene and begins none."""
        ends = torch.zeros(self.n_valid, dtype=torch.bool, device=self.below.device)
        heads = self._tensor([path[0] for path in words])
        ends[torch.searchsorted(self.tokens, heads)] = True
        ends[self.eos] = True
        return ends


@dataclass
class CellState(TrieState):
    """The state of rows that are several cells.

    Attributes
    ----------
    cell
        int64 (n_rows,): the cell under way, from 1.
    cut
        bool (n_rows, n_cells): cells that the model would have continued beyond their most genes.
    """

    trie: CellTrie
    cell: torch.Tensor
    cut: torch.Tensor

    def without_more_genes(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of `CellTrie.constrain` without those of another gene: of rows behind one."""
        result = scores.clone()
        result[:, self.trie.gene_tokens] = -torch.inf
        return result

    def cut_here(self, rows: torch.Tensor) -> None:
        """Note, in place, that the cell under way is cut in these rows, bool (n_rows,)."""
        here = torch.zeros_like(self.cut).scatter_(1, self.cell[:, None] - 1, rows[:, None])
        self.cut.logical_or_(here)
