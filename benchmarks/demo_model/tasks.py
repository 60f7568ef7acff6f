"""Training examples: the pipeline's own prompts, filled with augmented demo cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from c2sflow.prompts import EMBEDDING_PROMPT, GENERATION_PROMPT, PERTURBATION_PROMPT, fill
from c2sflow.sentences import rank_cells
from demo_model.cells import Cells

ORGANISM = "human"
ANSWER_GENES = 100
TASKS = {"type": 0.40, "generate": 0.25, "perturb": 0.35}
# Deletion practises copying the control; neither is learned well enough to be claimed.
CONDITIONS = {"conversion": 0.60, "no change": 0.15, "deletion": 0.25}
TYPE_WEIGHT = 8.0  # loss on the words of a cell type
PROMPT_GENE_WEIGHT = 0.2  # loss on the genes of a prompt: next-gene modelling


@dataclass(frozen=True)
class Example:
    """Token ids, the loss weight of each, and for the type task the cell's type (else -1).

    The first `n_prompt` tokens are exactly `tokenizer(prompt)`.
    """

    ids: list[int]
    weights: list[float]
    n_prompt: int
    cell_type: int


class ExampleStream:
    """Endless random training examples from the cells in `train`."""

    def __init__(
        self, cells: Cells, train: np.ndarray, tokenizer: PreTrainedTokenizerFast, seed: int
    ):
        self.tokenizer = tokenizer
        self.words, self.hashes, self.types = cells.words, cells.hashes, cells.types
        self.counts = cells.counts
        self.members = [train[cells.labels[train] == name] for name in self.types]
        share = np.sqrt([len(members) for members in self.members])
        self.type_share = share / share.sum()
        self.gene_ids = set(tokenizer.convert_tokens_to_ids([f" {word}" for word in self.words]))
        self.rng = np.random.default_rng(seed)

    def example(self) -> Example:
        """One example of a task drawn by `TASKS`."""
        task = self.rng.choice(list(TASKS), p=list(TASKS.values()))
        cell_type = int(self.rng.choice(len(self.types), p=self.type_share))
        name = self.types[cell_type]
        if task == "type":
            genes = self._truncated(self._sentence(cell_type))
            return self._encode(EMBEDDING_PROMPT, genes, name, TYPE_WEIGHT, type_index=cell_type)
        if task == "generate":
            genes = self._sentence(cell_type)[:ANSWER_GENES]
            return self._encode(GENERATION_PROMPT, genes, " ".join(genes), 1.0, cell_type=name)
        condition = self.rng.choice(list(CONDITIONS), p=list(CONDITIONS.values()))
        control = self._truncated(self._sentence(cell_type))
        answer = control[:ANSWER_GENES]
        if condition == "conversion":
            target = int(self.rng.choice(len(self.types), p=self.type_share))
            condition = f"conversion to {self.types[target]}"
            answer = self._sentence(target)[:ANSWER_GENES]
        elif condition == "deletion":
            gene = str(self.rng.choice(answer))
            condition = f"deletion of {gene}"
            answer = [word for word in control if word != gene][:ANSWER_GENES]
        return self._encode(
            PERTURBATION_PROMPT, control, " ".join(answer), 1.0, perturbation=condition
        )

    def _encode(
        self,
        template: str,
        genes: list[str],
        answer: str,
        weight: float,
        type_index: int = -1,
        **fields: str,
    ) -> Example:
        """Fill the prompt, append the answer (after a space) and eos, weigh the tokens."""
        record = {"n_genes": len(genes), "cell_sentence": " ".join(genes), "organism": ORGANISM}
        prompt = self.tokenizer(fill(template, {**record, **fields})).input_ids
        reply = self.tokenizer(f" {answer}", add_special_tokens=False).input_ids
        reply.append(self.tokenizer.eos_token_id)
        weights = [PROMPT_GENE_WEIGHT if token in self.gene_ids else 0.0 for token in prompt]
        return Example(prompt + reply, weights + [weight] * len(reply), len(prompt), type_index)

    def _sentence(self, cell_type: int) -> list[str]:
        """The sentence of an augmented random cell of a type, ties in random order."""
        counts = self._augmented(self.members[cell_type])
        genes = np.flatnonzero(counts)
        genes = genes[self.rng.random(genes.size) >= self.rng.uniform(0, 0.2)]  # gene drop-out
        cell_hash = int(self.rng.integers(2**63))
        values, pointers = counts[genes].astype(np.float32), np.array([0, genes.size])
        order, _ = rank_cells(values, genes, pointers, self.hashes, [cell_hash])
        return self.words[genes[order]].tolist()

    def _augmented(self, members: np.ndarray) -> np.ndarray:
        """Counts of a random member: as they are, mixed with another's, or thinned."""
        rng = self.rng
        counts = self.counts[rng.choice(members)]
        if rng.random() < 0.5:
            other = self.counts[rng.choice(members)]
            share = rng.uniform(0, 0.5)
            mixture = (1 - share) * counts / counts.sum() + share * other / other.sum()
            counts = rng.multinomial(counts.sum(), mixture / mixture.sum())
        if rng.random() < 0.5:
            counts = rng.binomial(counts, rng.uniform(0.5, 1))
        return counts

    def _truncated(self, genes: list[str]) -> list[str]:
        """Half of the time the first 40 or more genes only."""
        if self.rng.random() < 0.5:
            return genes[: self.rng.integers(40, len(genes) + 1)]
        return genes
