"""The flow itself, with the stubs of the processes: which tasks run, on every engine."""

import json
import re
import shutil

import pytest
from driving import ROOT, Nextflow

pytestmark = pytest.mark.pipeline

STUB_DEMO = ("-profile", "demo", "-stub-run", "--outdir", "out put")
TASKS = {
    "DEMO": 1,
    "SHEET": 1,
    "VALIDATE": 1,
    "MODEL": 1,
    "QC": 2,
    "SENTENCES": 2,
    "FINETUNE": 1,
    "TUNED_MODEL": 1,
    "CARD": 1,
    "EMBED": 6,
    "ANNOTATE": 6,
    "GENERATE": 2,
    "CHOOSE": 1,
    "ATTENTION": 1,
    "PAIRS": 1,
    "PLAN": 1,
    "PERTURB": 4,
    "EFFECTS": 1,
    "EVALUATE": 1,
    "MERGE": 1,
    "REPORT": 1,
}
RECORD = {
    "dag.html",
    "execution_report.html",
    "execution_timeline.html",
    "execution_trace.tsv",
    "params.json",
    "software_versions.yml",
    "verdict.json",
}


def parameters() -> dict:
    schema = json.loads((ROOT / "nextflow_schema.json").read_text(encoding="utf-8"))
    groups = schema["$defs"].values()
    return {name: entry for group in groups for name, entry in group["properties"].items()}


# (25.04 as it comes runs the demo in test_demo_run.)
@pytest.mark.parametrize("engine", ["24.10", "25.04-strict", "26.04"])
def test_every_engine_runs_the_flow(engine, tmp_path, nextflow_home):
    asked_for = ("--attention_maps", "20", "--generate", "9", "--finetune", "cell_type")
    run = Nextflow(tmp_path, nextflow_home, engine).run(*STUB_DEMO, *asked_for)
    assert run.submitted == TASKS
    outdir = tmp_path / "out put"
    results = ["c2s.h5ad", "c2s_perturbed.h5ad", "c2s_generated.h5ad", "report.html"]
    assert all(str(outdir / name) in run.output for name in results)
    files = {str(path.relative_to(outdir)) for path in outdir.rglob("*") if path.is_file()}
    assert files == {
        *results,
        *(f"perturbation/{name}.tsv" for name in ("summary", "perturbation_effects", "screen")),
        "attention/attention_pairs.tsv",
        "generation/summary.tsv",
        "evaluation/reconstruction.tsv",
        *(f"finetuned/{name}" for name in ("finetune.json", "loss.tsv", "splits.tsv")),
        *(f"finetuned/model/{name}" for name in ("config.json", "model.safetensors")),
        *(f"finetuned/model/{name}" for name in ("tokenizer.json", "README.md")),
        *(f"attention/sample_{n}.0000{shard}.attention.h5" for n in (0, 1) for shard in (0, 2)),
        "qc/sample_0.json",
        "qc/sample_1.json",
        *(f"pipeline_info/{name}" for name in RECORD),
    }
    assert json.loads((outdir / "pipeline_info/params.json").read_text())["outdir"] == "out put"
    # What is not at its default is said first; nothing else is.
    assert re.search(r"^  profile +demo$", run.output, re.MULTILINE)
    assert re.search(r"^  outdir +out put$", run.output, re.MULTILINE)
    assert re.search(r"^  attention_maps +20$", run.output, re.MULTILINE)
    assert not re.search(r"^  (seed|skip_qc|max_pct_mt) ", run.output, re.MULTILINE)


def test_help_lists_what_matters_and_help_full_everything_and_neither_writes(nextflow):
    short, full = nextflow.run("--help").output, nextflow.run("--help_full").output
    for name, entry in parameters().items():
        hidden = entry.get("hidden", False)
        assert re.search(rf"^  --{name} +{re.escape(entry['description'])}", short, re.M) or hidden
        assert not (hidden and re.search(rf"^  --{name} ", short, re.M)), name
        assert hidden or entry["advice"] in short
        kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
        line = rf"^  --{name} +{' or '.join(kinds)} +{re.escape(entry['description'])}.*$"
        found = re.search(line, full, re.M)
        assert found, name
        default = entry.get("default")
        shown = json.dumps(default) if isinstance(default, bool) else default
        assert default is None or f"[default: {shown}]" in found[0]
    assert f"All {len(parameters())} parameters: --help_full" in short
    assert not (nextflow.folder / "results").exists()
    nextflow.env["LC_ALL"] = "C"  # that of cron, or of nobody's session: our files are UTF-8
    one = nextflow.run("--help", "min_genes").output
    assert parameters()["min_genes"]["description"] in one
    assert parameters()["min_genes"]["advice"] in one
    assert re.search(r"type +integer, at least 0\n +default +200", one)
    assert "--min_cells" not in one


def test_schema_and_config_agree_on_defaults(nextflow):
    lines = nextflow("config", ROOT, "-flat").output.splitlines()
    config = dict(line.split(" = ", 1) for line in lines if line.startswith("params."))
    defaults = {name: entry.get("default") for name, entry in parameters().items()}
    assert {name.removeprefix("params.") for name in config} == set(defaults)
    for name, value in defaults.items():
        text = value if isinstance(value, str) else json.dumps(value)
        assert config[f"params.{name}"].strip("'") == text


