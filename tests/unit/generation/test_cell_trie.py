"""The trie of several cells: what may follow, beside a slow reference that tries every word."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.generation.cell_trie import CellTokens, CellTrie

EOS, STOP, LINE, CELL = 0, 20, 21, 22
END = (STOP, LINE, STOP)
# Genes of tokens 1 to 3, and 11 to 13 where they are the first of a cell; some hold a full stop.
GENES = st.lists(
    st.tuples(st.integers(1, 3), st.lists(st.sampled_from([4, 5, STOP]), max_size=3).map(tuple)),
    min_size=1, max_size=12, unique=True,
)  # fmt: skip


class Slow:
    """An answer so far."""

    def __init__(self, genes, firsts, n_cells, no_repeats, has_end):
        self.follow = {gene: (gene[0], *gene[1]) for gene in genes}
        self.first = {gene: (10 + gene[0], *gene[1]) for gene in firsts}
        self.n_cells, self.no_repeats, self.has_end = n_cells, no_repeats, has_end
        self.cell, self.under, self.parting = 1, (), None
        self.table, self.emitted = self.first, set()

    def words(self):
        """What may part this cell from what comes."""
        between = [(STOP, LINE, CELL, 30 + self.cell, LINE)] * (self.cell < self.n_cells)
        return between + [END] * self.has_end

    def free(self):
        return {g: p for g, p in self.table.items() if not (self.no_repeats and g in self.emitted)}

    def longer(self):
        n = len(self.under)
        free = self.free().values()
        return {path[n] for path in free if path[:n] == self.under and len(path) > n}

    def whole(self):
        return next((gene for gene, path in self.free().items() if path == self.under), None)

    def allowed(self):
        if self.parting is not None:
            n = len(self.parting)
            open_ = [word for word in self.words() if word[:n] == self.parting]
            return {word[n] for word in open_ if len(word) > n} or {EOS}
        found = self.longer()
        if self.under and (gene := self.whole()):
            gone = self.emitted | {gene} if self.no_repeats else set()
            found |= {path[0] for g, path in self.follow.items() if g not in gone}
            found |= {word[0] for word in self.words()} | {EOS}
        return found

    def add(self, token):
        if self.parting is not None:
            self.parting = (*self.parting, token)
            if self.parting[2:3] == (CELL,) and len(self.parting) == 5:
                self.cell, self.under, self.parting = self.cell + 1, (), None
                self.table, self.emitted = self.first, set()
        elif token in self.longer():
            self.under = (*self.under, token)
        else:
            self.emitted.add(self.whole())
            self.table, self.under = self.follow, (token,)
            self.parting = (token,) if token == STOP else None


@given(
    genes=GENES,
    seed=st.integers(0, 10_000),
    n_cells=st.integers(1, 3),
    no_repeats=st.booleans(),
    has_end=st.booleans(),
)
def test_allows_exactly_what_leads_to_genes_and_cells(genes, seed, n_cells, no_repeats, has_end):
    rng = np.random.default_rng(seed)
    firsts = [gene for gene in genes if rng.random() < 0.7] or genes[:1]
    slow = [Slow(genes, firsts, n_cells, no_repeats, has_end) for _ in range(3)]
    tokens = CellTokens(
        [slow[0].first.get(gene, ()) for gene in genes],
        [(STOP, LINE, CELL, 30 + n, LINE) for n in range(1, n_cells)],
        END if has_end else (),
    )
    trie = CellTrie(list(slow[0].follow.values()), tokens, [EOS], no_repeats=no_repeats)
    state = trie.start(3)
    for step in range(30):
        scores = torch.from_numpy(rng.normal(size=(len(slow), trie.n_valid)).astype(np.float32))
        scores[:, trie.eos] -= 3  # else most answers would end soon
        constrained = trie.constrain(scores, state)
        for row, expected in enumerate(slow):
            assert state.cell[row] == expected.cell
            found = trie.tokens[torch.isfinite(constrained[row])].tolist()
            assert set(found) == expected.allowed()
        kept = torch.isfinite(constrained)
        assert torch.equal(constrained[kept], scores[kept])
        chosen = constrained.argmax(dim=1)
        emitted = trie.tokens[chosen].tolist()
        trie.advance(state, chosen, torch.full_like(chosen, step), trie.tokens[chosen] != EOS)
        alive = [row for row, token in enumerate(emitted) if token != EOS]
        state = state.select(torch.tensor(alive, dtype=torch.int64))
        for row in alive:
            slow[row].add(emitted[row])
        slow = [slow[row] for row in alive]
        if not slow:
            break
