"""Attention over packed prompts is eager's, for each prompt as if it were alone."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from c2sflow.common.errors import UserError
from c2sflow.model import attention, embedding_engine
from c2sflow.model.attention import BLOCKWISE, TOLERANCE, choose_attention, disagreement, using
from c2sflow.model.batching import PromptPool
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.packed_attention import MULTIPLE, PACKED, formula, inputs_for
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_agrees_with_eager(demo_model, dtype):
    config = AutoConfig.from_pretrained(demo_model)
    assert disagreement(PACKED, config, CPU, dtype) < 0.6 * TOLERANCE[dtype]


@pytest.mark.parametrize("dropped", ["softcap", "sliding_window"])
def test_a_wrong_one_is_seen(demo_model, dropped, monkeypatch):
    def wrong(*args, **kwargs):
        return right(*args, **kwargs | {dropped: None})

    right = attention.AttentionInterface._global_mapping[PACKED]
    monkeypatch.setitem(attention.AttentionInterface._global_mapping, PACKED, wrong)
    config = AutoConfig.from_pretrained(demo_model)
    with pytest.raises(UserError, match="--attention packed: its result differs from eager"):
        choose_attention(PACKED, config, CPU, torch.float32, head=False)


def test_what_answers_is_not_packed(demo_model):
    config = AutoConfig.from_pretrained(demo_model)
    assert choose_attention(PACKED, config, CPU, torch.float32, head=True) == BLOCKWISE


def test_the_mask_is_the_first_token_of_each_tokens_prompt(random_model):
    model = load_model(random_model, head=False, device="cpu")
    pool = PromptPool(10_000, packed=True, multiple=MULTIPLE)
    for row, length in enumerate((90, 60)):
        pool.add(row, np.full(length, 7, dtype=np.int32))
    batch = pool.take()
    assert "attention_mask" not in inputs_for(model, batch)
    with using(model, PACKED):
        inputs = inputs_for(model, batch)
    assert set(inputs) == {"input_ids", "position_ids", "attention_mask"}
    begins = inputs["attention_mask"][0, 0, 0]
    assert begins[:150].tolist() == [0] * 90 + [90] * 60
    assert inputs["position_ids"][0, [0, 89, 90, 149]].tolist() == [0, 89, 0, 59]


@pytest.fixture
def backbone(random_model):
    model = load_model(random_model, head=False, device="cpu", dtype="float32")
    with using(model, PACKED):
        yield model


def embedded(model, directory, records, **options):
    tokenizer = load_tokenizer(directory)
    return embed_cells(model, tokenizer, EMBEDDING_PROMPT, records, progress=False, **options)


@pytest.mark.parametrize("layer", [-1, 1])
@pytest.mark.parametrize("max_batch_tokens", [256, 2048])
def test_embeddings_are_those_of_eager(backbone, random_model, records, layer, max_batch_tokens):
    options = {"layer": layer, "max_batch_tokens": max_batch_tokens}
    made = embedded(backbone, random_model, records, **options)
    with using(backbone, "eager"):
        expected = embedded(backbone, random_model, records, layer=layer)
    np.testing.assert_allclose(made.vectors, expected.vectors, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made.n_tokens, expected.n_tokens)


as_on_a_gpu = pytest.mark.usefixtures("fused")


@pytest.fixture
def fused(monkeypatch):
    """Layers are fused, by the formulas of the kernels, and the first batch is checked."""
    monkeypatch.setattr(embedding_engine, "FUSES", {"cpu"})


@as_on_a_gpu
def test_fused_layers_embed_as_plain_ones(backbone, random_model, records, caplog):
    made = embedded(backbone, random_model, records)
    assert made.stats.fused
    assert not caplog.records
    with using(backbone, "eager"):
        expected = embedded(backbone, random_model, records)
    np.testing.assert_allclose(made.vectors, expected.vectors, rtol=1e-4, atol=1e-5)


def fails(*_):
    raise RuntimeError("no such\nkernel")


@as_on_a_gpu
@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (fails, "RuntimeError: no such kernel"),
        (lambda gates, states: 1.01 * gates * states, "vectors differ by "),
        (lambda gates, _: gates * torch.nan, "vectors differ by nan %"),
    ],
)
def test_fused_layers_that_differ_are_left_with_one_warning(
    backbone, random_model, records, monkeypatch, caplog, wrong, fault
):
    expected = embedded(backbone, random_model, records, max_batch_tokens=256)
    monkeypatch.setattr("c2sflow.model.fused_layers.gated", wrong)
    made = embedded(backbone, random_model, records, max_batch_tokens=256)
    assert not made.stats.fused
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert messages[0].startswith(f"embedding continues without fused layers: {fault}")
    np.testing.assert_allclose(made.vectors, expected.vectors, rtol=1e-5, atol=1e-6)


@as_on_a_gpu
def test_an_attention_that_differs_on_the_cells_ends_the_task(
    backbone, random_model, records, monkeypatch
):
    def wrong(query, keys, values, begins, *how):
        return formula(query, keys, values, torch.zeros_like(begins), *how)

    monkeypatch.setattr("c2sflow.model.packed_attention.formula", wrong)
    with pytest.raises(UserError, match=r"packed: vectors differ by .*; use --attention blockwise"):
        embedded(backbone, random_model, records)


@as_on_a_gpu
def test_memory_that_runs_out_is_no_fault_of_the_kernels(
    backbone, random_model, records, monkeypatch
):
    tried = []

    def too_large(gates, states):
        tried.append(len(tried))
        if tried == [0]:
            raise torch.OutOfMemoryError
        return torch.nn.functional.gelu(gates, approximate="tanh") * states

    monkeypatch.setattr("c2sflow.model.fused_layers.gated", too_large)
    made = embedded(backbone, random_model, records, max_batch_tokens=1024)
    assert made.stats.fused
    assert made.stats.max_batch_tokens == 512


@as_on_a_gpu
def test_vectors_that_are_not_finite_are_an_error_of_the_number_format(
    backbone, random_model, records, monkeypatch
):
    weight = backbone.norm.weight
    monkeypatch.setattr(backbone.norm, "weight", torch.nn.Parameter(weight * torch.inf))
    with pytest.raises(UserError, match="are not finite: values of this model exceed the range"):
        embedded(backbone, random_model, records)
