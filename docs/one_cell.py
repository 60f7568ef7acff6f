#!/usr/bin/env python3
"""Print the files of ours that one cell of the demo crosses on its way to ``X_c2s``.

QC, SENTENCES, EMBED and MERGE run on one sample, in this process, with the options that VALIDATE
makes of the parameters; a file counts when one of its functions runs, not when it is imported.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "bin/c2sflow"
MODEL = ROOT / "assets/demo_model"
OF_SAMPLE = (  # what modules/qc takes of it
    "id", "sample", "organism", "input_state", "log_base", "state_declared", "gene_symbols",
    "input_kind", "matrix", "features", "genome",
)  # fmt: skip
sys.path.insert(0, str(ROOT / "bin"))

from c2sflow.cli import c2s  # noqa: E402


class Trace:
    """Names of the library's files whose functions run while it is on."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._seen: set[CodeType] = set()

    def __enter__(self) -> Trace:
        threading.setprofile(self._called)
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or code in self._seen:
            return
        path = Path(code.co_filename)
        if not path.is_relative_to(LIBRARY):
            self._seen.add(code)
        elif code.co_flags & inspect.CO_OPTIMIZED and not _importing(frame):
            self._seen.add(code)
            self.files.add(str(path.relative_to(LIBRARY)))


def _importing(frame: FrameType | None) -> bool:
    """Whether a module that is being imported calls this."""
    while frame := frame.f_back:
        code = frame.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(str(LIBRARY)):
            return True
    return False


def run(step: str, options: Mapping, *more: str) -> None:
    """A step, as its process calls it (`modules/code.nf`, cli)."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words.append(f"--{flag}={value}")
    c2s.main([step, *words, *more], prog_name="c2s", standalone_mode=False)


def way(folder: Path) -> dict[str, list[str]]:
    """Files that each of the four steps crosses, on a sample of the demo in an empty folder."""
    run("demo", {"outdir": folder})
    params = {"input": "lane_1.h5ad", "model": "demo", "min_genes": 10, "shard_size": 350}
    run(
        "validate",
        {
            "params": json.dumps(params), "staged": json.dumps([str(folder / "lane_1.h5ad")]),
            "schema": ROOT / "nextflow_schema.json",
            "input_schema": ROOT / "assets/schema_input.json", "model_dir": MODEL, "outdir": folder,
        },
    )  # fmt: skip
    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    (sample,) = json.loads((folder / "samples.json").read_text(encoding="utf-8"))
    run("model", {**options["model"], "model_dir": MODEL, "outdir": folder})
    name = sample["id"]
    qc, sentences, embeddings = (folder / step for step in ("qc", "sentences", "embeddings"))
    for made in (qc, sentences, embeddings):
        made.mkdir()
    calls = {
        "qc": {
            "h5ad": folder / "lane_1.h5ad", "outdir": qc, **{key: sample[key] for key in OF_SAMPLE},
        },
        "sentences": {"h5ad": qc / f"{name}.h5ad", "id": name, "outdir": sentences},
        "embed": {
            "shard": sentences / f"shards/{name}.00000.parquet", "model": MODEL,
            "outdir": embeddings,
        },
        "merge": {
            "samples": folder / "samples.json", "parameters": folder / "parameters.json",
            "model": folder / "model.json", "qc_dir": qc, "sentences_dir": sentences,
            "embeddings_dir": embeddings, "outdir": folder,
        },
    }  # fmt: skip
    crossed = {}
    for step, call in calls.items():
        with Trace() as trace:
            run(step, {**options.get(step, {}), **call})
        crossed[step] = sorted(trace.files)
    return crossed


def table(crossed: Mapping[str, Sequence[str]]) -> str:
    """A line for each step, and how many files they are together."""
    lines = [f"{step}: {len(files)}: {', '.join(files)}" for step, files in crossed.items()]
    return "\n".join([*lines, f"together: {len(set().union(*crossed.values()))}"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(table(way(Path(made))))
