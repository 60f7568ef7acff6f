"""Attention to train with: its gradients are eager's, soft-cap and window included."""

import pytest
import torch
from transformers import AutoConfig

from c2sflow.model.architectures.gemma2 import Gemma2
from c2sflow.training.trainee import TOLERANCE, gradient_disagreement, training_attention

CPU = torch.device("cpu")


def test_gemma_trains_with_eager_on_a_cpu(demo_model):
    config = AutoConfig.from_pretrained(demo_model)
    assert training_attention(config, CPU, torch.float32, torch.float32) == "eager"


@pytest.mark.parametrize(
    ("kept", "precision"),
    [
        (torch.float32, torch.float32),
        (torch.float16, torch.float16),
        (torch.float32, torch.float16),
    ],
)
def test_gradients_of_eager_agree_within_the_tolerance(demo_model, kept, precision):
    config = AutoConfig.from_pretrained(demo_model)
    found = gradient_disagreement("eager", config, CPU, kept, precision)
    assert found < TOLERANCE[precision] / 2


@pytest.mark.parametrize("lost", ["attn_logit_softcapping", "sliding_window"])
def test_a_lost_cap_or_window_is_seen(demo_model, monkeypatch, lost):
    made, probe = [], Gemma2.probe

    def second_lacks_it(self, config):
        model = probe(self, config)
        made.append(model)
        if len(made) == 2:
            setattr(model.config, lost, 4096 if lost == "sliding_window" else None)
            for layer in model.layers:
                setattr(layer.self_attn, lost, None)
        return model

    monkeypatch.setattr(Gemma2, "probe", second_lacks_it)
    config = AutoConfig.from_pretrained(demo_model)
    found = gradient_disagreement("eager", config, CPU, torch.float32, torch.float32)
    assert found > 2 * max(TOLERANCE.values())


def test_what_works_in_place_or_drops_the_cap_is_seen(demo_model):
    config = AutoConfig.from_pretrained(demo_model)
    for name in ("blockwise", "sdpa"):
        with pytest.raises((RuntimeError, ValueError)):
            gradient_disagreement(name, config, CPU, torch.float32, torch.float32)
