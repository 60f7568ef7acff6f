"""The loss of training examples: on their answers, and no logits but those it needs.

The loss of an answer is the mean over its tokens, its end included, of the negative natural
log-probability. Answers count alike, short or long, and so a step's loss, and a task's, is the mean
over answers: not over tokens. The validation loss is the mean of the tasks' losses, weighted by
the tasks' shares.

Examples of one length or nearly share a batch, padded on the right, where causal attention cannot
look; for attention that takes one long row they are packed (see `c2sflow.model.batching`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import TAKE_PACKED
from c2sflow.model.batching import Batch, PromptPool
from c2sflow.training.examples import Example

FULLNESS = 0.9  # of a padded batch: its shortest example to its longest
# Logits made at once: half a gigabyte with a vocabulary of 256,000, which their gradient needs five
# times.
HEAD_ROWS = 512


@dataclass(frozen=True)
class Targets:
    """The target tokens of a batch.

    Attributes
    ----------
    positions
        int64 (n_targets,): where, in the flattened batch, each target is to be predicted.
    tokens
        int64 (n_targets,): the targets.
    weights
        float32 (n_targets,): of a target's loss. The answer's tokens share 1, the genes of a
        prompt the prompt gene weight.
    answers
        bool (n_targets,): tokens of an answer.
    """

    positions: torch.Tensor
    tokens: torch.Tensor
    weights: torch.Tensor
    answers: torch.Tensor


def micro_batches(
    examples: Sequence[Example], max_tokens: int, attention: str, pad_token_id: int
) -> Iterator[Batch]:
    """The examples in batches of at most so many tokens, the longest first.

    Parameters
    ----------
    attention
        Implementation that the model runs: decides whether examples are packed, and whether memory
        grows with the square of their length.
    """
    pool = PromptPool(
        max_tokens,
        pad_token_id,
        packed=attention in TAKE_PACKED,
        multiple=max(1, max_tokens // 8) if attention == "flex_attention" else 1,
        quadratic=attention == "eager",
        fullness=FULLNESS,
    )
    for row, example in enumerate(examples):
        pool.add(row, example.input_ids)
    while pool:
        yield pool.take()


def batch_targets(
    batch: Batch, examples: Sequence[Example], prompt_gene_weight: float = 0.0
) -> Targets:
    """The target tokens of a batch of examples, and the weight of each."""
    places, tokens, weights, answers = [], [], [], []
    for row, start in zip(batch.rows, batch.starts.tolist(), strict=True):
        example = examples[row]
        spans = [(example.n_prompt, example.input_ids.size, 1.0)]
        if prompt_gene_weight and example.genes[1] > example.genes[0]:
            spans.append((*example.genes, prompt_gene_weight))
        for (first, end, weight), is_answer in zip(spans, (True, False), strict=False):
            places.append(np.arange(start + first - 1, start + end - 1))
            tokens.append(example.input_ids[first:end])
            weights.append(np.full(end - first, weight / (end - first), dtype=np.float32))
            answers.append(np.full(end - first, is_answer))
    parts = map(np.concatenate, (places, tokens, weights, answers))
    positions, wanted_tokens, shares, marks = (torch.from_numpy(part) for part in parts)
    return Targets(positions, wanted_tokens.long(), shares, marks)


@torch.no_grad()
def answer_losses(
    model: PreTrainedModel,
    examples: Sequence[Example],
    tasks: Sequence[str],
    *,
    max_tokens: int,
    attention: str,
    pad_token_id: int,
) -> torch.Tensor:
    """Sum of the losses of each task's answers, and how many there are; float64 (2, n_tasks).

    Parameters
    ----------
    max_tokens, attention, pad_token_id
        See `micro_batches`.
    """
    sums = torch.zeros(2, len(tasks), dtype=torch.float64)
    for batch in micro_batches(examples, max_tokens, attention, pad_token_id):
        targets = batch_targets(batch, examples)
        losses = token_losses(model, batch, targets).cpu() * targets.weights
        some = [examples[row] for row in batch.rows]
        sizes = [example.input_ids.size - example.n_prompt for example in some]
        for example, loss in zip(some, losses.split(sizes), strict=True):
            sums[0, tasks.index(example.task)] += float(loss.sum())
            sums[1, tasks.index(example.task)] += 1
    return sums


def token_losses(model: PreTrainedModel, batch: Batch, targets: Targets) -> torch.Tensor:
    """Cross-entropy of each target, float32 (n_targets,), natural logarithm.

    Parameters
    ----------
    model
        Causal language model (of a model with an adapter: the model that holds the layers). Only
        the hidden states of the targets go through its head.
    """
    device = model.device
    inputs = batch.inputs_on(device)
    hidden = model.get_decoder()(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)
    wanted, tokens = hidden[targets.positions.to(device)], targets.tokens.to(device)
    head = model.get_output_embeddings()
    cap = family_of(model.config.model_type).logit_cap(model.config)

    def losses(states: torch.Tensor, wanted_tokens: torch.Tensor) -> torch.Tensor:
        logits = head(states).float()
        if cap is not None:
            logits = cap * torch.tanh(logits / cap)
        return cross_entropy(logits, wanted_tokens, reduction="none")

    parts = zip(wanted.split(HEAD_ROWS), tokens.split(HEAD_ROWS), strict=True)
    if wanted.shape[0] <= HEAD_ROWS or not torch.is_grad_enabled():
        return torch.cat([losses(*part) for part in parts])
    # The logits of a part are made again on the way back: never are those of two parts held.
    return torch.cat([checkpoint(losses, *part, use_reentrant=False) for part in parts])
