"""Products of few tokens on a CPU: the same, and the model as it was afterwards."""

import pytest
import torch
from torch import nn

from c2sflow.generation.few_rows import FEW, quick_products
from c2sflow.generation.valid_head import valid_head


class Whole(nn.Module):
    """Of two layers, one with a bias, one in another number format."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.biased, self.plain = nn.Linear(24, 40), nn.Linear(24, 40, bias=False)
        self.narrow = nn.Linear(24, 40, dtype=torch.bfloat16)


@pytest.mark.parametrize("shape", [(1, 1), (16, 1), (4, 5), (FEW[-1], 1), (FEW[-1], 2), (3, 2, 4)])
def test_products_are_the_same(shape):
    model, states = Whole(), torch.randn(*shape, 24)
    expected = [layer(states) for layer in (model.biased, model.plain)]
    with torch.inference_mode(), quick_products(model):
        made = [layer(states) for layer in (model.biased, model.plain)]
    for one, other in zip(made, expected, strict=True):
        assert one.shape == other.shape
        assert one.is_contiguous()
        assert torch.allclose(one, other, atol=1e-5)


def test_only_plain_layers_of_float32_are_changed_and_only_within(monkeypatch):
    calls = []
    product = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda *a: calls.append(1) or product(*a))
    whole, states = Whole(), torch.randn(16, 24)
    with torch.inference_mode(), quick_products(whole):
        whole.plain(states)
        assert not calls
        whole.narrow(states.bfloat16())
        assert len(calls) == 1
    assert not any("forward" in vars(layer) for layer in whole.modules())
    whole.plain(states)
    assert len(calls) == 2


def test_the_head_of_valid_tokens_is_among_them(model):
    with valid_head(model, torch.arange(5)), quick_products(model):
        assert "forward" in vars(model.get_output_embeddings())
