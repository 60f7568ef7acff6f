"""Adapters: what they say is what peft says, and one that does not fit is refused."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from making import cells
from safetensors.torch import load_file, save_file
from steps_in_process import INPUT_SCHEMA, SCHEMA
from transformers import AutoModelForCausalLM

from c2sflow.common.errors import UserError
from c2sflow.model.adapters import read_adapter
from c2sflow.model.embedding import embed_cells
from c2sflow.model.files import describe_model, read_config, weight_shapes
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import EMBEDDING_PROMPT
from c2sflow.validation.run import Staged, validate_run


def peft_model(base):
    """The base with a LoRA of random weights, as peft has it: eager, float32."""
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    )
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    torch.manual_seed(1)
    model = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def adapted(random_model):
    return peft_model(random_model)


@pytest.fixture(scope="module")
def directory(random_model, adapted, tmp_path_factory):
    """The files of the base and, among them, those of the adapter."""
    path = tmp_path_factory.mktemp("adapted")
    adapted.save_pretrained(path)
    shutil.copytree(random_model, path, dirs_exist_ok=True)
    return path


@pytest.fixture
def copied(directory, tmp_path):
    return shutil.copytree(directory, tmp_path / "model")


IDS = torch.arange(3, 60)[None]


def test_merged_it_says_what_peft_says(directory, adapted, random_model):
    model = load_model(directory, head=True, device="cpu")
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    with torch.inference_mode():
        expected = adapted(input_ids=IDS, use_cache=False).logits
        made = model(input_ids=IDS, use_cache=False).logits
        base = load_model(random_model, head=True, device="cpu")(input_ids=IDS, use_cache=False)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
    assert (base.logits - expected).abs().max() > 0.1  # the adapter does something


def test_without_head_too(directory, adapted, records):
    some = [record for record in records[:6] if record["n_genes"]]
    model = load_model(directory, head=False, device="cpu")
    assert not hasattr(model, "lm_head")
    tokenizer = load_tokenizer(directory)
    made = embed_cells(model, tokenizer, EMBEDDING_PROMPT, some, progress=False).vectors
    backbone = adapted.get_base_model().model
    expected = embed_cells(backbone, tokenizer, EMBEDDING_PROMPT, some, progress=False).vectors
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_beside_quantised_weights(directory, random_model, quantization):
    from peft import PeftModel

    options = {"head": True, "device": "cpu", "dtype": "float32", "quantization": quantization}
    model = load_model(directory, **options)
    peft = PeftModel.from_pretrained(load_model(random_model, **options), directory)
    plain = load_model(random_model, **options)
    with torch.inference_mode():
        made, expected, base = (
            one(input_ids=IDS, use_cache=False).logits for one in (model, peft, plain)
        )
    torch.testing.assert_close(made, expected)
    assert (base - expected).abs().max() > 0.1


def test_description_knows_both(directory, random_model, copied):
    record = describe_model(directory, "mine")
    base = describe_model(random_model, "base")
    assert record["id"] == "mine"
    assert record["base"] == str(random_model)
    assert record["adapter_rank"] == 4
    assert record["n_parameters"] == base["n_parameters"]
    assert weight_shapes(directory) == weight_shapes(random_model)
    weights = load_file(copied / "adapter_model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1}, copied / "adapter_model.safetensors")
    digests = {record["digest"], base["digest"], describe_model(copied, "mine")["digest"]}
    assert len(digests) == 3


def change(directory, **values):
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def widen(directory):
    path = directory / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({k: torch.cat([v, v], 1) if "lora_A" in k else v for k, v in weights.items()}, path)


def rename(directory):
    path = directory / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({key.replace("layers.2", "layers.7"): v for key, v in weights.items()}, path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "adapter_config.json").write_text("{"), "adapter_config.json cannot be"),
        (lambda d: change(d, peft_type="IA3"), "an adapter of kind IA3; c2sflow runs LORA"),
        (
            lambda d: (d / "adapter_model.safetensors").unlink(),
            "no adapter_model.safetensors; pick",
        ),
        (widen, "wide and that of its base .*; name the model it was made for with --base_model"),
        (rename, r"changes model\.layers\.7\.\S+, which its base does not have; name the model"),
        (lambda d: (d / "model.safetensors").unlink(), "an adapter without its base; name that"),
    ],
)
def test_what_does_not_fit(copied, spoil, message):
    spoil(copied)
    with pytest.raises(UserError, match=message):
        read_config(copied)


def test_an_adapter_is_read_without_its_base(copied):
    (copied / "model.safetensors").unlink()
    assert read_adapter(copied)["r"] == 4


def test_matrices_that_the_configuration_lacks(copied):
    change(copied, target_modules=["q_proj", "v_proj"])
    with pytest.raises(UserError, match="do not go together"):
        load_model(copied, head=True, device="cpu")


@pytest.fixture
def check(copied, tmp_path):
    """Validate a run with a model directory: that with the adapter unless told otherwise."""
    cells().write_h5ad(tmp_path / "cells.h5ad")

    def run(directory=copied, **params):
        staged = Staged([str(tmp_path / "cells.h5ad")], model_dir=directory)
        params = {"input": "cells.h5ad", "model": "mine", "min_genes": 1, **params}
        return validate_run(params, staged, SCHEMA, INPUT_SCHEMA)

    return run


def test_a_run_with_its_base_beside_it(check, copied):
    check()
    rename(copied)
    with pytest.raises(UserError, match=r"--model mine: the adapter changes model\.layers\.7"):
        check()


def test_a_run_whose_base_is_to_be_fetched(check, copied):
    (copied / "model.safetensors").unlink()
    change(copied, base_model_name_or_path="someone/base")
    check()
    change(copied, base_model_name_or_path="/not here/base")
    with pytest.raises(UserError, match="--base_model /not here/base: the base of the adapter is"):
        check()
    check(base_model="someone/base")
    (copied / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"--model mine: no adapter_model\.safetensors"):
        check(base_model="someone/base")


def test_training_begins_with_a_whole_model(check, random_model, caplog):
    with pytest.raises(UserError, match="--model mine: an adapter, but --finetune needs a w"):
        check(finetune="generation")
    with caplog.at_level(logging.INFO):
        check(random_model, base_model="someone/base")
    assert "--base_model someone/base: no effect, for --model mine is no adapter" in caplog.messages
