"""The same cell twice is never trained on and held out."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import cells

from c2sflow.data.readers import open_anndata
from c2sflow.data.splits.twins import cell_keys, with_one_split
from c2sflow.sentences.shards import write_shards
from c2sflow.training.cells import read_splits, read_training_cells
from c2sflow.training.finetuning import finetune
from c2sflow.training.options import TrainingOptions

ORDER = ["test", "validation", "train"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*ORDER, "unused"]),
            st.sampled_from([None, "s1", "s2", "s3", "s4"]),
            st.sampled_from([None, 1, 2, 3]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_cells_that_are_the_same_have_one_split(drawn):
    splits = pd.DataFrame({"split": [split for split, *_ in drawn]})
    keys = pd.DataFrame([own for _, *own in drawn], columns=["sentence", "content"], dtype=object)
    found, n_moved = with_one_split(splits, keys)
    used = splits["split"] != "unused"
    assert (found["split"][~used] == "unused").all()
    pairs = [
        (a, b)
        for a, b in itertools.combinations(np.flatnonzero(used), 2)
        for name in keys
        if keys[name][a] is not None and keys[name][a] == keys[name][b]
    ]
    for a, b in pairs:
        assert found["split"][a] == found["split"][b]
    ranks = [[ORDER.index(name) for name in own["split"][used]] for own in (splits, found)]
    assert all(after <= before for before, after in zip(*ranks, strict=True))
    assert n_moved == sum(after < before for before, after in zip(*ranks, strict=True))
    linked = {cell for pair in pairs for cell in pair}
    alone = [cell for cell in np.flatnonzero(used) if cell not in linked]
    assert found["split"][alone].equals(splits["split"][alone])


@pytest.mark.parametrize("tie_break", ["random", "gene_order"])
def test_a_cell_under_two_names_is_known_by_its_values(tmp_path, tie_break):
    """Ties of its sentence stand in another order, for they go by the name."""
    data = cells(80)
    data.X = np.log1p(data.X.astype(np.float32))
    twins = data[:40].copy()
    twins.obs_names = [f"twin of {name}" for name in twins.obs_names]
    for name, sample in (("a", data), ("b", twins)):
        sample = sample.copy()
        sample.obs = pd.DataFrame({"sample": name, "c2s_split": "train"}, sample.obs_names)
        sample.write_h5ad(tmp_path / f"{name}.h5ad")
        with open_anndata(tmp_path / f"{name}.h5ad") as opened:
            write_shards(opened, [(0, sample.n_obs)], name, tmp_path, tie_break=tie_break)
    keys = cell_keys(sorted((tmp_path / "shards").iterdir()))
    assert (keys["content"][80:].to_numpy() == keys["content"][:40].to_numpy()).all()
    assert keys["content"][:80].nunique() == 80
    same = (keys["sentence"][80:].to_numpy() == keys["sentence"][:40].to_numpy()).mean()
    assert same == 1 if tie_break == "gene_order" else same < 0.5


def test_a_training_with_the_data_twice(training_data, tmp_path, random_model):
    """All of them under other names in another sample: none is trained on and held out."""
    shards = tmp_path / "shards"
    shards.mkdir()
    random = np.random.default_rng(0)
    for path in sorted((training_data / "shards").iterdir()):
        table = pd.read_parquet(path)
        table.to_parquet(shards / path.name)
        again = table.assign(sample="t", cell_id=[f"{name} again" for name in table["cell_id"]])
        again["c2s_split"] = random.choice(["train", "validation", "test"], len(table))
        again.to_parquet(shards / path.name.replace("s.", "t."))
    paths = sorted(shards.iterdir())
    options = TrainingOptions(
        "cell_type", label_column="label", max_steps=1, batch_tokens=300, device="cpu",
        dtype="float32",
    )  # fmt: skip
    sentences = sorted((training_data / "sentences").iterdir())
    finetune(paths, sentences, tmp_path, replace(options), random_model)
    record = json.loads((tmp_path / "finetune.json").read_text())
    told = pd.read_csv(tmp_path / "splits.tsv", sep="\t")
    given = read_splits(paths)
    n_moved = int((told["split"] != given["split"]).sum())
    assert record["n_twins"] == n_moved > 20
    assert any(
        text.startswith(f"{n_moved} cells are copies of a held-out") for text in record["warnings"]
    )
    texts = pd.concat(pd.read_parquet(path)["cell_sentence"] for path in paths)
    by_text = told["split"].groupby(texts.to_numpy()).nunique()
    assert by_text.max() == 1
    trained = read_training_cells(paths, [], "train", told.astype(str)).sentences.to_pylist()
    held = set(texts[(told["split"] != "train").to_numpy()])
    assert trained
    assert not held & set(trained)
    assert record["n_cells"]["train"] == len(trained)
