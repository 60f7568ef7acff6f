"""The Groovy functions of the modules, called once by functions.nf."""

import json
import re
import shutil
import time
import zipfile
from pathlib import Path

import pytest
from driving import ROOT, Nextflow
from importing import closure

from c2sflow.inputs.samplesheet import sheet_paths

pytestmark = pytest.mark.pipeline

NASTY = 'it\'s "a" $HOME `id` \\ \\n ; & | > é 日本 \t* # {x}'
OPTIONS = {
    "plain": "text",
    "number": -1,
    "fraction": 0.5,
    "yes_flag": True,
    "no_flag": False,
    "absent": None,
    "empty": "",
    "nasty": NASTY,
    "lines": f"one\n    two {NASTY}\n\nthree'\n",
}
LONG = "x" * 250 + ".h5ad"
INPUTS = {
    # name: (is a samplesheet, staged files, for each row the index of its file)
    "sheet.csv": (True, ["a.h5ad", "b, 'c'.h5ad", "g_1__.h5ad"], [0, 1, None, 2, 0]),
    "sheet.tsv": (True, ["a.h5ad"], [0]),
    "sheet_semicolon.csv": (True, ["a.h5ad", "c;d.h5ad"], [0, 1]),
    "spelled.csv": (False, ["spelled.csv"], [0]),
    "sheet.yaml": (True, ["a.h5ad"], [0, None]),
    "sheet.json": (True, ["a.h5ad"], [0, None]),
    "broken.json": (True, [], []),
    "bulk.csv": (False, ["bulk.csv"], [0]),
    "empty.csv": (False, ["empty.csv"], [0]),
    "folder.zarr": (False, ["folder.zarr"], [0]),
    "$HOME {a,b}.zarr": (False, ["_HOME _a,b_.zarr"], [0]),
    "g[1]*.h5ad": (False, ["g_1__.h5ad"], [0]),  # Nextflow would leave it to the shell
    "missing.h5ad": (False, [], [None]),
    "dangling.h5ad": (False, [], [None]),
    "a folder": (False, ["a folder"], [0]),
    LONG: (False, [LONG], [0]),
    "é 細胞 'x'\"y.h5ad": (False, ["é 細胞 'x'\"y.h5ad"], [0]),
    "": (False, [], [None]),
    "s3://bucket/without-plugin.h5ad": (False, [], [None]),
}
ADAPTER = ["adapter_config.json", "adapter_model.safetensors"]
WHOLE = ["c2s_model.json", "config.json", "model.safetensors", "tokenizer.json"]
MODELS = {
    "model": WHOLE,
    "folder.zarr": ["folder.zarr"],  # no model: VALIDATE says so
    "someone/some-model": [],
    # An adapter comes with its base, if that is here; of the adapter's own folder nothing else but
    # its record, in place of the base's.
    "adapter": [*ADAPTER, *WHOLE],
    "moved/results/model": [*ADAPTER, *WHOLE],  # with the project that its base is in
    "hub_adapter": [*ADAPTER, WHOLE[0]],
    "broken_adapter": [*ADAPTER, WHOLE[0]],
}
# Profiles, and what is missing on a machine where `docker` reaches no service.
PROFILES = {
    "demo": [],
    "docker": ["docker: docker cannot run containers: permission denied while connecting"],
    "charliecloud": ["charliecloud needs the command ch-run, which is not in this machine's PATH"],
    "lsf,charliecloud,docker": ["lsf needs the command bsub, which is not in this machine's PATH"],
    "googlebatch,docker": [],
}
OUTDIRS = {
    "results/new": None,
    "a folder": None,
    "a folder/x[1]{a,b}*": None,
    "sheet.csv": "sheet.csv is a file; name a folder",
    "sheet.csv/results/x": "sheet.csv is a file; name a folder",
    "/proc/results": "nothing can be written in /proc (no files are made there); name another",
    "s3://bucket/results": None,
}
# What is still to be fetched; {}: the model itself.
FETCHED = {
    "model": None,
    "folder.zarr": None,
    "someone/some-model": {},
    "adapter": None,
    "moved/results/model": None,
    "hub_adapter": {"model": "someone/base", "model_revision": "v1"},
    "broken_adapter": {"model": None, "model_revision": "main"},
}
# How the results and an adapter call their base.
BASE_IDS = {
    "model": "./model",
    "moved/a base": "./moved/a base",
    "someone/some-model": None,
    "fetched": None,
}


