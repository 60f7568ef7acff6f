"""The state of a training on disk, so that a killed task resumes: tensors and JSON, no pickle.

A checkpoint is in a folder named after all that decides the result: another recipe, model or
data never meets it. Each is written beside and moved into place whole.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from c2sflow.common.errors import UserError

LOGGER = logging.getLogger(__name__)
Tensors = Mapping[str, torch.Tensor]


@dataclass
class TrainingState:
    """The state of a training.

    Attributes
    ----------
    progress
        What JSON can hold: steps done, figures so far.
    weights
        The trained weights.
    best
        The weights with the least validation loss so far; empty where there is none.
    moments
        Tensors of the optimizers, from `optimizer_tensors`.
    """

    progress: dict
    weights: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]


class Checkpoints:
    """The last checkpoint of one training.

    Parameters
    ----------
    directory
        Of the checkpoints of all trainings.
    digest
        Of all that decides the result.
    """

    def __init__(self, directory: str | Path, digest: str):
        self.folder = Path(directory) / digest[:16]

    def write(self, training_state: TrainingState) -> None:
        """Put a checkpoint into the place of those before it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=self.folder))
        try:
            for name in ("weights", "best", "moments"):
                tensors = getattr(training_state, name)
                own = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
                save_file(own, partial / f"{name}.safetensors")
            (partial / "progress.json").write_text(json.dumps(training_state.progress))
            _to_disk(partial)
            target = self.folder / f"step-{training_state.progress['step']:08d}"
            shutil.rmtree(target, ignore_errors=True)
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for old in self.folder.iterdir():
            if old.name != target.name:
                shutil.rmtree(old, ignore_errors=True)

    def read(self) -> TrainingState | None:
        """The last checkpoint, or None."""
        found = sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []
        if not found:
            return None
        try:
            progress = json.loads((found[-1] / "progress.json").read_text())
            tensors = [
                load_file(found[-1] / f"{name}.safetensors")
                for name in ("weights", "best", "moments")
            ]
        except Exception as error:  # of safetensors too, which has no base class of its own
            raise UserError(
                f"checkpoint {found[-1]} cannot be read: {error}; delete it and run again"
            ) from None
        return TrainingState(progress, *tensors)


def _to_disk(folder: Path) -> None:
    """Readable for others, and on the disk before the name that it gets."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """The state of some optimizers, flat: ``<optimizer>.<parameter>.<name>``."""
    return {
        f"{number}.{parameter}.{name}": torch.as_tensor(value)
        for number, optimizer in enumerate(optimizers)
        for parameter, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: Tensors) -> None:
    """The inverse of `optimizer_tensors`."""
    states: list[dict[int, dict]] = [{} for _ in optimizers]
    for key, value in tensors.items():
        number, parameter, name = key.split(".")
        states[int(number)].setdefault(int(parameter), {})[name] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
