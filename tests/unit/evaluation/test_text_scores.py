"""BERTScore against its definition; texts of a run paired as documented."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from c2sflow.common.errors import UserError
from c2sflow.evaluation.text_scores import bert_scores, load_encoder
from c2sflow.evaluation.text_tables import (
    GENES,
    label_pairs,
    predicted_labels,
    score_table,
    sentence_pairs,
)

ROOT = Path(__file__).resolve().parents[3]
GENERATED = ["b cell", "cd4 t cell memory", "nk", "nk", "dendritic cell of the skin", "monocyte"]
REFERENCE = ["b cell", "cd8 t cell", "natural killer cell", "nk", "dendritic", "nk cell, old"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A tiny BERT with random weights, as save_pretrained writes it."""
    folder = tmp_path_factory.mktemp("encoder")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-+"
    words = ["cell", "natural", "killer", "memory", *letters, *(f"##{x}" for x in letters), ","]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(directory):
    return load_encoder(directory, "cpu")


def by_definition(encoder, generated, reference):
    """Greedy matching of tokens by cosine, written as in the paper's equations."""
    vectors = []
    for text in (generated, reference):
        ids = encoder.tokenizer(text, truncation=True, max_length=64).input_ids
        with torch.no_grad():
            hidden = encoder.model(torch.tensor([ids])).last_hidden_state[0, 1:-1].numpy()
        vectors.append(hidden / np.linalg.norm(hidden, axis=1, keepdims=True))
    similarity = vectors[0] @ vectors[1].T
    precision = similarity.max(axis=1).mean()
    recall = similarity.max(axis=0).mean()
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_equals_the_definition(encoder):
    found = bert_scores(encoder, GENERATED, REFERENCE)
    expected = [by_definition(encoder, *pair) for pair in zip(GENERATED, REFERENCE, strict=True)]
    np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-5)
    assert found["f1"][0] == pytest.approx(1, abs=1e-5)
    assert found["f1"][1] < 0.999


def test_pairs_do_not_depend_on_their_neighbours(encoder):
    """As those of torchmetrics' batches do: pairs of unequal length are mixed up there."""
    from torchmetrics.functional.text.bert import bert_score

    found = bert_scores(encoder, GENERATED, REFERENCE)
    turned = bert_scores(encoder, GENERATED[::-1], REFERENCE[::-1])
    pd.testing.assert_frame_equal(turned[::-1].reset_index(drop=True), found)
    inputs = [encoder.tokenizer(texts, padding=True, return_tensors="pt") for texts in
              (GENERATED, REFERENCE)]  # fmt: skip
    batch = bert_score(*({k: one[k] for k in ("input_ids", "attention_mask")} for one in inputs),
                       model=encoder.model)  # fmt: skip
    # If this fails, torchmetrics was mended: score in batches.
    assert not np.allclose(batch["f1"].numpy(), found["f1"], atol=1e-3)


def test_empty_and_long_texts(encoder):
    long = " ".join(["cell"] * 200)
    found = bert_scores(encoder, ["", "cell", long], ["cell", " ", long])
    assert found["f1"].isna().tolist() == [True, True, False]
    assert found["f1"][2] == pytest.approx(1, abs=1e-5)
    assert bert_scores(encoder, [], []).shape == (0, 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"), "pickled weights"),
        (lambda d: (d / "tokenizer.json").unlink(), "no tokenizer.json"),
        (
            lambda d: (d / "config.json").write_text('{"model_type": "nonsense"}'),
            "cannot be loaded",
        ),
    ],
)
def test_what_is_no_encoder(directory, tmp_path, spoil, message):
    import shutil

    copied = shutil.copytree(directory, tmp_path / "encoder")
    spoil(copied)
    with pytest.raises(UserError, match=message):
        load_encoder(copied)


def test_labels_and_their_baseline(encoder):
    labels = pd.DataFrame(
        {"generated": ["nk", "nk", "b cell", "nk"], "reference": ["nk", "nk", "b cell", "b cell"]}
    )
    labels = pd.concat([labels, pd.DataFrame({"generated": ["nk"], "reference": ["nk"]})])
    table = score_table(encoder, label_pairs(labels)).set_index(["group", "generated"])
    assert table["n"].to_dict() == {
        ("all", "said"): 5, ("all", "commonest label"): 5, ("b cell", "said"): 2, ("nk", "said"): 3,
    }  # fmt: skip
    wrong = by_definition(encoder, "nk", "b cell")[2]
    assert table.loc[("all", "said"), "f1"] == pytest.approx((4 + wrong) / 5, abs=1e-5)
    assert table.loc[("all", "commonest label"), "f1"] == pytest.approx(
        (3 + 2 * wrong) / 5, abs=1e-5
    )
    # All three alike: nothing shows how others would differ.
    assert table.loc[("nk", "said"), ["f1_ci_low", "f1_ci_high"]].isna().all()
    low, high = table.loc[("all", "said"), ["f1_ci_low", "f1_ci_high"]]
    assert low < table.loc[("all", "said"), "f1"] <= high


