"""Runs whose input, model and results are in a bucket of S3."""

import anndata as ad
import numpy as np
import pytest
from cloud import BUCKET
from driving import ROOT, copy_project
from hub import serving

pytestmark = pytest.mark.pipeline

# From the samplesheet to c2s.h5ad and the report.
FEW_STEPS = (
    *("--min_genes", 10, "--max_genes", 50, "--label_column", "bulk_labels", "--evaluate", "false"),
)
IN_BUCKET = (
    *("--input", f"{BUCKET}/data/samplesheet.csv", "--model", f"{BUCKET}/models/demo"),
    *("--model_cache", f"{BUCKET}/cache"),
)


@pytest.fixture(scope="module")
def first(nextflow):
    return nextflow.run(*FEW_STEPS, *IN_BUCKET, "--outdir", f"{BUCKET}/results")


def test_results_are_in_the_bucket(first, aws, tmp_path):
    made = aws.keys("results")
    info = {"params.json", "software_versions.yml", "verdict.json"}
    assert made >= {"c2s.h5ad", "report.html"} | {f"pipeline_info/{name}" for name in info}
    assert not [name for name in made if "partial" in name]
    aws("s3", "cp", "--quiet", f"{BUCKET}/results/c2s.h5ad", tmp_path)
    cells = ad.read_h5ad(tmp_path / "c2s.h5ad")
    assert cells.obs["sample"].value_counts().to_dict() == {"lane_1": 350, "lane_2": 350}
    assert np.isfinite(cells.obsm["X_c2s"]).all()
    assert f"{BUCKET}/models/demo" in str(cells.uns["c2s"])
    assert f"  {BUCKET}/results/c2s.h5ad\n" in first.output


def test_the_log_has_no_warning_of_its_own_and_no_secret(first, nextflow, aws):
    assert "evaluates to an empty value" not in first.output
    secret = aws.env["AWS_SECRET_ACCESS_KEY"]
    assert secret not in first.output
    assert secret not in (nextflow.folder / ".nextflow.log").read_text()


def test_resume_runs_nothing_again(first, nextflow):
    again = nextflow.run(*FEW_STEPS, *IN_BUCKET, "--outdir", f"{BUCKET}/results", "-resume")
    assert not again.submitted
    assert again.cached == first.submitted


def test_what_cannot_be_looked_up_is_reported_before_anything_is_submitted(nextflow):
    places = ("--model", "s3://nobodys/model", "--outdir", "s3://nobodys/results")
    run = nextflow.run(*FEW_STEPS, *IN_BUCKET, *places, status=None)
    assert run.status != 0
    assert not run.submitted
    for option, path in (places[:2], places[2:]):
        assert f"{option} {path}: The specified bucket does not exist" in run.output


def test_a_missing_file_is_a_fault_of_its_row(nextflow, aws, tmp_path):
    odd = f"{BUCKET}/data/$HOME lane {{2}}.h5ad"  # what bash would change
    aws("s3", "cp", "--quiet", f"{BUCKET}/data/lane_2.h5ad", odd)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"sample,path\na,{odd}\nb,{BUCKET}/data/gone.h5ad\n")
    run = nextflow.run(
        *(*FEW_STEPS, *IN_BUCKET, "--input", sheet, "--outdir", f"{BUCKET}/none"), status=None
    )
    assert run.status != 0
    assert "1 fault in the input" in run.output
    assert f"b ({BUCKET}/data/gone.h5ad): no such file, or no right to read it" in run.output
    assert set(run.submitted) == {"SHEET", "VALIDATE"}


@pytest.mark.usefixtures("first")
def test_a_refused_upload_fails_the_run_and_leaves_no_result_that_looks_whole(nextflow, aws):
    """The server refuses to take what is named c2s.h5ad in this folder: see aws_server.py."""
    run = nextflow.run(
        *FEW_STEPS, *IN_BUCKET, "--outdir", f"{BUCKET}/refused", "-resume", status=None
    )
    assert run.status != 0
    assert "Done in" not in run.output
    assert "c2s.h5ad" not in aws.keys("refused")


FETCHING = """
include { FETCH } from './modules/fetch'
include { fetchedFiles } from './modules/inputs'
workflow {
    FETCH(channel.value([model: 'someone/model', model_revision: 'main']))
    FETCH.out.folder.map { folder -> fetchedFiles(folder).collect { file -> file.name } }.view()
}
"""


def test_a_model_whose_upload_was_cut_is_fetched_again(nextflow, aws, tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "main.nf").write_text(FETCHING)
    weights = f"{BUCKET}/cache/someone--model@main/model.safetensors"
    with serving(ROOT / "assets/demo_model", tmp_path / "repository") as hub:
        nextflow.env |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
        nextflow.env["HF_HOME"] = str(tmp_path / "hf")

        def fetch(status=0):
            return nextflow.run("--model_cache", f"{BUCKET}/cache", script=project, status=status)

        assert fetch().submitted == {"FETCH": 1}
        again = fetch()
        assert not again.submitted
        assert "model.safetensors" in again.output
        (tmp_path / "cut").write_bytes(b"some")
        aws("s3", "cp", "--quiet", tmp_path / "cut", weights)
        cut = fetch(status=None)
        assert cut.status != 0
        assert (
            "s3://lab/cache/someone--model@main: the model was not copied there whole" in cut.output
        )
        assert not aws.keys("cache")
        assert fetch().submitted == {"FETCH": 1}
        assert "model.safetensors" in " ".join(aws.keys("cache"))
