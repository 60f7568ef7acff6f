"""census:// on a real Census, which is small and on this machine."""

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from driving import ROOT

HUMAN = "census://homo_sapiens"
LUNG = f"{HUMAN}?tissue_general=lung&disease=Crohn's disease&uri=census"


def same(found: ad.AnnData, expected: ad.AnnData) -> None:
    """Cells, in their order, with counts and columns."""
    assert (found.X != expected.X).nnz == 0
    assert found.X.dtype == np.float32
    for column in expected.obs:
        assert found.obs[column].tolist() == expected.obs[column].tolist(), column
    assert found.var_names.tolist() == expected.var_names.tolist()
    assert found.var["feature_name"].tolist() == expected.var["feature_name"].tolist()


def test_the_cells_are_those_of_the_query(census, tmp_path):
    query = f"{LUNG}&cell_type=CD19%2B B&cell_type=Dendritic"
    done = census.select(query, tmp_path)
    assert done.returncode == 0, done.stderr
    whole, found = ad.read_h5ad(census.whole), ad.read_h5ad(tmp_path / "census.h5ad")
    obs = whole.obs
    rows = (obs["tissue_general"] == "lung") & (obs["disease"] == "Crohn's disease")
    rows &= obs["cell_type"].isin(["CD19+ B", "Dendritic"])
    assert 10 < rows.sum() < 50
    same(found, whole[rows])
    assert found.obs_names.tolist() == [str(number) for number in np.flatnonzero(rows)]
    assert list(found.obs["cell_type"].cat.categories) == ["CD19+ B", "Dendritic"]
    assert found.uns["organism"] == "Homo sapiens"


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        (f"{HUMAN}?uri=x", slice(0, 700)),
        (f"{HUMAN}?is_primary_data=false&uri=x", slice(700, 800)),
        (f"{HUMAN}?is_primary_data=true&is_primary_data=false&uri=x", slice(0, 800)),
        (f"{HUMAN}?barcode=cell 3&uri=x", slice(3, 4)),
    ],
)
def test_copies_of_cells_are_left_out_unless_asked_for(census, tmp_path, query, rows):
    done = census.select(query, tmp_path)
    assert done.returncode == 0, done.stderr
    same(ad.read_h5ad(tmp_path / "census.h5ad"), ad.read_h5ad(census.whole)[rows])


def test_blocks_of_cells_are_put_together(census, tmp_path):
    code = (
        "from c2sflow.data import census; census.BLOCK = 64; "
        f"print(census.write_census({str(tmp_path / 'c.h5ad')!r}, 'homo_sapiens', {{}}, "
        f"uri={str(census.store)!r}))"
    )
    done = census.python("-c", code)
    assert done.stdout == "700\n", done.stderr
    same(ad.read_h5ad(tmp_path / "c.h5ad"), ad.read_h5ad(census.whole)[:700])


FAULTS = {
    "?tissue_general=lun&dissease=normal&cell_type=b&uri=x": [
        "tissue_general has no value 'lun'; did you mean lung?",
        "the Census has no column dissease; did you mean disease?",
        "cell_type has no value 'b'; did you mean CD19+ B",
    ],
    "?cell_type=xyz&uri=x": ["it has CD14+ Monocyte, CD19+ B, CD34+, "],
    "?nnz=3&uri=x": ["nnz holds numbers (int32)"],
    "?is_primary_data=yes&uri=x": ["is_primary_data has no value 'yes'; it has false, true"],
    "?tissue_general=lung&is_primary_data=false&uri=x": [
        "no cell of the Census has all of this",
        "is_primary_data == False): 100",
        "tissue_general in ['lung']: 350",
    ],
}