# What tasks leave in their folders: (folder, step, done, total, unit, seconds).
PROGRESS = [
    ("ab/finished", "embed", 1000, 1000, "cell", 50),
    ("ab/running", "embed", 600, 800, "cell", 30),
    ("cd/begun", "embed", 100, 900, "cell", 10),
    ("cd/earlier", "embed", 7, 900, "cell", 1),
    ("cd/training", "finetune", 3, 5000, "step", 30),
    ("cd/done", "qc", 10, 10, "cell", 1),
    ("tmp/other", "embed", 1, 2, "cell", 1),
    ("ef/scoring", "evaluate", 0, 0, "", 0),
    ("ef/scored", "report", 0, 0, "", 0),
]


def write_progress(folder: Path) -> None:
    (folder / "ab/without").mkdir(parents=True)
    for name, *values in PROGRESS:
        record = dict(zip(("step", "done", "total", "unit", "seconds"), values, strict=True))
        record["started"] = time.time() - 1800
        (folder / name).mkdir(parents=True)
        (folder / name / "progress.json").write_text(json.dumps(record))
    (folder / "ef/scored/.exitcode").write_text("0")


def write_inputs(folder: Path) -> None:
    for name in ("a.h5ad", "b, 'c'.h5ad", "c;d.h5ad", "g[1]*.h5ad", "empty.csv"):
        (folder / name).touch()
    for name in (LONG, "é 細胞 'x'\"y.h5ad"):
        (folder / name).touch()
    (folder / "dangling.h5ad").symlink_to("nowhere.h5ad")
    (folder / "a folder").mkdir()
    (folder / "folder.zarr").mkdir()
    (folder / "$HOME {a,b}.zarr/X").mkdir(parents=True)
    rows = [
        "sample , path,x",
        "s1,a.h5ad,1",
        "",
        '"s ""2""","b, \'c\'.h5ad",',
        "s3,none.h5ad",
        ",,",
    ]
    rows += ["s4,g[1]*.h5ad,3", f"s5,{folder}/a.h5ad,"]
    (folder / "sheet.csv").write_text("\ufeff" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    (folder / "sheet.tsv").write_text("path\tsample\na.h5ad\ts1\n", encoding="utf-8")
    semicolons = '\ufeff"sample";path;size\r\none;a.h5ad;1.5\r\ntwo;"c;d.h5ad";"2,5"\r\n;;\r\n'
    (folder / "sheet_semicolon.csv").write_text(semicolons, encoding="utf-8")
    (folder / "spelled.csv").write_text("Sample,Path\ns1,a.h5ad\n")
    (folder / "sheet.yaml").write_text("- {sample: s1, path: a.h5ad}\n- sample: 5\n")
    (folder / "sheet.json").write_text('[{"sample": "s1", "path": "a.h5ad"}, 3]')
    (folder / "broken.json").write_text('[{"sample": "s1", "pa')
    (folder / "bulk.csv").write_text("gene,s1\nA,2\n")
    with zipfile.ZipFile(folder / "store.zip", "w") as store:
        for name in ("sheet.csv", "cells.h5ad"):
            store.writestr(name, "")
    for base in ("model", "moved/a base", "fetched"):
        (folder / base).mkdir(parents=True)
        for name in (*WHOLE, "README.md", "pytorch_model.bin", ".hidden.json"):
            (folder / base / name).touch()
    (folder / "fetched" / "c2s_source.json").touch()
    bases = {
        "moved/results/model": '{"base_model_name_or_path": "./a base"}',
        "adapter": '{"base_model_name_or_path": "model", "revision": null}',
        "hub_adapter": '{"base_model_name_or_path": "someone/base", "revision": "v1"}',
        "broken_adapter": "{",
    }
    for name, config in bases.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "adapter_config.json").write_text(config)
        for other in ("adapter_model.safetensors", *WHOLE[:2], "tokenizer.json"):
            (folder / name / other).touch()


PLACES = ["/scratch/work", "/home/x/run/results", "/home/x/run"]  # work folder, results, launch
WITHOUT_ROOM = """FileException: /scratch/work/1 -> /home/x/run/results/2: No space left on device
/home/x/run/.nextflow/cache: Disk quota exceeded
/scratch/work/1a/2b: Permission denied
[Errno 28] No space left on device: '/tmp/x'"""


