"""Device and number format. Whether a model fits: test_memory_plan.py."""

import pytest
import torch
from transformers import AutoConfig, Gemma2Config

from c2sflow.common.errors import UserError
from c2sflow.model import placement
from c2sflow.model.placement import resolve_device, resolve_dtype

CPU = torch.device("cpu")


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
