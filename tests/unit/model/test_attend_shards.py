"""Attention maps of shards: of the chosen cells, of the layer that was embedded, as EMBED reads
them."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from c2sflow.common.errors import UserError
from c2sflow.model.attend_shards import attend_shards
from c2sflow.model.attention_maps import SHUFFLES, attention_maps, shuffled
from c2sflow.model.embed_shards import embed_shards
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import fill

PROMPT = "A {label} cell of {num_genes} genes: {cell_sentence}."
CHOSEN = [0, 2, 5, 7]  # cell 5 has no genes, cell 7 more than fit


@pytest.fixture(scope="module")
def options(random_model):
    where = {"device": "cpu", "dtype": "float32", "quantization": "none"}
    return {"model": str(random_model), "attention": "eager", **where}


@pytest.fixture(scope="module")
def folder(records, pbmc, options, tmp_path_factory):
    """A shard, its chosen cells, the maps of two layers and what EMBED made of it."""
    folder = tmp_path_factory.mktemp("attention")
    cells = pd.DataFrame(records[:9]).assign(label="obs' own")
    genes = [name.upper() for name in pbmc.var_names]
    cells.loc[7, ["cell_sentence", "n_genes"]] = [" ".join(genes), len(genes)]
    cells.to_parquet(folder / "s.00000.parquet")
    labels = ["T", "NK 'é'", "T", "B"]
    chosen = pd.DataFrame({"cell_id": cells["cell_id"][CHOSEN], "label": labels})
    chosen[::-1].to_parquet(folder / "s.00000.chosen.parquet")
    for layer in (-1, 1):
        attend(folder, folder / str(layer), options, layer)
    embed_shards([folder / "s.00000.parquet"], folder, options, embedding_prompt=PROMPT)
    return folder


def attend(folder, outdir, options, layer=-1):
    paths = ([folder / "s.00000.parquet"], [folder / "s.00000.chosen.parquet"])
    attend_shards(*paths, outdir, options, embedding_prompt=PROMPT, layer=layer)


def read(folder, layer):
    with h5py.File(folder / str(layer) / "s.00000.attention.h5") as file:
        cells = [
            (dict(group.attrs), list(group["genes"].asstr()), group["attention"][()])
            for group in file["cells"].values()
        ]
        return dict(file.attrs), cells


def test_chosen_cells_in_the_order_of_the_shard(folder, records):
    about, cells = read(folder, -1)
    assert (about["layer"], about["n_heads"]) == (3, 4)
    assert [attributes for attributes, _, _ in cells] == [
        {"cell_id": records[number]["cell_id"], "sample": "s", "label": label}
        for number, label in ((0, "T"), (2, "NK 'é'"), (7, "B"))
    ]


def test_genes_are_those_that_were_embedded(folder):
    used = ad.read_h5ad(folder / "s.00000.embedding.h5ad").obs
    sentences = pd.read_parquet(folder / "s.00000.parquet").set_index("cell_id")["cell_sentence"]
    for attributes, genes, attention in read(folder, -1)[1]:
        cell = attributes["cell_id"]
        assert genes == sentences[cell].split()[: used["c2s_n_genes"][cell]]
        assert attention.shape == (4, len(genes), len(genes))
    assert used["c2s_truncated"][cell]  # the last one


@pytest.mark.parametrize(("layer", "position"), [(-1, 2), (1, 0)])
def test_maps_are_those_of_the_layer_that_was_embedded(folder, options, layer, position):
    shard = pd.read_parquet(folder / "s.00000.parquet").set_index("cell_id", drop=False)
    cells = read(folder, layer)[1]
    records = [
        shard.loc[attributes["cell_id"]].to_dict()
        | {"cell_sentence": " ".join(genes), "n_genes": len(genes)}
        for attributes, genes, _ in cells
    ]
    model = load_model(options["model"], head=False, device="cpu", attention="eager")
    maps = attention_maps(model, load_tokenizer(options["model"]), PROMPT, records, position)
    for (_, _, written), expected in zip(cells, maps, strict=True):
        np.testing.assert_allclose(written, expected, atol=1e-6)


def test_the_baseline_is_of_the_same_genes_in_random_order(folder, options):
    """By position: the mean of the maps of some orders, each made as any cell's is."""
    shard = pd.read_parquet(folder / "s.00000.parquet").set_index("cell_id", drop=False)
    model = load_model(options["model"], head=False, device="cpu", attention="eager")
    tokenizer = load_tokenizer(options["model"])
    with h5py.File(folder / "1" / "s.00000.attention.h5") as file:
        for group in list(file["cells"].values())[:2]:
            genes = list(group["genes"].asstr())
            record = shard.loc[group.attrs["cell_id"]].to_dict()
            record |= {"cell_sentence": " ".join(genes), "n_genes": len(genes)}
            orders = [shuffled(record, number) for number in range(SHUFFLES)]
            texts = {order["cell_sentence"] for order in orders}
            assert all(sorted(text.split()) == sorted(genes) for text in texts)
            assert len(texts) == SHUFFLES > 1
            maps = attention_maps(model, tokenizer, PROMPT, orders, 0)
            np.testing.assert_allclose(group["shuffled"], np.mean(list(maps), 0), atol=1e-6)


