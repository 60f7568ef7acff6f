"""The demo's data: two samples that together are the published cells."""

import anndata as ad
import numpy as np
import pandas as pd

from c2sflow.data.demo import demo_samples, write_demo


def test_demo_is_the_published_data(tmp_path, pbmc):
    sheet = write_demo(tmp_path)
    assert sheet.read_text().splitlines() == [
        "sample,path,organism",
        "lane_1,lane_1.h5ad,human",
        "lane_2,lane_2.h5ad,human",
    ]
    samples = [ad.read_h5ad(tmp_path / f"lane_{number}.h5ad") for number in (1, 2)]
    assert [sample.n_obs for sample in samples] == [350, 350]
    assert np.array_equal(np.vstack([sample.X.toarray() for sample in samples]), pbmc.X.toarray())
    assert [*samples[0].obs_names, *samples[1].obs_names] == list(pbmc.obs_names)
    lanes = [set(sample.obs_names.str.split("-").str[-1]) for sample in samples]
    assert lanes == [set("1234"), set("5678")]  # of one donor's library
    assert set(samples[0].obs["bulk_labels"]) == set(samples[1].obs["bulk_labels"])


def test_split_is_a_fifth_of_every_label_and_what_the_model_never_saw(demo_model):
    cells = pd.concat([sample.obs for sample in demo_samples().values()])
    test = cells["split"] == "test"
    assert (test.sum(), (cells["split"] == "train").sum()) == (140, 560)
    sizes = cells["bulk_labels"].value_counts()
    held_out = cells.loc[test, "bulk_labels"].value_counts().reindex(sizes.index)
    assert (abs(held_out - sizes / 5) < 1).all()
    assert list(cells.index[test]) == (demo_model / "heldout_cells.txt").read_text().split()
