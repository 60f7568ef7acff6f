"""Training examples: a control cell and a perturbation to a perturbed cell of the same type."""

from __future__ import annotations

import anndata as ad
import numpy as np
from demo_model.tasks import PROMPT_GENE_WEIGHT, TYPE_WEIGHT, Example
from transformers import PreTrainedTokenizerFast

from c2sflow.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT, fill
from c2sflow.sentences import gene_hashes, gene_words, rank_genes

CONTROL = "control"
TASKS = {"type": 0.25, "perturb": 0.75}
# Copying the control, but for a gene, teaches the model to look at it.
NO_CHANGE, DELETION = 0.05, 0.15
MOST_GENES = 200


class PerturbationStream:
    """Endless random examples from the cells whose split is "train".

    The cells are unpaired: the answer to a control cell is a perturbed cell of its type, drawn
    anew each time.
    """

    def __init__(self, cells: ad.AnnData, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.cells = cells[cells.obs["split"] == "train"].copy()
        self.words = gene_words(cells.var_names)
        self.hashes = gene_hashes(self.words)
        self.tokenizer = tokenizer
        self.gene_ids = set(tokenizer.convert_tokens_to_ids([f" {word}" for word in self.words]))
        self.types = sorted(set(self.cells.obs["cell_type"]))
        labels = self.cells.obs["perturbation"].to_numpy(dtype=str)
        kinds = self.cells.obs["cell_type"].to_numpy(dtype=str)
        self.controls = np.flatnonzero(labels == CONTROL)
        self.names = sorted(set(labels) - {CONTROL})
        self.members = {
            (name, kind): np.flatnonzero((labels == name) & (kinds == kind))
            for name in self.names
            for kind in self.types
        }
        self.kinds = kinds
        self.rng = np.random.default_rng(seed)

    def example(self) -> Example:
        """One example of a task drawn by `TASKS`."""
        if self.rng.random() < TASKS["type"]:
            cell = self.rng.integers(len(self.kinds))
            kind = self.kinds[cell]
            number = self.types.index(kind)
            return self._encode(EMBEDDING_PROMPT, self._sentence(cell), kind, TYPE_WEIGHT, number)
        control = self.rng.choice(self.controls)
        genes = self._sentence(control)
        name, answer = self._answer(control, genes)
        return self._encode(PERTURBATION_PROMPT, genes, " ".join(answer), perturbation=name)

    def _answer(self, control: int, genes: list[str]) -> tuple[str, list[str]]:
        kind = self.rng.random()
        if kind < NO_CHANGE:
            return "no change", genes
        if kind < NO_CHANGE + DELETION:
            gene = str(self.rng.choice(genes))
            return f"deletion of {gene}", [word for word in genes if word != gene]
        name = str(self.rng.choice(self.names))
        members = self.members[name, self.kinds[control]]
        if not members.size:  # no cell of this type has that perturbation
            return self._answer(control, genes)
        return name, self._sentence(self.rng.choice(members))

    def _sentence(self, cell: int) -> list[str]:
        """The first genes of a cell, a few of them dropped, ties in random order."""
        row = self.cells.X[cell]
        kept = self.rng.random(row.nnz) >= self.rng.uniform(0, 0.2)
        kept[:1] = True
        genes, values = row.indices[kept], row.data[kept].astype(np.float32)
        cell_hash = int(self.rng.integers(2**63))
        return self.words[
            genes[rank_genes(values, genes, self.hashes, cell_hash, MOST_GENES)]
        ].tolist()

    def _encode(
        self, template: str, genes: list[str], answer: str, weight: float = 1.0,
        type_index: int = -1, **fields: str,
    ) -> Example:  # fmt: skip
        record = {"n_genes": len(genes), "cell_sentence": " ".join(genes), "organism": "human"}
        prompt = self.tokenizer(fill(template, {**record, **fields})).input_ids
        reply = self.tokenizer(f" {answer}", add_special_tokens=False).input_ids
        reply.append(self.tokenizer.eos_token_id)
        weights = [PROMPT_GENE_WEIGHT if token in self.gene_ids else 0.0 for token in prompt]
        return Example(prompt + reply, weights + [weight] * len(reply), len(prompt), type_index)
