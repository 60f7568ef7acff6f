"""Loading: what goes together, what is refused, and what quantisation costs."""

import numpy as np
import pytest
import torch

from c2sflow.common.errors import UserError
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import EMBEDDING_PROMPT


@pytest.fixture(scope="module")
def cells(records):
    return [record for record in records[:6] if record["n_genes"]]


def embed(directory, cells, **options):
    model = load_model(directory, head=False, device="cpu", **options)
    tokenizer = load_tokenizer(directory)
    return model, embed_cells(model, tokenizer, EMBEDDING_PROMPT, cells, progress=False).vectors


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"dtype": "bfloat16"}, 0.999),
        ({"dtype": "float16"}, 0.9999),
        ({"quantization": "nf4"}, 0.95),
        ({"quantization": "int8"}, 0.999),
    ],
)
def test_cosine_to_float32(demo_model, cells, options, least):
    model, exact = embed(demo_model, cells)
    assert model.dtype == torch.float32
    made = embed(demo_model, cells, **options)[1]
    cosine = (made * exact).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() >= least


def test_without_head_there_is_none(demo_model):
    model = load_model(demo_model, head=False, device="cpu")
    assert not hasattr(model, "lm_head")


def test_a_directory_without_model(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        load_model(tmp_path, head=True)
