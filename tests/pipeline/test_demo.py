"""The demo, run once: what it gives, and that -resume runs nothing again.

All tests of that run are in this file: pytest-xdist gives a file to one worker (--dist loadfile).
"""

import json
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from driving import DEMO

pytestmark = pytest.mark.pipeline


def test_demo_gives_every_result(demo):
    outdir = demo.folder / "results"
    assert "not normalised again" in demo.first.output
    assert "Traceback" not in demo.first.output
    embedded = ad.read_h5ad(outdir / "c2s.h5ad")
    assert embedded.n_obs == sum(
        json.loads(path.read_text())["n_cells_kept"] for path in (outdir / "qc").glob("*.json")
    )
    assert list(embedded.obs["sample"].unique()) == ["donor_1", "donor_2"]
    vectors = embedded.obsm["X_c2s"]
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert (vectors.std(axis=0) > 0).all()

    predicted = ad.read_h5ad(outdir / "c2s_perturbed.h5ad")
    assert set(predicted.obs["source_cell"]) <= set(embedded.obs_names)
    assert predicted.obs["perturbation"].nunique() == 2
    assert predicted.obsm["X_c2s"].shape == (predicted.n_obs, vectors.shape[1])
    summary = pd.read_csv(outdir / "perturbation/summary.tsv", sep="\t")
    assert summary["n_predictions"].sum() == predicted.n_obs

    assert "</html>" in (outdir / "report.html").read_text(encoding="utf-8")
    software = (outdir / "pipeline_info/software_versions.yml").read_text()
    assert re.search(r"^EMBED:\n(  .*\n)*?  torch: \d", software, re.MULTILINE)


def test_resume_runs_nothing_again(demo):
    before = (demo.folder / "results/c2s.h5ad").read_bytes()
    assert not demo.run(*DEMO, "-resume").submitted
    assert (demo.folder / "results/c2s.h5ad").read_bytes() == before
