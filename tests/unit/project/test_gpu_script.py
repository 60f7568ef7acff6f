"""benchmarks/gpu.sh, rehearsed on the CPU: what runs once in months must not be broken by then.

Here in this process, which has torch already; in processes of their own, and all of the parts:
benchmarks/gpu.sh rehearse.
"""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import measure  # noqa: E402

SCRIPT = BENCHMARKS / "gpu.sh"
# Script and arguments of each part: first those of the rehearsal, then those of a GPU.
PARTS = [
    shlex.split(line)
    for line in re.findall(r"^ +part (\w+ \d+ .*)$", SCRIPT.read_text(), re.MULTILINE)
]
REHEARSED = {name: (Path(script).stem, arguments) for name, _, script, *arguments in PARTS[:6]}


def call(module, arguments):
    """What a script prints."""
    done = CliRunner().invoke(module.main, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Runs a part as gpu.sh rehearse does, each way within this process; gives its result."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):  # which the parts set
        monkeypatch.setenv(name, str(tmp_path))

    def rehearse(part):
        name, arguments = REHEARSED[part]
        module = importlib.import_module(name)

        def run_one(_script, *options):
            return json.loads(call(module, options).splitlines()[-1])

        monkeypatch.setattr(module, "run_one", run_one)
        call(module, arguments)
        return json.loads((tmp_path / f"{name.removeprefix('bench_')}_tiny.json").read_text())

    return rehearse


def test_embedding_is_measured_to_the_end(rehearse):
    ways = rehearse("embedding")["ways"]
    assert set(ways) == {"auto", "usual"}
    assert ways["auto"]["tokens"] == ways["usual"]["tokens"] > 0


def test_generation_is_measured_to_the_end(rehearse):
    found = rehearse("generation")
    ways = found["ways"]
    assert set(ways) == {"genes only", "usual"}
    assert all(way["new_tokens"] == 2 * 200 for way in ways.values())
    assert ways["genes only"]["step_bandwidth_share"].keys() == {"2"}
    assert ways["genes only"]["attention_bandwidth_share"]["2"] > 0
    assert found["warm_start_seconds"] > 0


@pytest.mark.parametrize("part", PARTS, ids=lambda part: " ".join(part[2:]))
def test_scripts_take_the_options_that_they_are_given(part):
    _, seconds, script, *arguments = part
    assert 0 < int(seconds) <= 600
    module = importlib.import_module(Path(script).stem)
    module.main.make_context(script, arguments)


def test_the_script_runs_the_parts_that_are_named():
    environment = {**os.environ, "PARTS": "none", "PYTHON": "false"}
    done = subprocess.run(
        [SCRIPT, "rehearse"], env=environment, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"== end \(\d+ s\)\n", done.stdout)
    environment["PARTS"] = "steps"
    done = subprocess.run([SCRIPT, "rehearse"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "; failed: steps(1)" in done.stdout
