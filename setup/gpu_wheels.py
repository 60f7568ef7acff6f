"""Fetch the wheels that benchmarks/gpu.sh needs on a machine that has torch and no network.

They are of the versions in requirements.lock, for that machine's Python on Linux (x86-64), and go
into .whl/ of this clone, where gpu.sh finds them: 35 MB. Of bitsandbytes only the libraries for
CUDA 13 are kept.

python setup/gpu_wheels.py [--python 3.12] [NAME ...]
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
# Beside torch, and what is installed with torch, transformers, JAX and pandas in most images.
NAMES = (
    "anndata", "bitsandbytes", "donfig", "google-crc32c", "legacy-api-wrap", "natsort", "numcodecs",
    "scanpy", "scverse-misc", "transformers", "zarr",
)  # fmt: skip
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (17, 24, 27, 28)] + ["manylinux2014_x86_64"]
OTHERS = re.compile(r"libbitsandbytes_(cuda1[12]|rocm|xpu)")


@click.command(help=__doc__)
@click.option("--python", default="3.12", show_default=True)
@click.argument("names", nargs=-1)
def main(python: str, names: tuple[str, ...]) -> None:
    """Download them, and make bitsandbytes smaller."""
    folder = ROOT / ".whl"
    folder.mkdir(exist_ok=True)
    locked = dict(
        re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    wanted = [f"{name}=={locked[name]}" for name in names or NAMES]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--implementation", "cp", "--python-version", python, *platforms, "--dest", folder,
         *wanted],
        check=True,
    )  # fmt: skip
    for wheel in folder.glob("bitsandbytes-*.whl"):
        keep_cuda_13(wheel)
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    print(f"{folder}: {len(wanted)} wheels, {size / 1e6:.0f} MB")


def keep_cuda_13(wheel: Path) -> None:
    """Leave out the libraries for other GPUs, most of 43 MB."""
    small = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            if not OTHERS.search(item.filename):
                new.writestr(item, old.read(item))
    small.replace(wheel)


if __name__ == "__main__":
    main()