def test_a_hub_model_is_fetched_once_and_what_is_not_asked_for_not_made(nextflow):
    cells = nextflow.folder / "cells.h5ad"
    cells.touch()
    (nextflow.folder / "o/perturbation").mkdir(parents=True)
    arguments = ("-stub-run", "--input", cells, "--model", "someone/some-model", "--outdir", "o")
    arguments += ("--publish_shards", "--evaluate", "false")
    run = nextflow.run(*arguments)
    assert run.submitted["FETCH"] == 1
    assert (nextflow.folder / "model_cache/someone--some-model@main/config.json").exists()
    asked_for = {"DEMO", "PLAN", "PERTURB", "EFFECTS", "CHOOSE", "ATTENTION", "PAIRS", "ANNOTATE"}
    asked_for |= {"GENERATE", "FINETUNE", "CARD"}
    assert not run.submitted.keys() & asked_for
    old, own = run.output.split("Of an earlier run, and not of this one:")[1].split("Done in")
    assert old.split() == [str(nextflow.folder / "o/perturbation")]
    own = own.split(":\n")[1].split()  # the duration may be of two words
    assert own == [str(nextflow.folder / f"o/{n}") for n in ("c2s.h5ad", "report.html")]
    assert not (nextflow.folder / "o/c2s_perturbed.h5ad").exists()
    assert not (nextflow.folder / "o/attention").exists()
    assert not (nextflow.folder / "o/evaluation").exists()
    assert not (nextflow.folder / "o/finetuned").exists()
    assert len(list((nextflow.folder / "o/shards").glob("*.parquet"))) == 3
    assert len(list((nextflow.folder / "o/shards").glob("*.embedding.h5ad"))) == 3
    again = nextflow.run(*arguments, "-resume")
    assert not again.submitted
    assert again.cached["EMBED"] == 3
    # What the log ends with, and the page's rows about the run, are of each run, resumed or not.
    for one in (run, again):
        end = one.output.split("All warnings (once more):")[1].split("Done in")[0]
        assert re.search(r"stub: no warning\s+Verdict.*\n +poor +stub: no figure", end)
    page = (nextflow.folder / "o/report.html").read_text()
    assert re.search(r"Command line</th><td[^>]*>nextflow run .* -resume</td>", page)
    assert re.search(r"Run name</th><td[^>]*>\w+_\w+</td>", page)
    assert re.search(r"Started</th><td[^>]*>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", page)
    assert "docs/output.md</a>" in page


def test_the_base_of_an_adapter_is_fetched(nextflow):
    adapter = nextflow.folder / "adapter"
    adapter.mkdir()
    base = '{"base_model_name_or_path": "someone/base", "revision": "v1"}'
    (adapter / "adapter_config.json").write_text(base)
    for name in ("adapter_model.safetensors", "config.json", "tokenizer.json"):
        (adapter / name).touch()
    (nextflow.folder / "cells.h5ad").touch()
    run = nextflow.run("-stub-run", "--input", "cells.h5ad", "--model", "adapter")
    assert run.submitted["FETCH"] == 1
    assert (nextflow.folder / "model_cache/someone--base@v1/model.safetensors").exists()
    embed = next((nextflow.folder / "work").glob("*/*/*.embed.json")).parent / "model"
    assert sorted(path.name for path in embed.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "c2s_source.json", "config.json",
        "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


def test_resume_runs_what_a_change_touches_and_nothing_else(nextflow, project):
    (nextflow.folder / "cells.h5ad").touch()
    one_sample = (*STUB_DEMO, "--input", "cells.h5ad", "--annotate", "false")

    def run(*arguments):
        return nextflow.run(*one_sample, "-resume", *arguments, script=project)

    def edit(name):
        with (project / "bin" / name).open("a", encoding="utf-8") as file:
            file.write("\n# edited\n")

    run()
    edit("c2sflow/model/embedding.py")
    after = run().submitted
    assert after.keys() >= {"EMBED", "EVALUATE", "MERGE", "REPORT"}
    assert not after.keys() & {"VALIDATE", "MODEL", "QC", "SENTENCES", "PLAN"}

    # What VALIDATE writes anew is a new input of EVALUATE and MERGE.
    checked = {"VALIDATE": 1, "EVALUATE": 1, "MERGE": 1, "REPORT": 1}
    asked_for = ("--max_new_tokens", "9", "--attention_maps", "4")
    predicting = {"PLAN": 1, "PERTURB": 2, "EFFECTS": 1}
    maps = {"CHOOSE": 1, "ATTENTION": 1, "PAIRS": 1}
    assert run(*asked_for).submitted == predicting | maps | checked

    (nextflow.folder / "other.gmt").touch()
    asked_for += ("--gene_sets", "other.gmt", "--context", "bulk_labels")
    assert run(*asked_for).submitted == {"EFFECTS": 1} | checked

    edit("c2sflow/perturbation/screen.py")
    edit("c2sflow/steps/report.py")
    assert run(*asked_for).submitted == {"EFFECTS": 1, "REPORT": 1}

    # Cells wait for the model to be checked, and do not depend on it.
    shutil.copytree(ROOT / "assets/demo_model", nextflow.folder / "other")
    other = run(*asked_for, "--model", "other")
    assert other.submitted.keys() >= {"VALIDATE", "MODEL", "EMBED", "MERGE", "REPORT"}
    assert not other.submitted.keys() & {"QC", "SENTENCES"}
    assert other.cached["QC"] == 1
