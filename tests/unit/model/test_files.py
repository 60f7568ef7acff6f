"""A model's files: what is refused, what is recorded, what a hub that speaks no sense gives."""

import json
import shutil

import pytest
from transformers import AutoModelForCausalLM

from c2sflow.common.errors import UserError
from c2sflow.model.files import describe_model, fetch_model, read_config


@pytest.fixture
def copied(demo_model, tmp_path):
    return shutil.copytree(demo_model, tmp_path / "model")


def test_description(demo_model):
    record = describe_model(demo_model, "demo")
    model = AutoModelForCausalLM.from_pretrained(demo_model)
    assert record["n_parameters"] == model.num_parameters()
    assert record["hidden_size"] == model.config.hidden_size
    assert record["context"] == model.config.max_position_embeddings
    assert len(record["digest"]) == 64


def test_digest_follows_the_content(copied, demo_model):
    assert describe_model(copied, "x")["digest"] == describe_model(demo_model, "x")["digest"]
    weights = copied / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert describe_model(copied, "x")["digest"] != describe_model(demo_model, "x")["digest"]


def change_config(directory, **values):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda d: (d / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"), "no .*safetensors"),
        (lambda d: change_config(d, architectures=["BertModel"]), "no causal language model"),
        (lambda d: shutil.rmtree(d), "no such directory"),
    ],
)
def test_bad_directories(copied, spoil, message):
    spoil(copied)
    with pytest.raises(UserError, match=message):
        read_config(copied)


def test_missing_weights_of_an_index(copied):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00001-of-00002\.safetensors is missing"):
        read_config(copied)


@pytest.mark.parametrize("size", [4, 100, -10])
def test_truncated_weights(copied, size):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(UserError, match="truncated"):
        read_config(copied)


@pytest.mark.parametrize("model", ["no such/model id", "../x"])
def test_no_hub_id(model, tmp_path):
    with pytest.raises(UserError, match="neither a local directory nor a hub id"):
        fetch_model(model, "main", tmp_path / "model")
