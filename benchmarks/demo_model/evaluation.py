"""What the demo model can do on cells that it has not seen, beside trivial baselines."""

from __future__ import annotations

from collections.abc import Sequence

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

from c2sflow.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT, fill
from demo_model.cells import Cells
from demo_model.tasks import ANSWER_GENES, ORGANISM

BATCH = 16


def filled(template: str, sentences: Sequence[str], **fields: Sequence[str]) -> list[str]:
    """One prompt for each sentence; `fields` give further columns."""
    columns = [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
    return [
        fill(
            template,
            {"n_genes": len(s.split()), "cell_sentence": s, "organism": ORGANISM, **column},
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
        hidden = model.model(**tokens, use_cache=False).last_hidden_state.float()
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
    features: np.ndarray, labels: np.ndarray, train: np.ndarray, heldout: np.ndarray
) -> tuple[float, float]:
    """Accuracy and balanced accuracy of 5 nearest neighbours among the training cells."""
    said = KNeighborsClassifier(5).fit(features[train], labels[train]).predict(features[heldout])
    return (said == labels[heldout]).mean(), balanced_accuracy_score(labels[heldout], said)


def type_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    sentences: Sequence[str],
    labels: np.ndarray,
) -> tuple[float, float]:
    """Accuracy and balanced accuracy of the cell type that greedy decoding says."""
    said, _ = answer(model, tokenizer, filled(EMBEDDING_PROMPT, sentences), max_new_tokens=12)
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


def conversion_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    cells: Cells,
    train: np.ndarray,
    heldout: np.ndarray,
    seed: int,
    no_repeat: bool,
) -> dict[str, float]:
    """Convert each held-out cell to another cell type; judge by a classifier of real cells."""
    rng = np.random.default_rng(seed)
    sentences = np.array(cells.sentences(seed), dtype=object)
    targets = np.array([rng.choice([t for t in cells.types if t != own])
                        for own in cells.labels[heldout]], dtype=object)
    conditions = [f"conversion to {target}" for target in targets]
    prompts = filled(PERTURBATION_PROMPT, sentences[heldout], perturbation=conditions)
    texts, ended = answer(model, tokenizer, prompts, 200, no_repeat)
    judge = LogisticRegression(C=1.0, max_iter=2000)
    judge.fit(rank_vectors(sentences[train], cells.words), cells.labels[train])
    said = [text.split() for text in texts]
    valid = set(cells.words)
    n_words = sum(map(len, said))
    return {
        "label right": (judge.predict(rank_vectors(texts, cells.words)) == targets).mean(),
        "label right, real cells": judge.score(
            rank_vectors(sentences[heldout], cells.words), cells.labels[heldout]
        ),
        "valid words": sum(word in valid for words in said for word in words) / n_words,
        "repeated words": 1 - sum(len(set(words)) for words in said) / n_words,
        "ended": ended.mean(),
        "words": n_words / len(said),
    }


def baselines(cells: Cells, train: np.ndarray, heldout: np.ndarray) -> dict[str, tuple]:
    """Accuracy and balanced accuracy of methods that need no language model."""
    values, labels = cells.values.toarray(), cells.labels
    components = PCA(50, random_state=0).fit(values[train]).transform(values)
    logistic = LogisticRegression(C=0.1, max_iter=2000).fit(values[train], labels[train])
    said = logistic.predict(values[heldout])
    names, sizes = np.unique(labels[train], return_counts=True)
    return {
        "pca": neighbour_scores(components, labels, train, heldout),
        "logistic": (
            (said == labels[heldout]).mean(), balanced_accuracy_score(labels[heldout], said)
        ),
        "majority": ((labels[heldout] == names[sizes.argmax()]).mean(), 1 / len(names)),
    }
