"""What the demo model can do on cells that it has not seen, beside trivial baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from c2sflow.sentences.prompts import ANNOTATION_PROMPT, PERTURBATION_PROMPT, fill
from demo_model.cells import Cells

ANSWER_GENES = 100  # of the model's training
BATCH = 16


def filled(template: str, sentences: Sequence[str], **fields: Sequence[str]) -> list[str]:
    """One prompt for each sentence; `fields` give further columns."""
    columns = [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
    return [
        fill(
            template,
            {"n_genes": len(s.split()), "cell_sentence": s, "organism": "human", **column},
        )
        for s, column in zip(sentences, columns or [{}] * len(sentences), strict=True)
    ]


def _batches(prompts: Sequence[str]) -> list[np.ndarray]:
    order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    return np.array_split(order, -(-len(prompts) // BATCH))


@torch.inference_mode()
def embed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]
) -> np.ndarray:
    """Float32 mean of the last layer (after the final norm) over each prompt's tokens."""
    embeddings = np.empty((len(prompts), model.config.hidden_size), dtype=np.float32)
    for rows in _batches(prompts):
        tokens = tokenizer([prompts[i] for i in rows], padding=True, return_tensors="pt")
        hidden = model.get_decoder()(**tokens, use_cache=False).last_hidden_state.float()
        mask = tokens.attention_mask[..., None]
        embeddings[rows] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    return embeddings


