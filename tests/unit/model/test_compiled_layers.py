"""Compiled layers give what plain ones give, are compiled once for all tasks, or not believed."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from c2sflow.model import compile_cache
from c2sflow.model.attention import using
from c2sflow.model.compile_cache import use_compile_cache
from c2sflow.model.compiled_layers import (
    PAYS,
    CompiledLayers,
    least_work,
    not_compiled_because,
    pays,
    what_is_compiled,
)
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

ROOT = Path(__file__).resolve().parents[3]
TASK = """
import json, sys, numpy as np, torch
from c2sflow.model.attention import using
from c2sflow.model.compile_cache import use_compile_cache
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

folder, directory, layer = sys.argv[1:]
use_compile_cache(folder)
records = json.load(sys.stdin)
tokenizer = load_tokenizer(directory)
model = load_model(directory, head=False, device="cpu", dtype="float32")
made = []
for attention, compile in (("eager", "off"), ("flex_attention", "on")):
    with using(model, attention):
        made.append(
            embed_cells(
                model, tokenizer, EMBEDDING_PROMPT, records, compile=compile, layer=int(layer),
                max_batch_tokens=512, progress=False,
            )
        )
plain, compiled = (run.vectors for run in made)
counters = torch._dynamo.utils.counters
print(json.dumps({
    "difference": float(np.nanmax(abs(compiled - plain)) / np.nanmax(abs(plain))),
    "padding": made[1].stats.n_padding,
    "graphs": counters["stats"]["unique_graphs"],
    "breaks": len(counters["graph_break"]),
    "hit": counters["inductor"]["fxgraph_cache_hit"],
    "miss": counters["inductor"]["fxgraph_cache_miss"],
}))
"""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What a test sets is gone after it."""
    monkeypatch.setattr(compile_cache, "_in_use", [])
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)


def run_task(folder, model, records, layer):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bin")}
    done = subprocess.run(
        [sys.executable, "-c", TASK, folder, model, str(layer)],
        input=json.dumps(records), env=environment, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_one_shard_compiles_one_layer_and_the_next_shard_nothing(tmp_path, random_model, records):
    """Three layers of two kinds, several batches: one graph. Eager float32 is the reference."""
    first, log = run_task(tmp_path, random_model, records, -1)
    assert first["difference"] <= 1e-5
    assert first["padding"] > 0
    assert (first["graphs"], first["breaks"]) == (1, 0)
    assert (first["hit"], first["miss"]) == (0, 1)
    assert "without compilation" not in log
    # Another shard of the same run, in lengths of its own, and stopped at another layer.
    second, log = run_task(tmp_path, random_model, records[::-1][:9], 2)
    assert second["difference"] <= 1e-5
    assert (second["hit"], second["miss"]) == (1, 0)
    assert "without compilation" not in log


@pytest.fixture
def backbone(random_model):
    return load_model(random_model, head=False, device="cpu", dtype="float32")


def layers_of(model, cache=None):
    return CompiledLayers(model, 3, what_is_compiled(model, 512), cache)


def fails():
    raise RuntimeError("the compiler\nfails")


EXPECTED = torch.ones(4, 8)


def sample():
    return [0, 2], EXPECTED[[0, 2]]


@pytest.mark.parametrize(
    ("computed", "fault"),
    [
        (fails, "RuntimeError: the compiler fails"),
        (lambda: 1.001 * EXPECTED, "compiled vectors differ by 0.1 %"),
        (lambda: EXPECTED * torch.nan, "compiled vectors differ by nan %"),
    ],
)
def test_what_cannot_be_believed_is_not_used(backbone, caplog, tmp_path, computed, fault):
    cache = use_compile_cache(tmp_path)
    with layers_of(backbone, cache) as layers:
        assert backbone.layers[0]._compiled_call_impl is not None

        def compute():
            return computed() if backbone.layers[0]._compiled_call_impl else EXPECTED

        made = [layers.run(compute, sample) for _ in range(3)]
    assert all(torch.equal(one, EXPECTED) for one in made)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        f"embedding continues without compilation: {fault}"
    ]
    assert not cache.holds(layers.what)


def test_memory_that_runs_out_is_no_fault_of_the_compiler(backbone):
    def too_large():
        raise torch.OutOfMemoryError

    with layers_of(backbone) as layers:
        with pytest.raises(torch.OutOfMemoryError):
            layers.run(too_large, sample)
        assert backbone.layers[0]._compiled_call_impl is not None


def test_a_believed_result_is_noted_and_the_layers_are_plain_after(backbone, tmp_path):
    cache = use_compile_cache(tmp_path)
    before = least_work(what_is_compiled(backbone, 512), cache)
    with layers_of(backbone, cache) as layers:
        layers.run(lambda: EXPECTED, sample)
        layers.run(lambda: EXPECTED, fails)  # compared once
    assert all(layer._compiled_call_impl is None for layer in backbone.layers)
    warm = least_work(what_is_compiled(backbone, 512), cache)
    assert (before, warm) == (PAYS["to be kept"], PAYS["warm"])
    assert least_work(what_is_compiled(backbone, 1024), cache) == before
    assert warm < before < least_work(what_is_compiled(backbone, 512), None)


def test_auto_compiles_nothing_on_a_cpu(backbone):
    with using(backbone, "flex_attention"):
        assert not pays(backbone, 10**15, what_is_compiled(backbone, 512), None)


def test_on_without_effect_is_a_warning(backbone, records, random_model, caplog):
    assert not_compiled_because(backbone) == "attention blockwise takes batches of too many shapes"
    tokenizer = load_tokenizer(random_model)
    embed_cells(backbone, tokenizer, EMBEDDING_PROMPT, records[:2], compile="on", progress=False)
    assert "--compile on has no effect: attention blockwise" in caplog.text
