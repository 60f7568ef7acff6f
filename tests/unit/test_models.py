"""Loading: what goes together, what is refused, and what quantisation costs."""

import numpy as np
import pytest
import torch

from c2sflow.embedding import embed_tokens
from c2sflow.errors import UserError
from c2sflow.models import load_model, load_tokenizer, resolve_device, resolve_dtype
from c2sflow.prompts import EMBEDDING_PROMPT
from c2sflow.tokenization import tokenize_prompts


@pytest.fixture(scope="module")
def prompts(demo_model, records):
    tokenizer = load_tokenizer(demo_model)
    return tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records[:5], 512).input_ids


def embed(directory, prompts, **options):
    model = load_model(directory, head=False, device="cpu", **options)
    return model, embed_tokens(model, prompts, 0, progress=False)[0]


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"dtype": "bfloat16"}, 0.999),
        ({"quantization": "nf4"}, 0.95),
        ({"quantization": "int8"}, 0.999),
    ],
)
def test_cosine_to_float32(demo_model, prompts, options, least):
    model, exact = embed(demo_model, prompts)
    assert model.dtype == torch.float32
    made = embed(demo_model, prompts, **options)[1]
    cosine = (made * exact).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() >= least


def test_attention_that_drops_the_soft_cap_is_refused(demo_model):
    with pytest.raises(UserError, match="sdpa"):
        load_model(demo_model, head=False, device="cpu", attention="sdpa")


def test_without_head_there_is_none(demo_model):
    model = load_model(demo_model, head=False, device="cpu")
    assert not hasattr(model, "lm_head")


def test_device_and_dtype():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_dtype("float16", torch.device("cpu")) == torch.float16
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            resolve_device("cuda")


def test_a_directory_without_model(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        load_model(tmp_path, head=True)
