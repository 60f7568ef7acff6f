"""benchmarks/gpu.sh, rehearsed on the CPU: what runs once in months must not be broken by then.

Every part here in this process, which has torch already; in processes of their own:
benchmarks/gpu.sh rehearse.
"""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import gpu_steps  # noqa: E402
import measure  # noqa: E402
import ways  # noqa: E402

SCRIPT = BENCHMARKS / "gpu.sh"
# Name, limit of time, script and arguments of each part, of the rehearsal and of a GPU.
PARTS = [
    shlex.split(line, comments=True)
    for line in re.findall(r"^    (?:measure|begin) (\w+ \d+ .*)$", SCRIPT.read_text(), re.M)
]
REHEARSED = {
    name: (Path(script).stem, arguments)
    for name, _, script, *arguments in PARTS
    if "cpu" in arguments
}
ON_A_GPU = [part for part in PARTS if "cpu" not in part]


def call(module, arguments):
    """What a script prints."""
    done = CliRunner().invoke(module.main, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Runs a part as gpu.sh rehearse does, each way within this process; gives its result."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "C2SFLOW_COMPILE_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))  # which the parts set

    def rehearse(part, result, *more):
        name, arguments = REHEARSED[part]
        module = importlib.import_module(name)

        def run_ways(_script, names, *options):
            for way in names:
                printed = call(module, [*options, "--one", way])
                yield way, json.loads(printed.splitlines()[-1])

        if hasattr(module, "run_ways"):
            monkeypatch.setattr(module, "run_ways", run_ways)
        call(module, [*arguments, *more])
        return json.loads((tmp_path / f"{result}.json").read_text())

    return rehearse


@pytest.fixture
def steps_in_this_process(monkeypatch):
    """The steps of gpu_steps.py, one at a time."""
    alone = threading.Lock()

    def run_step(step, *arguments):
        command = importlib.import_module(f"c2sflow.steps.{step}").main
        with alone:
            command.main([*map(str, arguments)], standalone_mode=False)
        return {"status": 0, "seconds": 0.0}

    monkeypatch.setattr(gpu_steps, "run_step", run_step)


def whole(measured, names):
    """The ways of a result, none of which failed."""
    assert list(measured["ways"]) == names
    assert not [way for way in measured["ways"].values() if "failed" in way], measured["ways"]
    return measured["ways"]


def test_embedding_is_measured_to_the_end(rehearse):
    found = rehearse("embedding", "gpu_tiny")
    made = whole(found, ["auto", "usual", "plain layers"])
    assert made["auto"]["tokens"] == made["plain layers"]["tokens"] == made["usual"]["tokens"] > 0
    assert all(way["smallest_cosine"] > 0.999 for way in made.values())
    assert all(way["utilisation"] > 0 for way in made.values())


def test_generation_is_measured_to_the_end(rehearse):
    made = rehearse("generation", "gpu_generation_tiny")
    made = whole(made, ["genes only", "start, warm", "usual"])
    assert made["genes only"]["new_tokens"] == made["usual"]["new_tokens"] == 2 * 200
    assert made["genes only"]["step_bandwidth_share"].keys() == {"2"}
    assert made["genes only"]["attention_bandwidth_share"]["2"] > 0
    assert made["genes only"]["prefill_tokens_per_second"] > 0
    assert made["start, warm"]["start_seconds"] > 0


def test_annotation_and_maps_are_measured_to_the_end(rehearse):
    made = whole(rehearse("scores", "gpu_scores_tiny"), ["annotate", "attention"])
    assert all(way["cells_per_second"] > 0 for way in made.values())


def test_training_is_measured_to_the_end(rehearse):
    made = whole(rehearse("training", "gpu_training_tiny"), ["lora"])
    assert made["lora"]["mean_loss"] > 0


def test_memory_is_measured_to_the_end(rehearse):
    made = rehearse("memory", "gpu_memory")
    assert made["weights_gib"] == made["planned_weights_gib"]
    assert made["limited"]["relative_difference"] < 1e-6


def test_agreement_is_measured_to_the_end(rehearse):
    made = rehearse("agreement", "gpu_agreement")
    assert made["embedding"]["float32, auto"]["relative_difference"] < 1e-5
    assert made["generation"]["float32, genes only"]["same_answers"] == 1.0


@pytest.mark.usefixtures("steps_in_this_process")
def test_all_steps_are_measured_and_agree_with_the_cpu(rehearse):
    made = rehearse("steps", "gpu_steps")["steps"]
    names = {"embed", "annotate", "perturb", "generate", "attention"}
    names |= {f"finetune, {method}" for method in ("lora", "qlora", "full")}
    assert set(made) == names | {"embed, again", "perturb, float32", "generate, float32"}
    assert made["embed, again"]["relative_difference"] < 1e-6
    assert made["annotate"]["same"] == made["perturb"]["same"] == made["generate"]["same"] == 1.0
    assert made["attention"]["largest_difference"] < 1e-6
    for method in ("lora", "full"):
        losses = made[f"finetune, {method}"]
        assert losses["train_loss"] == pytest.approx(losses["train_loss_of_cpu"], rel=1e-4)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: " ".join(part[2:]))
def test_scripts_take_the_options_that_they_are_given(part):
    _, seconds, script, *arguments = part
    assert 0 < int(seconds) <= 1800
    module = importlib.import_module(Path(script).stem)
    if script != "models.py":
        options = module.main.make_context(script, list(arguments)).params
        known = getattr(module, "WAYS", {})
        assert set((options.get("ways") or "").split(";")) <= {*known, ""}


def test_on_a_gpu_every_part_of_the_rehearsal_is_measured():
    assert {part[0] for part in ON_A_GPU} == {*REHEARSED, "model"}


def test_each_way_runs_in_a_process_of_its_own_and_a_failure_is_its_own(tmp_path):
    script = tmp_path / "bench.py"
    script.write_text(
        f"""
import os, sys
sys.path.append({str(BENCHMARKS)!r})
import ways
ways.PRELOADED = ()
way = sys.argv[-1]

def work():
    if way == "dies":
        sys.exit("killed")
    if way == "fails":
        raise RuntimeError("no such card")
    return {{"process": os.getpid(), "given": sys.argv[1:-2]}}

ways.report_way(work)
"""
    )
    made = dict(ways.run_ways(str(script), ["one", "fails", "dies", "other"], "--cells", 2))
    assert made["one"]["given"] == ["--cells", "2"]
    assert made["one"]["process"] != made["other"]["process"]
    assert made["fails"] == {"failed": "RuntimeError: no such card"}
    assert made["dies"] == {"failed": "killed"}


def run_script(**environment):
    return subprocess.run(
        [SCRIPT, "rehearse"], env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_the_script_runs_the_parts_that_are_named():
    done = run_script(PARTS="none", PYTHON="false")
    assert done.returncode == 0
    assert re.fullmatch(r"== end \(\d+ s\)\n", done.stdout)
    done = run_script(PARTS="steps", PYTHON="false")
    assert done.returncode == 1
    assert "; failed: steps(1)" in done.stdout
