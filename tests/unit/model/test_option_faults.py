"""Options that do not go together are refused by VALIDATE, by a task and in a notebook."""

import pytest

from c2sflow.api.config import Cell2SenConfig
from c2sflow.common.errors import UserError
from c2sflow.model.option_faults import model_option_faults
from c2sflow.model.tasks import load

WRONG = [
    ({"quantization": "fp8", "device": "cpu"}, "--quantization fp8 is for GPUs that have 8-bit"),
    ({"quantization": "fp8", "dtype": "float32"}, "goes with --dtype bfloat16, not with float32"),
]


@pytest.mark.parametrize(("options", "fault"), WRONG)
def test_refused_everywhere(options, fault, random_model):
    (found,) = model_option_faults(options)
    assert fault in found
    with pytest.raises(UserError, match=fault):
        Cell2SenConfig(**options)
    with pytest.raises(UserError, match=fault):
        load({"model": random_model, **options}, head=False)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"quantization": "fp8"}, {"quantization": "fp8", "dtype": "bfloat16"},
        {"quantization": "nf4", "device": "cpu"},
    ],
)  # fmt: skip
def test_what_goes_together(options):
    assert model_option_faults(options) == []
