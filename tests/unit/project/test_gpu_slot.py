"""Tasks of one machine take GPUs of their own, wait for them, and leave none behind."""

import os
import signal
import subprocess
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

SLOT = Path(__file__).resolve().parents[3] / "conf" / "gpu_slot.sh"
# Names no machine has: other runs on this machine have locks of their own.
FOUR = ",".join(f"test-{os.getpid()}-{n}" for n in range(4))
TASK = f"""
set -eu
source '{SLOT}' $1 $2
echo "$CUDA_VISIBLE_DEVICES $(date +%s%N)"
sleep ${{3:-0.3}}
date +%s%N
"""


def start(gpus, per_task, seconds="0.3", visible=FOUR):
    return subprocess.Popen(
        ["bash", "-c", TASK, "task", str(gpus), str(per_task), seconds],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": visible},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(("gpus", "per_task"), [(2, 1), (4, 2)])
def test_no_gpu_has_two_tasks(gpus, per_task):
    tasks = [start(gpus, per_task) for _ in range(6)]
    busy = defaultdict(list)
    for task in tasks:
        said, wrong = task.communicate(timeout=120)
        assert task.returncode == 0, wrong
        names, begin, end = said.split()
        assert len(names.split(",")) == per_task
        for name in names.split(","):
            busy[name].append((int(begin), int(end)))
    assert set(busy) == set(FOUR.split(",")[:gpus])
    for spans in busy.values():
        spans.sort()
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_a_killed_task_leaves_its_gpu():
    first = start(1, 1, seconds="600")
    name = first.stdout.readline().split()[0]
    second = start(1, 1, seconds="0")
    time.sleep(0.5)
    assert second.poll() is None  # it waits
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    said, _ = second.communicate(timeout=60)
    assert said.split()[0] == name


def test_without_a_list_gpus_are_counted():
    visible = subprocess.run(
        ["bash", "-c", TASK, "task", "3", "3", "0"],
        env={name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert visible.stdout.split()[0] == "0,1,2"


def test_too_few_gpus_are_an_error_not_a_wait():
    task = start(4, 3, visible="0,1")
    _, wrong = task.communicate(timeout=60)
    assert task.returncode != 0
    assert "--gpus_per_task 3: this machine has 2" in wrong
