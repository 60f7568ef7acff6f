"""Device, number format, and whether the weights fit."""

import pytest
import torch
from transformers import AutoConfig, Gemma2Config

from c2sflow.common.errors import UserError
from c2sflow.model import placement
from c2sflow.model.loading import load_model
from c2sflow.model.placement import place, resolve_device, resolve_dtype, weight_bytes

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 2**30


def test_no_silent_fall_back_to_the_cpu():
    assert resolve_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert resolve_device("auto") == CPU
        with pytest.raises(UserError, match="no GPU"):
            resolve_device("cuda")


def test_small_models_are_float32_on_every_cpu(demo_model):
    config = AutoConfig.from_pretrained(demo_model)
    assert resolve_dtype("auto", CPU, config) == torch.float32
    assert resolve_dtype("float16", CPU, config) == torch.float16


@pytest.mark.parametrize(
    ("slowness", "chosen"), [(1.5, torch.float32), (0.7, torch.float32), (0.2, torch.bfloat16)]
)
def test_a_cpu_with_matrix_units_takes_bfloat16(monkeypatch, slowness, chosen):
    seconds = {torch.float32: 1.0, torch.bfloat16: slowness}
    monkeypatch.setattr(placement, "_seconds_of_product", lambda dtype, _config: seconds[dtype])
    assert resolve_dtype("auto", CPU, Gemma2Config()) == chosen


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
@pytest.mark.parametrize("head", [False, True])
def test_estimate_of_the_weights(demo_model, quantization, head):
    made = load_model(demo_model, head=head, device="cpu", quantization=quantization)
    estimate = weight_bytes(demo_model, torch.float32, quantization, head)
    assert estimate == pytest.approx(made.get_memory_footprint(), rel=0.15)


def test_one_gpu_if_it_fits_else_all_of_the_task():
    assert place(5 * GIB, CUDA, [8 * GIB, 8 * GIB]) == {"": "cuda:0"}
    assert place(5 * GIB, torch.device("cuda:1"), [2 * GIB, 8 * GIB]) == {"": "cuda:1"}
    assert place(12 * GIB, CUDA, [8 * GIB, 8 * GIB]) == "auto"
    assert place(5 * GIB, CPU, [8 * GIB]) == {"": "cpu"}


@pytest.mark.parametrize(
    ("device", "free"),
    [(CUDA, [8 * GIB]), (CUDA, [8 * GIB, 8 * GIB]), (torch.device("cuda:1"), [90 * GIB, 8 * GIB])],
)
def test_what_does_not_fit_is_refused_before_it_is_read(device, free):
    with pytest.raises(UserError, match=r"need 50\.0 GiB .* use --quantization nf4"):
        place(50 * GIB, device, free)
