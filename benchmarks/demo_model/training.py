"""The model and its training loop."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import Gemma2ForCausalLM

from c2sflow.optimizers import RATES, muon_and_adamw, rate_share
from demo_model.tasks import Example, ExampleStream

LOG = logging.getLogger(__name__)

WARM_UP = 50
RATE = RATES["scratch"]
EMA_DECAY = 0.99
POOLED_WEIGHT = 0.3  # loss of the type classifier on the mean-pooled last layer
MICRO_BATCH = 8


@dataclass(frozen=True)
class Recipe:
    """What a run of the training depends on, besides the cells."""

    steps: int = 2000
    batch_size: int = 16
    pooled_weight: float = POOLED_WEIGHT
    seed: int = 0


class Trainee(torch.nn.Module):
    """The model, with a linear type classifier on its mean-pooled last layer.

    The classifier serves the training alone (it makes the pooled embedding tell types apart) and
    is thrown away with it.
    """

    def __init__(self, model: Gemma2ForCausalLM, n_types: int):
        super().__init__()
        self.model = model
        self.classifier = torch.nn.Linear(model.config.hidden_size, n_types)

    def losses(self, batch: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over the batch: of the weighted next-token loss, and of the classifier's."""
        length = max(len(example.ids) for example in batch)
        shape = (len(batch), length)
        ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        weights, prompt = torch.zeros(shape), torch.zeros(shape)
        for row, example in enumerate(batch):  # padded on the right: causal, so nothing sees it
            n = len(example.ids)
            ids[row, :n] = torch.tensor(example.ids)
            weights[row, :n] = torch.tensor(example.weights)
            mask[row, :n] = 1
            prompt[row, : example.n_prompt] = 1
        hidden = self.model.model(ids, attention_mask=mask, use_cache=False).last_hidden_state
        counted = weights[:, 1:] > 0
        cap = self.model.config.final_logit_softcapping
        logits = cap * torch.tanh(self.model.lm_head(hidden[:, :-1][counted]) / cap)
        token_loss = cross_entropy(logits, ids[:, 1:][counted], reduction="none")
        types = torch.tensor([example.cell_type for example in batch])
        pooled = (hidden * prompt[..., None]).sum(1) / prompt.sum(1, keepdim=True)
        class_loss = cross_entropy(
            self.classifier(pooled), types, ignore_index=-1, reduction="sum", label_smoothing=0.1
        )
        return (token_loss * weights[:, 1:][counted]).sum(), class_loss


def _optimizers(trainee: Trainee) -> list[torch.optim.Optimizer]:
    """The library's; AdamW has the classifier too."""
    return muon_and_adamw(trainee, trainee.model.model.layers, RATE)


def train(model: Gemma2ForCausalLM, stream: ExampleStream, recipe: Recipe) -> dict[str, float]:
    """Train `model` in place; it ends with the moving average of its weights.

    Returns
    -------
    Tokens seen and seconds taken.
    """
    trainee = Trainee(model.train(), len(stream.types))
    average = AveragedModel(trainee, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    optimizers = _optimizers(trainee)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    started, tokens = time.perf_counter(), 0
    for step in range(recipe.steps):
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * rate_share(step, recipe.steps, WARM_UP)
        examples = [stream.example() for _ in range(recipe.batch_size)]
        losses = _backward(trainee, examples, recipe.pooled_weight)
        torch.nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        average.update_parameters(trainee)
        tokens += sum(len(example.ids) for example in examples)
        if (step + 1) % 50 == 0:
            seconds = time.perf_counter() - started
            LOG.info(
                "step %d/%d  loss %.3f  pooled loss %.3f  %.0f tokens/s  %.0f s",
                *(step + 1, recipe.steps, *losses, tokens / seconds, seconds),
            )
    model.load_state_dict(average.module.model.state_dict())
    model.eval()
    return {"tokens": tokens, "seconds": round(time.perf_counter() - started)}


def _backward(trainee: Trainee, examples: list[Example], pooled_weight: float) -> list[float]:
    """Gradients of a batch, in micro-batches of like length; the two mean losses."""
    examples = sorted(examples, key=lambda example: len(example.ids))
    total = sum(sum(example.weights[1:]) for example in examples)
    typed = max(1, sum(example.cell_type >= 0 for example in examples))
    shown = torch.zeros(2)
    for start in range(0, len(examples), MICRO_BATCH):
        token_loss, class_loss = trainee.losses(examples[start : start + MICRO_BATCH])
        parts = torch.stack([token_loss / total, class_loss / typed])
        (parts[0] + pooled_weight * parts[1]).backward()
        shown += parts.detach()
    return shown.tolist()
