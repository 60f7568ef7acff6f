"""A wrong attention is seen, and not taken."""

import pytest
import torch
from transformers import AttentionInterface, AutoConfig, Gemma2Config

from c2sflow.common.errors import UserError
from c2sflow.model.architectures.gemma2 import FAMILY
from c2sflow.model.attention import (
    BLOCKWISE,
    PACKED,
    TOLERANCE,
    blockwise_attention,
    candidates,
    choose_attention,
    disagreement,
)

CPU = torch.device("cpu")
MODELS = {
    "2B": Gemma2Config(),
    "27B": Gemma2Config(
        num_attention_heads=32, num_key_value_heads=16, head_dim=128, query_pre_attn_scalar=144
    ),
}


@pytest.fixture(params=["2B", "27B", "demo"])
def config(request, demo_model):
    return MODELS.get(request.param) or AutoConfig.from_pretrained(demo_model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [BLOCKWISE, "eager"])
def test_right_ones_agree(config, name, dtype):
    assert disagreement(name, config, CPU, dtype) < 0.6 * TOLERANCE[dtype]


@pytest.mark.parametrize("config", ["2B", "demo"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropped", ["softcap", "sliding_window"])
def test_wrong_ones_are_seen(config, dropped, dtype):
    def wrong(*args, **kwargs):
        return blockwise_attention(*args, **kwargs | {dropped: None})

    AttentionInterface.register(BLOCKWISE, wrong)
    try:
        assert disagreement(BLOCKWISE, config, CPU, dtype) > 2 * TOLERANCE[dtype]
        with pytest.raises(UserError, match="differs from eager"):
            choose_attention(BLOCKWISE, config, CPU, dtype, head=False)
    finally:
        AttentionInterface.register(BLOCKWISE, blockwise_attention)


def test_flex_attention_agrees_in_packed_rows(demo_model):
    # What a GPU trains with; slow to compile on a CPU, hence once.
    config = AutoConfig.from_pretrained(demo_model)
    assert choose_attention("flex_attention", config, CPU, torch.float32, head=False)


@pytest.mark.parametrize("config", ["2B"], indirect=True)
@pytest.mark.parametrize("name", ["sdpa", "flash_attention_2", "no_such_attention"])
def test_what_does_not_run_is_refused(config, name):
    with pytest.raises(UserError, match=f"--attention {name}: .*use --attention auto"):
        choose_attention(name, config, CPU, torch.float32, head=False)


def test_order_of_the_candidates():
    cuda = torch.device("cuda")
    assert candidates(FAMILY, CPU, torch.float32, head=False) == [BLOCKWISE]
    embedding = candidates(FAMILY, cuda, torch.bfloat16, head=False)
    assert embedding[0] == PACKED
    assert embedding[-3:] == ["flex_attention", BLOCKWISE, "eager"]
    assert candidates(FAMILY, cuda, torch.bfloat16, head=True) == [BLOCKWISE, "eager"]
    assert "flash_attention_2" not in candidates(FAMILY, cuda, torch.float32, head=False)
