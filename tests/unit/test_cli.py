"""How the scripts end when the machine fails them: no traceback, nothing half-written."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from c2sflow.data.demo import write_demo

BIN = Path(__file__).resolve().parents[2] / "bin"
QC = "qc --h5ad=lane_1.h5ad --id=s --sample=s --organism=human --min-genes=10"
QC += " --input-state=lognormalized --log-base=e"
SENTENCES = "sentences --h5ad=qc/s.h5ad --id=s"


def run(folder, command, **limits):
    """Run a script in a folder, with limits of the kernel on what it may do."""

    def restrict():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    return subprocess.run(
        [sys.executable, BIN / "c2s", *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=restrict,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("script")
    write_demo(folder)
    done = run(folder, f"{QC} --outdir=qc")
    assert done.returncode == 0, done.stderr
    return folder


# At 70 and 256 kB HDF5 finds out late, and would crash on the way out.
@pytest.mark.parametrize(("command", "kilobytes"), [(QC, 70), (QC, 256), (SENTENCES, 20)])
def test_a_full_disk_is_told_and_leaves_nothing(folder, tmp_path, command, kilobytes):
    done = run(folder, f"{command} --outdir={tmp_path / 'out'}", FSIZE=kilobytes * 1024)
    assert done.returncode == 1, done.stderr
    message = "error: the work directory cannot be read or written: File too large; fix this"
    assert done.stderr.splitlines()[-1].startswith(message)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "allocation", ["bytearray(2**62)", "numpy.ones(2**55)", "torch.ones(2**50)"]
)
def test_memory_that_runs_out_ends_as_the_kernel_ends_it(tmp_path, allocation):
    module = allocation.split(".")[0] if "." in allocation else "sys"
    (tmp_path / "script.py").write_text(
        f"import sys, click, {module}\nsys.path.insert(0, {str(BIN)!r})\n"
        "from c2sflow.cli import run\n@click.command()\n"
        f"def main():\n    {allocation}\nrun(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 137
    assert done.stderr.startswith("error: out of memory")
    assert len(done.stderr.splitlines()) == 1


def test_a_bug_keeps_its_traceback(tmp_path):
    (tmp_path / "script.py").write_text(
        f"import sys, click\nsys.path.insert(0, {str(BIN)!r})\n"
        "from c2sflow.cli import run\n@click.command()\ndef main():\n    [][1]\nrun(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "IndexError" in done.stderr
