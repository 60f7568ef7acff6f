"""The Groovy functions of the modules, called once by functions.nf."""

import json
import re
from pathlib import Path

import pytest
from driving import ROOT, Nextflow
from importing import closure

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
    "": (False, [], [None]),
    "s3://bucket/without-plugin.h5ad": (False, [], [None]),
}
ADAPTER = ["adapter_config.json", "adapter_model.safetensors"]
MODELS = {
    "model": ["config.json", "model.safetensors", "tokenizer.json"],
    "folder.zarr": ["folder.zarr"],  # no model: VALIDATE says so
    "someone/some-model": [],
    # An adapter comes with its base, if that is here; of the adapter's own folder nothing else.
    "adapter": [*ADAPTER, "config.json", "model.safetensors", "tokenizer.json"],
    "hub_adapter": ADAPTER,
    "broken_adapter": ADAPTER,
}
# What is still to be fetched; {}: the model itself.
FETCHED = {
    "model": None,
    "folder.zarr": None,
    "someone/some-model": {},
    "adapter": None,
    "hub_adapter": {"model": "someone/base", "model_revision": "v1"},
    "broken_adapter": {"model": None, "model_revision": "main"},
}


def write_inputs(folder: Path) -> None:
    for name in ("a.h5ad", "b, 'c'.h5ad", "c;d.h5ad", "g[1]*.h5ad", "empty.csv"):
        (folder / name).touch()
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
    (folder / "model").mkdir()
    for name in (*MODELS["model"], "README.md", "pytorch_model.bin", ".hidden.json"):
        (folder / "model" / name).touch()
    bases = {
        "adapter": '{"base_model_name_or_path": "model", "revision": null}',
        "hub_adapter": '{"base_model_name_or_path": "someone/base", "revision": "v1"}',
        "broken_adapter": "{",
    }
    for name, config in bases.items():
        (folder / name).mkdir()
        (folder / name / "adapter_config.json").write_text(config)
        for other in ("adapter_model.safetensors", "config.json", "tokenizer.json"):
            (folder / name / other).touch()


@pytest.fixture(scope="module", params=["24.10", "25.04-strict", "26.04"])
def answers(request, tmp_path_factory, nextflow_home) -> dict:
    folder = tmp_path_factory.mktemp("functions")
    write_inputs(folder)
    cases = {"options": OPTIONS, "inputs": list(INPUTS), "models": list(MODELS)}
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    nextflow = Nextflow(folder, nextflow_home, request.param)
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


@pytest.mark.parametrize("name", MODELS)
def test_model_is_found(answers, name):
    assert answers["models"][name] == MODELS[name]
    assert answers["fetched"][name] == FETCHED[name]


def test_another_base_is_fetched_for_an_adapter(answers):
    fetched = {"model": "someone/else", "model_revision": "main"}
    assert answers["other_base"] == [*ADAPTER, fetched]


def test_code_of_a_step_is_all_it_imports(answers):
    steps = {path.stem.removeprefix("c2s_") for path in (ROOT / "modules").glob("*/")}
    assert {f"c2s_{step}.py" for step in (*steps, "versions")} == set(answers["closures"])
    for script, files in answers["closures"].items():
        expected = {str(path.relative_to(ROOT / "bin")) for path in closure(ROOT / "bin" / script)}
        assert set(files) == expected, script
