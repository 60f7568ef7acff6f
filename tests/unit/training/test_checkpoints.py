"""Checkpoints: whole or not at all, of their own recipe, without pickle."""

import json
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open

from c2sflow.common.errors import UserError
from c2sflow.training.checkpoints import (
    Checkpoints,
    TrainingState,
    optimizer_tensors,
    restore_optimizers,
)
from c2sflow.training.optimizers import adamw, muon_and_adamw, rate_share


def standing(step):
    weights = {"layer.weight": torch.full((2, 3), float(step))}
    return TrainingState({"step": step, "best_loss": float("inf")}, weights, {}, {})


def test_the_last_one_is_read(tmp_path):
    checkpoints = Checkpoints(tmp_path, "a" * 64)
    assert checkpoints.read() is None
    for step in (2, 10):
        checkpoints.write(standing(step))
    found = checkpoints.read()
    assert found.progress == {"step": 10, "best_loss": float("inf")}
    assert (found.weights["layer.weight"] == 10).all()
    assert found.best == {}
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000010"]
    assert Checkpoints(tmp_path, "b" * 64).read() is None


def test_what_a_kill_leaves_is_not_read_and_goes(tmp_path):
    checkpoints = Checkpoints(tmp_path, "a" * 64)
    checkpoints.write(standing(2))
    partial = checkpoints.folder / ".partial-x"
    partial.mkdir()
    (partial / "weights.safetensors").write_bytes(b"half")
    assert checkpoints.read().progress["step"] == 2
    checkpoints.write(standing(3))
    assert not partial.exists()


def test_one_that_fails_leaves_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path, "a" * 64)
    checkpoints.write(standing(2))
    wrong = standing(3)
    wrong.progress["not for JSON"] = object()
    with pytest.raises(TypeError):
        checkpoints.write(wrong)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000002"]


def test_files_are_safetensors_and_json(tmp_path):
    checkpoints = Checkpoints(tmp_path, "a" * 64)
    checkpoints.write(standing(2))
    for path in (checkpoints.folder / "step-00000002").iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            with safe_open(path, "pt") as file:
                file.keys()


def test_a_broken_one_is_told(tmp_path):
    checkpoints = Checkpoints(tmp_path, "a" * 64)
    checkpoints.write(standing(2))
    (checkpoints.folder / "step-00000002" / "best.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="step-00000002 cannot be read"):
        checkpoints.read()


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_optimizers_go_on_as_if_nothing_had_happened(kind, tmp_path):
    def begin():
        torch.manual_seed(0)
        model = torch.nn.ModuleDict(
            {"layers": torch.nn.Linear(4, 4), "embedding": torch.nn.Embedding(3, 4)}
        )
        if kind == "adamw":
            return model, [adamw(model.parameters(), 0.1, 0.01)]
        return model, muon_and_adamw(model, model["layers"], 0.1)

    def step(model, optimizers, seed):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        for optimizer in optimizers:
            optimizer.step()

    model, optimizers = begin()
    for seed in range(3):
        step(model, optimizers, seed)
    moments = optimizer_tensors(optimizers)
    checkpoints = Checkpoints(tmp_path, "a" * 64)
    checkpoints.write(TrainingState({"step": 3}, dict(model.state_dict()), {}, moments))
    found = checkpoints.read()
    other, others = begin()
    other.load_state_dict(found.weights)
    restore_optimizers(others, found.moments)
    for seed in range(3, 6):
        step(model, optimizers, seed)
        step(other, others, seed)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_rates_rise_and_fall():
    shares = [rate_share(step, 100, 10) for step in range(100)]
    assert shares[0] == pytest.approx(0.1, abs=0.001)
    assert max(shares) == max(shares[9:12])
    assert all(a > b for a, b in pairwise(shares[10:]))
    assert shares[-1] == pytest.approx(0.02, abs=0.001)
    assert rate_share(0, 1, 0) == 1.0