@pytest.fixture
def run_files(tmp_path):
    """Cells of two shards, some measured under a drug, and predictions for the controls."""
    rng = np.random.default_rng(0)
    genes = np.array(["aa", "bb", "cc", "dd", "ee", "ff", "gg"])
    cells = pd.DataFrame(
        {
            "cell_id": [f"c{n}" for n in range(20)], "sample": "s",
            "perturbation": (["control"] * 8 + ["drug"] * 12),
            "label": ["b cell", "nk"] * 10,
            "cell_sentence": [" ".join(rng.permutation(genes)) for _ in range(20)],
            "n_genes": 7,
        }
    )  # fmt: skip
    answers = pd.DataFrame(
        {
            "source_cell": [f"c{n}" for n in range(8)], "sample": "s", "perturbation": "drug",
            "condition": "drug, 1 µM", "c2s_sentence": "aa bb cc",
        }
    )  # fmt: skip
    unmeasured = answers.assign(perturbation="other", condition="other")
    said = cells[["cell_id"]].assign(c2s_cell_type="nk", c2s_cell_type_probability=1.0)
    said.loc[3, "c2s_cell_type"] = None
    for name in ("shards", "annotations", "perturbed"):
        (tmp_path / name).mkdir()
    for n, rows in enumerate((slice(0, 10), slice(10, 20))):
        cells[rows].to_parquet(tmp_path / f"shards/s.0000{n}.parquet")
        said[rows].to_parquet(tmp_path / f"annotations/s.0000{n}.annotation.parquet")
    pd.concat([answers, unmeasured]).to_parquet(tmp_path / "perturbed/s.00000.perturbed.parquet")
    return tmp_path, cells.set_index("cell_id")["cell_sentence"]


def test_sentences_meet_measured_cells_and_baselines(run_files):
    folder, sentences = run_files
    pairs = sentence_pairs(folder / "shards", folder / "perturbed", "perturbation")
    assert {pair.group for pair in pairs} == {"drug, 1 µM"}  # nothing was measured under the other
    texts = {pair.generated: pair.texts for pair in pairs}
    first = sentences.str.split().str[:3].str.join(" ")
    measured, controls = set(first[8:]), set(first[:8])
    assert (texts["predicted"]["generated"] == "aa bb cc").all()
    assert set(texts["control"]["generated"]) == controls
    assert set(texts["predicted"]["reference"]) <= measured
    references = [text["reference"].tolist() for text in texts.values()]
    assert references[0] == references[1] == references[2]
    # Another measured cell is another one as long as there are enough: 12 for 8 predictions.
    whole = sentence_pairs(folder / "shards", folder / "perturbed", "perturbation", seed=1)
    assert [t["reference"].tolist() for t in [whole[0].texts]] != references[:1]
    assert max(len(text.split()) for pair in pairs for text in pair.texts["generated"]) <= GENES


def test_another_measured_cell_is_never_the_reference(run_files, tmp_path):
    """Three answers to each of 8 control cells, and 12 measured cells: each in turn, twice."""
    folder, _ = run_files
    for path in (folder / "perturbed").glob("*.parquet"):
        answers = pd.read_parquet(path)
        pd.concat([answers] * 3).to_parquet(tmp_path / path.name)
    pairs = sentence_pairs(folder / "shards", tmp_path, "perturbation")
    texts = {pair.generated: pair.texts for pair in pairs}["another measured cell"]
    assert len(texts) == 24
    assert (texts["generated"] != texts["reference"]).mean() > 0.9  # some cells begin alike


def test_training_cells_and_unknown_labels_are_not_scored(run_files):
    folder, sentences = run_files
    for path in sorted((folder / "shards").glob("*.parquet")):
        cells = pd.read_parquet(path)
        number = cells["cell_id"].str[1:].astype(int)
        cells["set"] = np.where(number % 2 == 0, "seen", "new")
        unknown = {1: "unknown", 5: "nan", 9: ""}
        cells["label"] = number.map(unknown).fillna(cells["label"])
        cells["perturbation"] = number.map({11: "Unknown"}).fillna(cells["perturbation"])
        cells.to_parquet(path)
    places = folder / "shards", folder / "annotations"
    labels = predicted_labels(*places, "label", "set == 'seen'")
    assert sorted(labels.index) == ["c11", "c13", "c15", "c17", "c19", "c7"]
    assert set(labels["reference"]) == {"nk"}
    assert not {"unknown", "nan", ""} & set(predicted_labels(*places, "label")["reference"])
    pairs = sentence_pairs(folder / "shards", folder / "perturbed", "perturbation", "set == 'seen'")
    texts = {pair.generated: pair.texts for pair in pairs}
    head = sentences.str.split().str[:3].str.join(" ")
    assert len(texts["predicted"]) == 4  # to c1, c3, c5 and c7
    assert set(texts["control"]["generated"]) <= set(head[[f"c{n}" for n in (1, 3, 5, 7)]])
    assert set(texts["predicted"]["reference"]) <= set(head[[f"c{n}" for n in (9, 13, 15, 17, 19)]])


def test_script(run_files, directory):
    folder, _ = run_files
    arguments = [
        f"--shards-dir={folder / 'shards'}", f"--annotations-dir={folder / 'annotations'}",
        f"--perturbed-dir={folder / 'perturbed'}", f"--encoder-dir={directory}",
        "--label-column=label", "--measured-column=perturbation", "--device=cpu",
    ]  # fmt: skip
    command = [sys.executable, ROOT / "bin" / "c2s", "text-scores", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    table = pd.read_csv(folder / "text_scores.tsv", sep="\t").set_index(
        ["task", "group", "generated"]
    )
    assert table.loc[("cell type", "all", "said"), "n"] == 19
    assert table.loc[("cell type", "nk", "said"), "f1"] == pytest.approx(1, abs=1e-5)
    drug = table.loc[("perturbation", "drug, 1 µM")]
    assert set(drug.index) == {"predicted", "control", "another measured cell"}
    assert (drug["n"] == 8).all()
    assert (drug["f1_ci_low"] <= drug["f1"]).all()
    assert (drug["f1"] <= drug["f1_ci_high"]).all()
