"""torch without CUDA's libraries, which `make setup` installs where there is no GPU."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = Path(sys.prefix, f"lib/python3.{sys.version_info.minor}/site-packages")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux's wheel has CUDA")

COMPUTED = """
import torch
print(torch.cuda.is_available(), torch.cuda.device_count())
torch.manual_seed(1)
x = torch.randn(64, 64)
print(torch.nn.functional.scaled_dot_product_attention(*[x[None]] * 3).double().sum().item())
print(torch.fft.fft(x).abs().double().sum().item(), torch.linalg.svdvals(x).double().sum().item())
print((x.bfloat16() @ x.bfloat16().T).double().sum().item())
"""
ASKED = """
from c2sflow.common.errors import UserError
from c2sflow.model.placement import resolve_device
print(resolve_device("auto"))
try:
    resolve_device("cuda")
except UserError as error:
    print(error)
"""


def python(script: str, site: Path = PACKAGES) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**os.environ, "PYTHONPATH": f"{site}:{ROOT / 'bin'}", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The installed packages, but of CUDA's libraries only the one that asks for a GPU."""
    folder = tmp_path_factory.mktemp("site")
    for path in PACKAGES.iterdir():
        if path.name not in ("torch", "nvidia"):
            (folder / path.name).symlink_to(path)

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # on another file system
            shutil.copy2(source, target)

    shutil.copytree(PACKAGES / "torch", folder / "torch", copy_function=link)
    for path in (folder / "torch/lib").glob("*.so*"):
        if re.match("lib(cu|nv|nccl|without_cuda)", path.name):
            path.unlink()
    runtime = next((PACKAGES / "nvidia").rglob("libcudart.so.*")).relative_to(PACKAGES)
    (folder / runtime).parent.mkdir(parents=True)
    link(str(PACKAGES / runtime), str(folder / runtime))
    return folder


def test_torch_computes_the_same(site):
    assert "cannot open shared object file" in python("import torch", site).stderr
    subprocess.run([ROOT / "containers/without_cuda", site], check=True)
    found, expected = python(COMPUTED, site), python(COMPUTED)
    assert found.returncode == 0, found.stderr
    assert found.stdout == expected.stdout
    assert found.stdout.startswith("False 0\n")

    device, message = python(ASKED, site).stdout.splitlines()
    assert device == "cpu"
    assert message.startswith("--device cuda: torch was installed without CUDA here")


def test_a_function_of_cuda_is_an_error(site):
    """An error that torch reports, not a crash."""
    subprocess.run([ROOT / "containers/without_cuda", site], check=True)
    script = "import torch, ctypes; print(ctypes.CDLL('libcublas.so.13').cublasCreate_v2(None))"
    library = next((site / "torch/lib").glob("libcublas.so.*")).name
    assert python(script.replace("libcublas.so.13", library), site).stdout == "1\n"
    assert "cuDNN version" in python("import torch; torch.backends.cudnn.version()", site).stderr


def test_the_packages_left_out():
    lock = (ROOT / "requirements.lock").read_text()
    left = subprocess.run(
        [ROOT / "containers/cpu_lock"], input=lock, capture_output=True, text=True, check=True
    ).stdout
    pins = re.compile(r"^([\w.-]+)==", re.MULTILINE)
    gone = set(pins.findall(lock)) - set(pins.findall(left))
    assert {"triton", "nvidia-cublas", "nvidia-cudnn-cu13"} <= gone
    assert all(re.match("nvidia-|cuda-|triton$", name) for name in gone)
    assert "\nnvidia-cuda-runtime==" in left
    # Each package that stays keeps its hashes.
    assert left.count("--hash") == sum(
        block.count("--hash")
        for block in re.split(r"\n(?=\S+==)", lock)
        if (name := pins.match(block)) and name[1] not in gone
    )