class NoRepeat(LogitsProcessor):
    """Forbid every token that the answer (not the prompt) already has."""

    def __init__(self, n_prompt: int):
        self.n_prompt = n_prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the scores of said tokens to minus infinity."""
        return scores.scatter(1, input_ids[:, self.n_prompt :], -torch.inf)


@torch.inference_mode()
def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    max_new_tokens: int,
    no_repeat: bool = False,
) -> tuple[list[str], np.ndarray]:
    """Greedy answers, and whether each came to its end."""
    texts, ended = [""] * len(prompts), np.zeros(len(prompts), dtype=bool)
    for rows in _batches(prompts):
        tokens = tokenizer([prompts[i] for i in rows], padding=True, return_tensors="pt")
        n_prompt = tokens.input_ids.shape[1]
        rules = LogitsProcessorList([NoRepeat(n_prompt)] if no_repeat else [])
        ids = model.generate(
            **tokens, max_new_tokens=max_new_tokens, do_sample=False, logits_processor=rules
        )[:, n_prompt:]
        for row, reply in zip(rows, ids, strict=True):
            texts[row] = tokenizer.decode(reply, skip_special_tokens=True)
            ended[row] = tokenizer.eos_token_id in reply
    return texts, ended


def neighbour_scores(
    features: np.ndarray, labels: np.ndarray, heldout: np.ndarray
) -> tuple[float, float]:
    """Accuracy and balanced accuracy of 5 nearest neighbours among the training cells."""
    said = (
        KNeighborsClassifier(5).fit(features[~heldout], labels[~heldout]).predict(features[heldout])
    )
    return (said == labels[heldout]).mean(), balanced_accuracy_score(labels[heldout], said)


def type_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    sentences: Sequence[str],
    labels: np.ndarray,
) -> tuple[float, float]:
    """Accuracy and balanced accuracy of the cell type that greedy decoding says."""
    said, _ = answer(model, tokenizer, filled(ANNOTATION_PROMPT, sentences), max_new_tokens=12)
    said = np.array([text.strip() for text in said], dtype=object)
    recalls = [(said[labels == name] == name).mean() for name in np.unique(labels)]
    return (said == labels).mean(), float(np.mean(recalls))


def rank_vectors(sentences: Sequence[str], words: np.ndarray) -> np.ndarray:
    """(n, n_vars): 1 for the first gene of a sentence, falling to 0 at `ANSWER_GENES`."""
    position = {word: i for i, word in enumerate(words)}
    vectors = np.zeros((len(sentences), len(words)), dtype=np.float32)
    for row, sentence in zip(vectors, sentences, strict=True):
        for rank, word in enumerate(sentence.split()[:ANSWER_GENES]):
            if word in position:
                row[position[word]] = max(row[position[word]], 1 - rank / ANSWER_GENES)
    return vectors


@dataclass(frozen=True)
class Predictor:
    """Perturbs the held-out cells, always from the same sentences (of one tie seed)."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    cells: Cells
    seed: int

    @cached_property
    def sentences(self) -> np.ndarray:
        """All cells' sentences."""
        return np.array(self.cells.sentences(self.seed), dtype=object)

    def predict(
        self, conditions: Sequence[str], no_repeat: bool = True
    ) -> tuple[list[str], np.ndarray]:
        """The answer for each held-out cell under its condition, and whether it ended."""
        controls = self.sentences[self.cells.heldout]
        prompts = filled(PERTURBATION_PROMPT, controls, perturbation=conditions)
        return answer(self.model, self.tokenizer, prompts, 200, no_repeat)

    def conversion(self, no_repeat: bool) -> dict[str, float]:
        """Convert each cell to another type; a classifier of real cells judges the answer."""
        cells, heldout = self.cells, self.cells.heldout
        rng = np.random.default_rng(self.seed)
        targets = np.array(
            [rng.choice([t for t in cells.types if t != own]) for own in cells.labels[heldout]],
            dtype=object,
        )
        texts, ended = self.predict([f"conversion to {target}" for target in targets], no_repeat)
        ranks = rank_vectors(self.sentences, cells.words)
        judge = LogisticRegression(max_iter=2000).fit(ranks[~heldout], cells.labels[~heldout])
        said = [text.split() for text in texts]
        n_words = sum(map(len, said))
        own, other = self._overlaps(texts)
        return {
            "label right": (judge.predict(rank_vectors(texts, cells.words)) == targets).mean(),
            "label right, real cells": judge.score(ranks[heldout], cells.labels[heldout]),
            "valid words": sum(np.isin(words, cells.words).sum() for words in said) / n_words,
            "repeated words": 1 - sum(len(set(words)) for words in said) / n_words,
            "ended": ended.mean(),
            "words": n_words / len(said),
            "overlap with own control": own,
            "overlap with another control": other,
        }

    def _overlaps(self, texts: Sequence[str]) -> tuple[float, float]:
        """Share of genes in common with the own control, and with the type's next control."""
        labels = self.cells.labels[self.cells.heldout]
        controls = [set(s.split()[:ANSWER_GENES]) for s in self.sentences[self.cells.heldout]]
        own, other = [], []
        for name in np.unique(labels):
            rows = np.flatnonzero(labels == name)
            for row, neighbour in zip(rows, np.roll(rows, 1), strict=True):
                genes = set(texts[row].split()[:ANSWER_GENES])
                own.append(len(genes & controls[row]) / ANSWER_GENES)
                other.append(len(genes & controls[neighbour]) / ANSWER_GENES)
        return float(np.mean(own)), float(np.mean(other))


def baselines(cells: Cells) -> dict[str, tuple[float, float]]:
    """Accuracy and balanced accuracy of methods that need no language model."""
    values, labels, heldout = cells.values.toarray(), cells.labels, cells.heldout
    components = PCA(50, random_state=0).fit(values[~heldout]).transform(values)
    logistic = LogisticRegression(C=0.1, max_iter=2000).fit(values[~heldout], labels[~heldout])
    said = logistic.predict(values[heldout])
    names, sizes = np.unique(labels[~heldout], return_counts=True)
    return {
        "pca": neighbour_scores(components, labels, heldout),
        "logistic": (
            (said == labels[heldout]).mean(),
            balanced_accuracy_score(labels[heldout], said),
        ),
        "majority": ((labels[heldout] == names[sizes.argmax()]).mean(), 1 / len(names)),
    }
