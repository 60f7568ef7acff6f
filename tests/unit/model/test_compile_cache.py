"""Tasks share what torch compiles: one compiles, the next ones read, also many at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from c2sflow.model import compile_cache
from c2sflow.model.compile_cache import cache_key, use_compile_cache

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
TASK = """
import json, sys, torch
from c2sflow.model.compile_cache import use_compile_cache
folder = use_compile_cache(sys.argv[1])

@torch.compile
def capped(scores):
    return torch.softmax(50 * torch.tanh(scores / 50), dim=-1)

with torch.inference_mode():
    scores = torch.linspace(-200, 200, 600).reshape(20, 30)
    expected = torch.softmax(50 * torch.tanh(scores / 50), dim=-1)
    right = bool(torch.allclose(capped(scores), expected, atol=1e-6))
found = torch._dynamo.utils.counters["inductor"]
counts = {name: found[f"fxgraph_cache_{name}"] for name in ("hit", "miss")}
print(json.dumps({"right": right, "folder": str(folder), **counts}))
"""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What a test sets is gone after it."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)


def start(folder: Path) -> subprocess.Popen:
    words = [sys.executable, "-c", TASK, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bin"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def result(task: subprocess.Popen) -> dict:
    written = task.communicate(timeout=1800)[0]  # on a busy machine
    assert task.returncode == 0
    return json.loads(written)


def test_two_tasks_at_once_and_then_one_that_compiles_nothing(tmp_path):
    at_once = [result(task) for task in [start(tmp_path) for _ in range(2)]]
    after = result(start(tmp_path))
    assert all(task["right"] for task in [*at_once, after])
    assert at_once[0]["hit"] + at_once[0]["miss"] == 1
    folders = {task["folder"] for task in [*at_once, after]}
    assert len(folders) == 1, "what is compiled was edited meanwhile"
    compiled = Path(after["folder"]) / "inductor"
    graphs = {path.parent.name for path in compiled.glob("fxgraph/*/*/*")}
    assert len(graphs) == 1, graphs  # torch's key of it is the same in all three
    assert (after["hit"], after["miss"]) == (1, 0)
    assert list(compiled.rglob("*.so"))


KERNEL = """
import sys
from pathlib import Path
from c2sflow.model.compile_cache import use_compile_cache
folder = use_compile_cache(sys.argv[1])
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from c2sflow.model.fused_kernels import gate_part
types = dict.fromkeys(["gates", "states", "output"], "*bf16") | {"size": "i32", "PART": "constexpr"}
made = compile(ASTSource(gate_part, types, {"PART": 2048}), target=GPUTarget("cuda", 90, 32))
assert "mul" in made.asm["ptx"]
for path in sorted(path for path in (folder / "triton").rglob("*") if path.is_file()):
    print(path, path.stat().st_ino)
"""


def test_a_kernel_that_one_task_compiles_the_next_one_reads(tmp_path):
    pytest.importorskip("triton")
    words = [sys.executable, "-c", KERNEL, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bin")}
    listed = [
        subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert "gate_part.cubin" in listed[0]
    assert listed[0] == listed[1]


def test_the_compilers_are_pointed_at_the_folder(tmp_path):
    folder = use_compile_cache(tmp_path / "shared", CPU)
    assert folder.parent == tmp_path / "shared"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(folder / "triton")


@pytest.mark.parametrize("folder", [None, ""])
def test_no_folder_leaves_everything_as_it_is(folder):
    assert use_compile_cache(folder, CPU) is None
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_a_folder_that_cannot_be_made_is_not_used(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert use_compile_cache(tmp_path / "file", CPU) is None
    assert "--compile_cache" in caplog.text
    assert "this task compiles" in caplog.text
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_the_folder_is_of_the_card_torch_and_our_kernels(monkeypatch):
    before = cache_key(CPU)
    monkeypatch.setattr(compile_cache, "COMPILED", ("model/batching.py",))
    assert cache_key(CPU) != before
    assert torch.__version__ in before
    assert "/" not in before
