"""Budgets of tokens."""

import psutil
import pytest

from c2sflow.model.batching import (
    CPU_CACHE,
    CPU_TOKENS,
    resolve_cache_tokens,
    resolve_max_batch_tokens,
)
from c2sflow.model.loading import load_model


@pytest.fixture(scope="module")
def model(demo_model):
    return load_model(demo_model, head=True, device="cpu")


@pytest.mark.parametrize("value", [1000, "1000"])
def test_a_given_budget_is_kept(model, value):
    assert resolve_max_batch_tokens(value, model) == 1000
    assert resolve_cache_tokens(value, model) == 1000


@pytest.mark.parametrize("value", [None, "auto"])
def test_a_cpu_has_its_own(model, value):
    assert resolve_max_batch_tokens(value, model) == CPU_TOKENS
    assert resolve_cache_tokens(value, model) == CPU_CACHE


def test_the_cache_takes_a_quarter_of_little_memory(model, monkeypatch):
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=2**26))
    config = model.config
    bytes_per_token = (
        4 * 2 * config.num_key_value_heads * config.head_dim * config.num_hidden_layers
    )
    assert resolve_cache_tokens("auto", model) == 2**24 // bytes_per_token
