"""Layers whose small parts are a kernel each give the model's own logits, and only for a while."""

import sys

import pytest
import torch
from transformers.activations import GELUTanh

from c2sflow.model import fused_layers as fused
from c2sflow.model.fused_layers import fused_layers
from c2sflow.model.loading import load_model


@pytest.fixture
def model(random_model):
    model = load_model(random_model, head=True, device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.normal_(std=0.3)
    return model


def test_the_models_logits_stay_and_its_parts_come_back(model, monkeypatch):
    ids = torch.arange(300, 340)[None]
    used = []

    def noted(name, own):
        def seen(*inputs, **options):
            used.append(name)
            return own(*inputs, **options)

        monkeypatch.setattr(fused, name, seen)

    for name in ("rms_norm", "gated", "rotated"):
        noted(name, getattr(fused, name))
    model.model.norm.forward = hooked = model.model.norm.forward  # as accelerate does
    module = sys.modules[type(model.model.layers[0].self_attn).__module__]
    rotation, n = module.apply_rotary_pos_emb, len(model.model.layers)
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        with fused_layers(model):
            made = model(input_ids=ids).logits
        counts = {name: used.count(name) for name in set(used)}
        assert counts == {"rms_norm": 4 * n + 1, "gated": n, "rotated": n}
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=0)
    assert len(used) == 6 * n + 1
    assert model.model.norm.__dict__["forward"] is hooked
    assert "forward" not in vars(model.model.layers[0].mlp)
    assert module.apply_rotary_pos_emb is rotation


def test_another_activation_stays_the_models(model, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(fused, "gated", never)
    assert isinstance(model.model.layers[0].mlp.act_fn, GELUTanh)
    for layer in model.model.layers:
        layer.mlp.act_fn = torch.nn.SiLU()
    ids = torch.arange(300, 340)[None]
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        with fused_layers(model):
            made = model(input_ids=ids).logits
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
