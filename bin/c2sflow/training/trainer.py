"""The training loop: steps, validation, early stopping, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from c2sflow.common.errors import UserError
from c2sflow.common.progress import RECORDER
from c2sflow.common.threads import in_threads
from c2sflow.model.batching import Batch
from c2sflow.model.memory import MemoryWatch, halved
from c2sflow.training.checkpoints import (
    Checkpoints,
    TrainingState,
    optimizer_tensors,
    restore_optimizers,
)
from c2sflow.training.distributed import Team
from c2sflow.training.examples import Example, ExampleMaker
from c2sflow.training.loss import answer_losses, batch_targets, micro_batches, token_losses
from c2sflow.training.optimizers import rate_share
from c2sflow.training.tasks import Draw, Epochs
from c2sflow.training.trainee import Trainee

LOGGER = logging.getLogger(__name__)

LARGEST_GRADIENT = 1.0  # norm to which longer ones are shortened
ROWS = 200  # of the loss curve, about


@dataclass(frozen=True)
class Recipe:
    """What a training's result depends on, besides model, cells and tasks.

    Attributes
    ----------
    steps
        Of the optimizer.
    examples_per_step
        Together they have about the tokens that were asked for.
    rate
        Learning rate.
    warm_up
        Steps in which it rises.
    evaluate_every, checkpoint_every
        Steps between validations, and between checkpoints.
    patience
        Validations without a lower loss before training ends; 0 trains to the end.
    prompt_gene_weight
        See `c2sflow.training.loss.batch_targets`.
    """

    steps: int
    examples_per_step: int
    rate: float
    warm_up: int
    evaluate_every: int
    checkpoint_every: int
    patience: int = 3
    prompt_gene_weight: float = 0.0
    seed: int = 42


@dataclass(frozen=True)
class Validation:
    """What the loss is validated on.

    Attributes
    ----------
    examples
        Of all processes: each looks at its share.
    shares
        Weight of each task in the loss that counts.
    """

    examples: Sequence[Example]
    shares: Mapping[str, float]

    def mean(self, losses: Mapping[str, float]) -> float:
        """The loss that counts, of that of each task."""
        return sum(share * losses[task] for task, share in self.shares.items())


@dataclass
class Progress:
    """The state of a training, as far as JSON can hold it.

    Attributes
    ----------
    since
        Sum of the answers' losses and number of examples since the last row.
    worse
        Validations since the best one.
    stopped
        "" while it trains; then "steps" or "patience".
    rows
        Of the loss curve: see `Trainer._row`.
    """

    step: int = 0
    tokens: int = 0
    slots: int = 0
    seconds: float = 0.0
    since: tuple[float, int] = (0.0, 0)
    best_step: int = 0
    best_loss: float = math.inf
    worse: int = 0
    stopped: str = ""
    rows: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Trains a model.

    Parameters
    ----------
    epochs, maker
        Endless examples, and what writes them out.
    validation
        None where no cell is there for it: the model is as the last step left it.
    max_tokens
        Tokens through the model at once; halved when memory runs out.
    checkpoints
        None keeps none.
    """

    def __init__(
        self,
        trainee: Trainee,
        epochs: Epochs,
        maker: ExampleMaker,
        validation: Validation | None,
        recipe: Recipe,
        *,
        max_tokens: int,
        team: Team | None = None,
        checkpoints: Checkpoints | None = None,
    ):
        self.trainee, self.model = trainee, trainee.model
        self.epochs, self.maker, self.validation = epochs, maker, validation
        self.recipe, self.max_tokens = recipe, max_tokens
        self.team, self.checkpoints = team or Team("cpu"), checkpoints
        self.parameters = dict(trainee.trained())
        self.optimizers = trainee.optimizers(recipe.rate)
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.progress = Progress()
        self.best: dict[str, torch.Tensor] = {}
        self.resumed_from = 0

    def run(self) -> Progress:
        """Train to the end, from the last checkpoint if any; leaves the model with its weights.

        These are the weights of the least validation loss.

        Raises
        ------
        UserError
            If the loss is no number, or a single example does not fit into memory.
        """
        self._resume()
        progress, recipe = self.progress, self.recipe
        if progress.stopped:
            self.model.eval()
            return progress
        if not progress.rows:
            self._look()
        started = time.perf_counter() - progress.seconds
        for examples in self._examples(range(progress.step, recipe.steps)):
            self._step(examples)
            progress.seconds = time.perf_counter() - started
            RECORDER.write(progress.step, recipe.steps, "step", progress.seconds)
            evaluated = progress.step % recipe.evaluate_every == 0 or progress.step == recipe.steps
            if evaluated or progress.step % max(1, recipe.steps // ROWS) == 0:
                self._look(evaluated)
            if recipe.patience and progress.worse >= recipe.patience:
                progress.stopped = "patience"
                break
            if progress.step % recipe.checkpoint_every == 0 and progress.step < recipe.steps:
                self._keep()
        progress.stopped = progress.stopped or "steps"
        self._finish()
        return progress

    def _examples(self, steps: range) -> Iterable[Sequence[Example]]:
        """This process' examples of each step, tokenised while the model works on those before."""

        def make(step: int) -> Sequence[Example]:
            size = self.recipe.examples_per_step
            draws: list[Draw] = [self.epochs[step * size + place] for place in range(size)]
            return self.maker(self.team.share(draws))

        return in_threads(make, steps, n_threads=1)

    def _step(self, examples: Sequence[Example]) -> None:
        progress = self.progress
        torch.manual_seed(self.recipe.seed + progress.step)  # of dropout, where a model has it
        self.model.train()
        figures = self._gradients(examples)
        gradients = (p.grad for p in self.parameters.values())  # `_gradients` gives each one
        self.team.add_up([figures, *(one for one in gradients if one is not None)])
        loss, n_tokens, n_slots = figures.tolist()
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {progress.step + 1}; use a lower --learning_rate"
            )
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), LARGEST_GRADIENT)
        share = rate_share(progress.step, self.recipe.steps, self.recipe.warm_up)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = share * rate
            optimizer.step()
        progress.step += 1
        progress.tokens += int(n_tokens)
        progress.slots += int(n_slots)
        total, count = progress.since
        progress.since = total + loss, count + self.recipe.examples_per_step

    def _gradients(self, examples: Sequence[Example]) -> torch.Tensor:
        """Gradients of the mean loss of a step; sum of the answers' losses, tokens, with padding.

        Out of memory, the examples go through again in batches of half as many tokens.
        """
        while True:
            for parameter in self.parameters.values():
                parameter.grad = torch.zeros_like(parameter)
            with MemoryWatch():
                return self._accumulate(examples)
            longest = max(example.input_ids.size for example in examples)
            self.max_tokens = halved(
                self.max_tokens, longest, self.model.device, alone=self.max_tokens <= longest,
                what="an example", option="--finetune_method qlora",
            )  # fmt: skip

    def _accumulate(self, examples: Sequence[Example]) -> torch.Tensor:
        figures = torch.zeros(3, dtype=torch.float64)
        for batch in self._batches(examples):
            targets = batch_targets(batch, examples, self.recipe.prompt_gene_weight)
            with self.trainee.autocast():
                losses = token_losses(self.model, batch, targets)
            weighted = losses * targets.weights.to(losses.device)
            (weighted.sum() / self.recipe.examples_per_step).backward()
            answers = float(weighted.detach().cpu()[targets.answers].sum())
            figures += torch.tensor([answers, batch.n_tokens, batch.n_slots], dtype=torch.float64)
        return figures.to(self.model.device, torch.float32)

    def _batches(self, examples: Sequence[Example]) -> Iterable[Batch]:
        pad = self.trainee.tokenizer.pad_token_id
        return micro_batches(examples, self.max_tokens, self.trainee.attention, pad)

    def _validate(self, validation: Validation) -> dict[str, float]:
        """Loss of each task."""
        self.model.eval()
        tasks = list(validation.shares)
        with self.trainee.autocast():
            sums = answer_losses(
                self.model,
                self.team.share(validation.examples),
                tasks,
                max_tokens=self.max_tokens,
                attention=self.trainee.attention,
                pad_token_id=self.trainee.tokenizer.pad_token_id,
            )
        sums = sums.to(self.model.device)
        self.team.add_up([sums])
        return dict(zip(tasks, (sums[0] / sums[1]).tolist(), strict=True))

    def _look(self, evaluated: bool = True) -> None:
        """One more row of the loss curve; with a validation, whether it is the best so far."""
        progress, (total, count) = self.progress, self.progress.since
        row = {
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 1),
            "learning_rate": self.optimizers[-1].param_groups[0]["lr"] if progress.step else 0.0,
            "train_loss": total / count if count else math.nan,
        }
        progress.since = 0.0, 0
        if evaluated and self.validation is not None:
            losses = self._validate(self.validation)
            loss = self.validation.mean(losses)
            row["validation_loss"] = loss
            row |= {f"validation_{task}": loss for task, loss in losses.items()}
            self._judge(loss)
        progress.rows.append(row)
        LOGGER.info(
            "step %d/%d  %s  %.0f tokens/s", progress.step, self.recipe.steps,
            "  ".join(f"{name} {row[name]:.4f}" for name in row if name.endswith("loss")),
            progress.tokens / max(progress.seconds, 1e-9),
        )  # fmt: skip

    def _judge(self, loss: float) -> None:
        progress = self.progress
        progress.worse += 1
        if loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.worse = loss, progress.step, 0
            self.best = self._weights()

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self.parameters.items()}

    def _keep(self) -> None:
        if self.checkpoints is None or not self.team.leads:
            return
        moments = {} if self.progress.stopped else optimizer_tensors(self.optimizers)
        state = TrainingState(dict(vars(self.progress)), self._weights(), self.best, moments)
        self.checkpoints.write(state)

    def _resume(self) -> None:
        state = self.checkpoints.read() if self.checkpoints else None
        if state is None:
            return
        self.progress = Progress(**state.progress)
        total, count = self.progress.since  # JSON gives a list
        self.progress.since = total, count
        self.best, self.resumed_from = state.best, self.progress.step
        self._take(state.weights)
        if not self.progress.stopped:
            restore_optimizers(self.optimizers, state.moments)
        LOGGER.info("resuming from the checkpoint of step %d", self.progress.step)

    @torch.no_grad()
    def _take(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])

    def free(self) -> None:
        """Let go of the model and all that trains it: its memory is for another."""
        del self.trainee, self.model
        self.parameters, self.optimizers = {}, []
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _finish(self) -> None:
        if self.best:
            self._take(self.best)
            self.best = {}
        else:
            self.progress.best_step = self.progress.step
        self._keep()
        self.model.eval()
