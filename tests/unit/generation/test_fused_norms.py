"""Norms in one pass are the model's own, and only for a while."""

import torch

from c2sflow.generation.fused_norms import fused_norms, rms_norm
from c2sflow.model.loading import load_model


def test_the_models_logits_stay_and_its_norms_come_back(random_model, monkeypatch):
    model = load_model(random_model, head=True, device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.normal_(std=0.3)
    ids = torch.arange(300, 340)[None]
    used = []

    def seen(*inputs, **options):
        used.append(options["offset"])
        return rms_norm(*inputs, **options)

    monkeypatch.setattr("c2sflow.generation.fused_norms.rms_norm", seen)
    model.model.norm.forward = hooked = model.model.norm.forward  # as accelerate does
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        with fused_norms(model):
            made = model(input_ids=ids).logits
        assert used == [1.0] * (4 * len(model.model.layers) + 1)
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(input_ids=ids).logits, expected, rtol=0, atol=0)
    assert len(used) == 4 * len(model.model.layers) + 1
    assert model.model.norm.__dict__["forward"] is hooked