@pytest.fixture(scope="module", params=["24.10", "25.04-strict", "26.04"])
def answers(request, tmp_path_factory, nextflow_home) -> dict:
    folder = tmp_path_factory.mktemp("functions")
    write_inputs(folder)
    write_progress(folder / "progress")
    cases = {
        "options": OPTIONS,
        "inputs": {name: sheet_paths(folder / name) for name in INPUTS},
        "models": list(MODELS | BASE_IDS),
    }
    cases |= {"profiles": list(PROFILES), "outdirs": list(OUTDIRS)}
    cases |= {"places": PLACES, "failure": WITHOUT_ROOM}
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    nextflow = Nextflow(folder, nextflow_home, request.param)
    docker = folder / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\necho 'permission denied while connecting' >&2\nexit 1\n")
    docker.chmod(0o755)
    nextflow.env["PATH"] = f"{docker.parent}:{nextflow.env['PATH']}"
    run = nextflow.run(
        "--cases", folder / "cases.json", script=ROOT / "tests/pipeline/functions.nf"
    )
    return json.loads(re.search(r"^\{.*\}$", run.output, re.MULTILINE)[0])


def test_options_reach_a_script_as_they_are(answers):
    assert answers["arguments"] == [
        "--empty=",
        "--fraction=0.5",
        f"--lines={OPTIONS['lines']}",
        f"--nasty={NASTY}",
        "--no-no-flag",
        "--number=-1",
        "--plain=text",
        "--yes-flag",
    ]


@pytest.mark.parametrize("name", INPUTS)
def test_input_is_found(answers, name):
    is_sheet, files, rows = INPUTS[name]
    assert answers["inputs"][name] == [name if is_sheet else None, files, rows]


def test_files_beside_a_samplesheet_in_a_store(answers):
    found = [re.fullmatch(r"jar:file:.*/store\.zip!/(.+)", uri) for uri in answers["in_store"]]
    assert [match and match[1] for match in found] == ["sheet.csv", "cells.h5ad"]


@pytest.mark.parametrize("name", MODELS)
def test_model_is_found(answers, name):
    assert answers["models"][name] == MODELS[name]
    assert answers["fetched"][name] == FETCHED[name]


@pytest.mark.parametrize("name", BASE_IDS)
def test_a_base_is_named_by_no_absolute_path(answers, name):
    assert answers["base_ids"][name] == BASE_IDS[name]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_profile_needs_is_on_this_machine(answers, profile):
    for program in ("ch-run", "bsub"):
        if any(program in line for line in PROFILES[profile]) and shutil.which(program):
            pytest.skip(f"{program} is installed")
    assert answers["places"][profile] == [f"-profile {line}" for line in PROFILES[profile]]


@pytest.mark.parametrize("outdir", OUTDIRS)
def test_results_go_to_a_folder(answers, outdir):
    found = answers["outdirs"][outdir]
    if OUTDIRS[outdir] is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(f"--outdir {outdir}: ")
        assert OUTDIRS[outdir] in found[0]


def test_a_disk_without_room_is_named_by_the_file_that_had_none(answers):
    assert answers["full"] == ["/home/x/run/results", "/home/x/run"]


def test_progress_is_logged_once(answers):
    # Of 5 tasks of EMBED 1 is done and 2 run: 2 wait, with 900 cells each as far as is known. 1,700
    # cells took 90 s, and two tasks run side by side.
    embed = "EMBED: 1,700 of about 4,500 cells (38 %), 38 a second, about 2 min left"
    finetune = "FINETUNE: 3 of 5000 steps (0 %), 0.10 a second, about 13 h 53 min left"
    first, second = answers["progress"]
    (running,) = second  # no other has moved
    assert re.fullmatch("EVALUATE: running for 3[01] min", running)
    assert sorted(first) == [embed, running, finetune.replace("5000", "5,000")]


def test_another_base_is_fetched_for_an_adapter(answers):
    fetched = {"model": "someone/else", "model_revision": "main"}
    assert answers["other_base"] == [*ADAPTER, WHOLE[0], fetched]


def test_code_of_a_step_is_all_it_imports(answers):
    steps = {path.name for path in (ROOT / "modules").glob("*/")}
    assert {*steps, "versions"} == set(answers["closures"])
    for step, files in answers["closures"].items():
        own = ROOT / f"bin/c2sflow/steps/{step}.py"
        assert set(files) == {str(path.relative_to(ROOT / "bin")) for path in closure(own)}, step
