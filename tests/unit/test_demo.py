"""The demo's data: two samples that together are the published cells."""

import anndata as ad
import numpy as np
import pandas as pd

from c2sflow.demo import demo_samples, write_demo


def test_demo_is_the_published_data(tmp_path, pbmc):
    sheet = write_demo(tmp_path)
    assert sheet.read_text().splitlines() == [
        "sample,path,organism",
        "donor_1,donor_1.h5ad,human",
        "donor_2,donor_2.h5ad,human",
    ]
    donors = [ad.read_h5ad(tmp_path / f"donor_{number}.h5ad") for number in (1, 2)]
    assert [donor.n_obs for donor in donors] == [350, 350]
    assert np.array_equal(np.vstack([donor.X.toarray() for donor in donors]), pbmc.X.toarray())
    assert [*donors[0].obs_names, *donors[1].obs_names] == list(pbmc.obs_names)
    lanes = [set(donor.obs_names.str.split("-").str[-1]) for donor in donors]
    assert lanes == [set("1234"), set("5678")]  # of one library: no donors
    assert set(donors[0].obs["bulk_labels"]) == set(donors[1].obs["bulk_labels"])


def test_split_is_a_fifth_of_every_label_and_what_the_model_never_saw(demo_model):
    cells = pd.concat([sample.obs for sample in demo_samples().values()])
    test = cells["split"] == "test"
    assert (test.sum(), (cells["split"] == "train").sum()) == (140, 560)
    sizes = cells["bulk_labels"].value_counts()
    held_out = cells.loc[test, "bulk_labels"].value_counts().reindex(sizes.index)
    assert (abs(held_out - sizes / 5) < 1).all()
    assert list(cells.index[test]) == (demo_model / "heldout_cells.txt").read_text().split()
