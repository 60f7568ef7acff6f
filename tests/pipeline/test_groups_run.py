"""Groups of cells, in prompts and in answers, by a Gemma-2 with its own tokenizer."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from families import write_gemma2

from c2sflow.data.demo import write_demo

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def gemma2(tmp_path_factory):
    """Random weights in bfloat16 and shards."""
    directory = tmp_path_factory.mktemp("gemma2")
    try:
        write_gemma2(directory, max_shard_size="30KB")
    except LookupError as reason:
        pytest.skip(f"no Gemma-2 tokenizer: {reason}")
    return directory


def test_groups_by_a_gemma2_with_its_own_tokenizer(nextflow, gemma2):
    """Each step on real cells, few of them; a group of the answers is what the prompts name.

    The model is trained on what is asked of it first: a step or two, which its answers do not show.
    """
    write_demo(nextflow.folder)
    lane = ad.read_h5ad(nextflow.folder / "lane_1.h5ad")
    lane[:30].copy().write_h5ad(nextflow.folder / "cells.h5ad")
    tissues = ["blood", 'it\'s `$x` "lung"']
    (nextflow.folder / "tissues.txt").write_text("\n".join(tissues))
    run = nextflow.run(
        *("-profile", "test", "--input", "cells.h5ad", "--model", gemma2, "--outdir", "out"),
        *("--cells_per_prompt", 4, "--group_by", "bulk_labels", "--interpret_groups"),
        *("--interpretation_tokens", 8, "--cell_types", "CD19+ B,Dendritic", "--max_genes", 20),
        *("--generate", 20, "--cells_per_answer", 3, "--tissues", "tissues.txt"),
        *("--temperature", 30, "--max_answer_genes", 4, "--generated_genes", 4),
        *("--finetune", "tissue,tissue_generation", "--tissue_column", "louvain"),
        *("--finetune_method", "full", "--max_steps", 2, "--split_column", "split"),
        *("--finetune_batch_tokens", 1024),
    )
    assert run.submitted["FINETUNE"] == 1
    record = json.loads((nextflow.folder / "out/finetuned/finetune.json").read_text())
    asked = {"cells_per_prompt": 4, "cells_per_answer": 3, "group_by": "bulk_labels"}
    assert record["options"].items() >= asked.items()
    assert record["tasks"] == {"tissue": 0.5, "tissue_generation": 0.5}
    assert (record["steps"], record["n_cells"]["train"]) == (2, 25)
    assert run.submitted["GENERATE"] == run.submitted["EMBED_GROUPS"] == 1
    groups = ad.read_h5ad(nextflow.folder / "out/c2s_groups.h5ad")
    assert np.isfinite(groups.obsm["X_c2s"]).all()
    assert groups.obs["c2s_interpretation"].notna().all()
    cells = ad.read_h5ad(nextflow.folder / "out/c2s.h5ad")
    made = ad.read_h5ad(nextflow.folder / "out/c2s_generated.h5ad")
    template = made.uns["c2s"]["prompts"]["generation"]
    assert "for {num_cells} different {organism} cells from a {tissue} tissue" in template
    assert list(made.obs["c2s_tissue"].cat.categories) == sorted(tissues)
    genes = set(cells.var_names.str.upper())
    for text in made.obs["c2s_sentence"]:
        words = text.split()
        assert 0 < len(words) == len(set(words)) <= 4
        assert set(words) <= genes
    assert (made.X.getnnz(axis=1) > 0).all()
    assert np.isfinite(made.obsm["X_c2s"]).all()
    members = made.obs.groupby("c2s_group", observed=True)["c2s_group_place"]
    assert all(sorted(own) == list(range(1, len(own) + 1)) for _, own in members)
    summary = pd.read_csv(nextflow.folder / "out/generation/summary.tsv", sep="\t")
    assert summary["n_groups"].tolist() == [7, 7]
    assert (summary["n_cells"] + summary["n_missing"]).tolist() == [20, 20]
    assert summary["n_cells"].sum() == made.n_obs > 14  # some answers hold several
    report = (nextflow.folder / "out/report.html").read_text()
    assert "One row per tissue" in report
    assert "asked for in one answer" in report
