"""The data side is a program of its own: QC and SENTENCES run where no model can."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from c2sflow.data.demo import write_demo

ROOT = Path(__file__).resolve().parents[3]
# What `pip install c2sflow` does not bring, without [model], [report] or [train].
ABSENT = (
    "torch", "transformers", "tokenizers", "safetensors", "accelerate", "peft", "bitsandbytes",
    "multiqc", "umap", "igraph", "torchmetrics", "huggingface_hub",
)  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """c2s of an environment with the wheel's console command and the data side's packages only.

    The packages are those of this environment, seen through a folder of links: nothing is
    downloaded.
    """
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "env", with_pip=False)
    site = next((folder / "env/lib").glob("python3*")) / "site-packages"
    absent = {name.replace("_", "-") for name in ABSENT} | {*ABSENT, "umap_learn"}
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.suffix != ".pth" and not path.name.lower().startswith(tuple(absent)):
            (site / path.name).symlink_to(path)
    (site / "c2sflow").symlink_to(ROOT / "bin/c2sflow")
    script = folder / "env/bin/c2s"
    script.write_text(
        f"#!{folder / 'env/bin/python'}\nfrom c2sflow.cli import main\nmain()\n", encoding="utf-8"
    )
    script.chmod(0o755)
    return script


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cells_become_sentences_without_torch(bare, tmp_path):
    for name in ("torch", "multiqc"):
        code = (
            f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is not None)"
        )
        run(bare.parent / "python", "-c", code)
    write_demo(tmp_path)
    state = ("--input-state=lognormalized", "--log-base=e", "--min-genes=10")
    run(bare, "qc", f"--h5ad={tmp_path / 'lane_1.h5ad'}", "--id=s", "--sample=s",
        "--organism=human", *state, f"--outdir={tmp_path / 'qc'}")  # fmt: skip
    run(bare, "sentences", f"--h5ad={tmp_path / 'qc/s.h5ad'}", "--id=s", f"--outdir={tmp_path}")
    assert list((tmp_path / "shards").glob("s.*.parquet"))


def test_help_imports_no_heavy_package():
    """Else ``c2s --help`` would take seconds."""
    for arguments in (["--help"], ["embed", "--help"], ["qc", "--help"]):
        code = (
            f"import sys; sys.argv = ['c2s', *{arguments!r}]\n"
            "from c2sflow.cli import c2s\n"
            "try: c2s.main(standalone_mode=False)\n"
            "finally: print(sorted({'torch', 'numpy', 'pandas', 'anndata'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT / "bin", capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "[]"
        assert "Usage: " in done.stdout


@pytest.mark.parametrize("extra", ["model", "report", "train"])
def test_the_wheel_has_extras(extra):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"][extra]
    base = " ".join(project["dependencies"])
    assert not [name for name in ABSENT if name.replace("_", "-") in base]
    assert project["scripts"] == {"c2s": "c2sflow.cli:main"}