@pytest.mark.parametrize("query", FAULTS)
def test_what_the_census_has_not_is_one_clear_message(census, tmp_path, query):
    done = census.select(f"{HUMAN}{query}", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {HUMAN}{query}: ")
    assert done.stderr.count("\n") == 1
    for part in FAULTS[query]:
        assert part in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_organism_that_is_not_there(census, tmp_path):
    done = census.select("census://homo_sapien?uri=x", tmp_path)
    assert "no organism homo_sapien; did you mean homo_sapiens?" in done.stderr


def test_a_folder_that_holds_no_census(census, tmp_path):
    words = ("census", "--query", f"{HUMAN}?uri={tmp_path}", "--outdir", tmp_path)
    done = census.python(ROOT / "bin/c2s", *words)
    assert done.returncode == 1
    assert f"{tmp_path}: no Census can be opened there (" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def releases(census, tmp_path):
    """Address of a list of releases, with the Census of this machine as one."""
    listed = {
        "stable": "2025-01-30",
        "2025-01-30": {
            "release_build": "2025-01-30",
            "soma": {"relative_uri": str(census.store), "uri": "", "s3_region": None},
            "h5ads": {"relative_uri": "", "uri": "", "s3_region": None},
            "flags": {"lts": True},
        },
    }
    mirror = {"provider": "file", "base_uri": "file:///", "region": None}
    mirrors = {"default": "here", "here": {**mirror, "embeddings_base_uri": ""}}
    served = tmp_path / "served"
    served.mkdir()
    (served / "release.json").write_text(json.dumps(listed))
    (served / "mirrors.json").write_text(json.dumps(mirrors))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def released(census, url, query, outdir):
    words = ("census", "--query", query, "--outdir", outdir)
    return census.python(ROOT / "tests/census/with_releases.py", url, *words)


def test_a_release_is_found_by_its_date(census, releases, tmp_path):
    done = released(census, releases, f"{HUMAN}?version=2025-01-30", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Census 2025-01-30, homo_sapiens: 700 cells x 765 genes" in done.stderr
    same(ad.read_h5ad(tmp_path / "census.h5ad"), ad.read_h5ad(census.whole)[:700])


def test_a_release_that_there_is_not(census, releases, tmp_path):
    done = released(census, releases, f"{HUMAN}?version=2025-01-3", tmp_path)
    assert "the Census has no version=2025-01-3; did you mean 2025-01-30?" in done.stderr
    assert done.returncode == 1


def test_without_network(census, tmp_path):
    done = released(census, "http://127.0.0.1:1", f"{HUMAN}?version=2025-01-30", tmp_path)
    assert done.returncode == 1
    assert (
        "the Census cannot be reached from here (ConnectionError: http://127.0.0.1:1/"
        in done.stderr
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.pipeline
def test_a_run_on_two_queries_and_a_file(census, nextflow, tmp_path):
    """From a samplesheet; the Census lies beside it, by a relative path."""
    (tmp_path / "my census").symlink_to(census.store)
    (tmp_path / "lane.h5ad").symlink_to(census.store.parent / "lane_1.h5ad")
    place = "uri=my census"
    rows = {
        "lung": f"{HUMAN}?tissue_general=lung&disease=Crohn's disease&{place}",
        "blood": f"{HUMAN}?tissue_general=blood&disease=Crohn's disease&{place}",
        "lane": "lane.h5ad",
    }
    pd.Series(rows, name="path").to_csv(tmp_path / "sheet.csv", index_label="sample")
    options = (
        *("--input", tmp_path / "sheet.csv", "--model", "demo", "--evaluate", "false"),
        *("--min_genes", 10, "--max_genes", 50, "--organism", "human"),
    )
    run = nextflow.run(*options)
    assert run.submitted["CENSUS"] == 2
    cells = ad.read_h5ad(tmp_path / "results/c2s.h5ad")
    assert cells.obs["sample"].value_counts().to_dict() == {"lung": 50, "blood": 50, "lane": 350}
    assert np.isfinite(cells.obsm["X_c2s"]).all()
    versions = (tmp_path / "results/pipeline_info/software_versions.yml").read_text()
    assert "CENSUS:\n  python: " in versions
    assert "  cellxgene-census: 1." in versions
    again = nextflow.run(*options, "-resume")
    assert again.cached["CENSUS"] == 2
    assert not {"CENSUS", "QC"} & set(again.submitted)


@pytest.mark.pipeline
def test_a_run_whose_query_is_wrong(nextflow):
    run = nextflow.run("--input", f"{HUMAN}?tissue_general=lung", "--model", "demo", status=None)
    assert run.status != 0
    assert f"error: {HUMAN}?tissue_general=lung: no version; name one by its date" in run.output
    assert "Traceback" not in run.output
    assert set(run.submitted) == {"CENSUS"}
