"""benchmarks/gpu.sh, rehearsed on the CPU: what runs once in months must not be broken by then.

All of its parts: benchmarks/gpu.sh rehearse.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_speed_on_a_gpu_is_measured_to_the_end(tmp_path):
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    for name in ("bin", "assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHON": sys.executable, "PARTS": "embedding generation"}
    done = subprocess.run(
        [tmp_path / "benchmarks" / "gpu.sh", "rehearse"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "benchmarks" / "results"
    embedding = json.loads((results / "gpu_tiny.json").read_text())["ways"]
    generation = json.loads((results / "gpu_generation_tiny.json").read_text())["ways"]
    assert set(embedding) == {"auto", "usual"}
    assert embedding["auto"]["tokens"] == embedding["usual"]["tokens"] > 0
    assert set(generation) == {"genes only", "usual"}
    assert all(way["new_tokens"] == 2 * 200 for way in generation.values())
