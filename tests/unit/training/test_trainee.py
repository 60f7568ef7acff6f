"""Attention to train with: its gradients are eager's, soft-cap and window included."""

import pytest
import torch
from transformers import AutoConfig, Gemma2Config

from c2sflow.common.errors import UserError
from c2sflow.model.architectures.gemma2 import Gemma2
from c2sflow.training import memory
from c2sflow.training.memory import check_training_memory, training_bytes
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


GIB = 2**30
SHAPE = {
    "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256_000,
}  # fmt: skip


@pytest.mark.parametrize(("method", "measured"), [("lora", 7.50), ("qlora", 4.71)])
def test_what_a_training_takes_at_least_is_less_than_it_took(method, measured):
    """benchmarks/results/gpu_training_2B.json, on an H200 with 16,384 tokens at once."""
    found = training_bytes(Gemma2Config(**SHAPE), method, torch.bfloat16, 16) / GIB
    assert 0.7 * measured < found < measured


def test_a_training_that_cannot_fit_is_refused_before_it_begins(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _device: [22 * GIB])
    asked = Gemma2Config(**SHAPE), "full", torch.device("cuda"), torch.bfloat16, 16
    with pytest.raises(
        UserError,
        match=r"to train it by the method full takes 4\d\.\d GiB, and cuda has 22\.0 GiB free; use "
        r"--finetune_method lora \(6\.\d GiB\) or qlora \(3\.\d GiB\), or a GPU with more memory",
    ):
        check_training_memory(*asked)
    check_training_memory(asked[0], "lora", *asked[2:])