def test_a_map_sums_the_attention_of_transformers(folder, options, reference):
    """The whole of the attention that a gene's tokens pay to tokens of genes."""
    shard = pd.read_parquet(folder / "s.00000.parquet").set_index("cell_id", drop=False)
    (attributes, genes, attention), *_ = read(folder, 1)[1]
    tokenizer = load_tokenizer(options["model"])
    text = fill(PROMPT, shard.loc[attributes["cell_id"]].to_dict())
    encoded = tokenizer(text, return_offsets_mapping=True)
    with torch.no_grad():
        ids = torch.tensor([encoded["input_ids"]])
        weights = reference(ids, output_attentions=True).attentions[0][0].numpy()
    begin = text.index(genes[0] + " ")
    inside = [begin < end <= begin + len(" ".join(genes)) for _, end in encoded["offset_mapping"]]
    first = [end <= begin + len(genes[0]) for _, end in encoded["offset_mapping"]] & np.array(
        inside
    )
    received = weights[:, first][:, :, inside].sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(attention[:, 0].sum(axis=1), received, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (0, "no attention made layer 0, the token embeddings"),
        (-4, "no attention made layer -4, the token embeddings"),
        (4, "--embedding_layer 4: the model has layers 0 to 3"),
    ],
)
def test_a_layer_without_attention(folder, options, tmp_path, layer, message):
    with pytest.raises(UserError, match=message):
        attend(folder, tmp_path, options, layer)
    assert not list(tmp_path.iterdir())


def test_cells_of_another_shard(folder, options, tmp_path):
    (tmp_path / "s.00000.parquet").symlink_to(folder / "s.00000.parquet")
    other = pd.DataFrame({"cell_id": ["nobody"], "label": ["T"]})
    other.to_parquet(tmp_path / "s.00000.chosen.parquet")
    with pytest.raises(UserError, match=r"names cells that .* does not have"):
        attend(tmp_path, tmp_path, options)


def test_shards_of_a_task_get_the_files_that_each_alone_gets(folder, options, tmp_path):
    cells = pd.read_parquet(folder / "s.00000.parquet")
    labels = pd.read_parquet(folder / "s.00000.chosen.parquet").set_index("cell_id")["label"]
    shards, chosen = [], []
    for number, part in enumerate((cells[:3], cells[3:])):
        shards.append(tmp_path / f"s.0000{number}.parquet")
        chosen.append(tmp_path / f"s.0000{number}.chosen.parquet")
        part.to_parquet(shards[-1])
        own = labels[labels.index.isin(part["cell_id"])].reset_index()
        own.to_parquet(chosen[-1])
    attend_shards(shards, chosen, tmp_path / "both", options, embedding_prompt=PROMPT)
    for one in zip(shards, chosen, strict=True):
        attend_shards(one[:1], one[1:], tmp_path / "each", options, embedding_prompt=PROMPT)
    names = [f"{shard.stem}.attention.h5" for shard in shards]
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == names
    for name in names:
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "each" / name).read_bytes()
