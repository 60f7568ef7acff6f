"""A model that is not whole is refused, and why: each a damaged copy of a whole one."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

from c2sflow.common.errors import UserError
from c2sflow.evaluation.text_scores import load_encoder
from c2sflow.model import placement
from c2sflow.model.check import encoder_faults, model_faults
from c2sflow.model.describe import Place, check_and_describe
from c2sflow.model.loading import load_model
from c2sflow.model.prompt_room import Asked
from c2sflow.model.weights import CHUNK, not_finite, read_tensors
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

UP = "model.layers.1.mlp.up_proj.weight"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
ASKED = {"embedding_prompt": Asked(EMBEDDING_PROMPT)}


@pytest.fixture
def copied(demo_model, tmp_path):
    return shutil.copytree(demo_model, tmp_path / "model")


def change(path, **values):
    """Change a JSON file; None takes a key out."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def config(**values):
    return lambda directory: change(directory / "config.json", **values)


def weights(edit, file="model.safetensors"):
    """A damage to the tensors of a file."""

    def spoil(directory):
        tensors = load_file(directory / file)
        edit(tensors)
        save_file(tensors, directory / file, metadata={"format": "pt"})

    return spoil


def put(value, name=UP):
    """A weight, one of many, that is no number."""

    def edit(tensors):
        tensors[name].view(-1)[-1] = value

    return weights(edit)


def shards(directory):
    """The same weights in two files and an index."""
    tensors = load_file(directory / "model.safetensors")
    names = sorted(tensors)
    files = dict.fromkeys(names[::2], FIRST) | dict.fromkeys(names[1::2], SECOND)
    for file in (FIRST, SECOND):
        part = {name: tensors[name] for name in names if files[name] == file}
        save_file(part, directory / file, metadata={"format": "pt"})
    (directory / "model.safetensors").unlink()
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))


def sharded(damage):
    def spoil(directory):
        shards(directory)
        damage(directory)

    return spoil


def unlist(directory):
    """A tensor that the file holds and the index does not list."""
    files = json.loads((directory / INDEX).read_text())["weight_map"]
    del files[UP]
    change(directory / INDEX, weight_map=files)


def in_shard(edit):
    """A damage to the file that holds `UP`."""

    def spoil(directory):
        file = json.loads((directory / INDEX).read_text())["weight_map"][UP]
        weights(edit, file)(directory)

    return sharded(spoil)


def new_token(directory):
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["a word"] = 1351
    path.write_text(json.dumps(content))


def truncate(name, size=-100):
    def spoil(directory):
        (directory / name).write_bytes((directory / name).read_bytes()[:size])

    return spoil


def of_llama(directory):
    kept = json.loads((directory / "config.json").read_text())
    names = ("hidden_size", "intermediate_size", "head_dim", "num_hidden_layers", "vocab_size")
    names += ("num_attention_heads", "num_key_value_heads", "max_position_embeddings")
    made = {name: kept[name] for name in names}
    made |= {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (directory / "config.json").write_text(json.dumps(made | {"tie_word_embeddings": True}))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 2654576\n"
DAMAGES = {
    "a tensor is missing": (
        weights(lambda t: t.pop(UP)),
        f"the weights lack 1 tensor that config.json asks for ({UP})",
    ),
    "one more": (
        weights(lambda t: t.update({"model.layers.1.mlp.extra.weight": torch.ones(2)})),
        "the weights hold 1 tensor that config.json has no place for (model.layers.1.mlp.extra",
    ),
    "another shape": (
        weights(lambda t: t.update({UP: t[UP][:-1].contiguous()})),
        f"{UP} has the shape [447, 160] and config.json asks for [448, 160]",
    ),
    "whole numbers": (
        weights(lambda t: t.update({UP: t[UP].to(torch.int8)})),
        f"{UP} of dtype I8: quantised weights are not loaded",
    ),
    "NaN": (put(float("nan")), f"model.safetensors holds NaN in {UP}"),
    "infinity": (put(float("-inf")), f"model.safetensors holds infinity in {UP}"),
    "an LFS pointer": (
        lambda d: (d / "model.safetensors").write_text(POINTER),
        "model.safetensors is a Git LFS pointer and not the weights",
    ),
    "truncated": (truncate("model.safetensors"), "model.safetensors is truncated"),
    "a page of HTML": (
        lambda d: (d / "model.safetensors").write_text("<!DOCTYPE html><html></html>"),
        "model.safetensors is no safetensors file",
    ),
    "a shard is missing": (sharded(lambda d: (d / SECOND).unlink()), f"{SECOND} is missing"),
    "a shard lacks a tensor": (
        in_shard(lambda t: t.pop(UP)),
        f"does not hold {UP}, which {INDEX} lists in it",
    ),
    "a shard holds one more": (sharded(unlist), f"holds {UP}, which {INDEX} does not list"),
    "no index": (
        sharded(lambda d: (d / INDEX).unlink()),
        f"{FIRST}, {SECOND} without model.safetensors or {INDEX}",
    ),
    "an index that is a list": (
        sharded(lambda d: (d / INDEX).write_text("[]")),
        f"{INDEX} cannot be read: it holds a list",
    ),
    "an index of files elsewhere": (
        sharded(lambda d: change(d / INDEX, weight_map={UP: f"../{FIRST}"})),
        "which is no file there",
    ),
    "config.json is a list": (
        lambda d: (d / "config.json").write_text("[]"),
        "config.json cannot be read: it holds a list",
    ),
    "config.json is a number": (
        lambda d: (d / "config.json").write_text("7"),
        "config.json cannot be read: it holds a int",
    ),
    "config.json is text": (
        lambda d: (d / "config.json").write_text("gemma"),
        "config.json cannot be read: Expecting value",
    ),
    "config.json is binary": (
        lambda d: (d / "config.json").write_bytes(b"\xff\xfe\x00"),
        "config.json cannot be read: 'utf-8' codec",
    ),
    "of Llama": (of_llama, "that config.json has no place for (model.layers.0."),
    "one layer more": (
        config(num_hidden_layers=5, layer_types=None),
        "the weights lack 11 tensors that config.json asks for (model.layers.4.input_layernorm",
    ),
    "one layer fewer": (
        config(num_hidden_layers=3, layer_types=None),
        "the weights hold 11 tensors that config.json has no place for (model.layers.3.input",
    ),
    "another vocabulary": (
        config(vocab_size=1352),
        "model.embed_tokens.weight has the shape [1351, 160] and config.json asks for [1352, 160]",
    ),
    "a head of its own": (
        config(tie_word_embeddings=False),
        "the weights lack 1 tensor that config.json asks for (lm_head.weight)",
    ),
    "no hidden_size": (config(hidden_size=None), "config.json lacks hidden_size; take the one"),
    "no model_type": (config(model_type=None), "config.json has no model_type; give a model of a"),
    "an unknown family": (
        config(model_type="gemma99", architectures=["Gemma99ForCausalLM"]),
        "a gemma99 model, of a family that c2sflow does not know; it runs GPT-NeoX (Pythia), ",
    ),
    "code of its own": (
        config(model_type=None, auto_map={"AutoModelForCausalLM": "modeling.Mine"}),
        "config.json has no model_type but auto_map: its code, which would have to run, is not run",
    ),
    "code of its own, named": (
        config(model_type="mine", auto_map={"AutoConfig": "modeling.Config"}),
        "its code (auto_map) would have to run, and c2sflow runs none",
    ),
    "another class": (
        config(architectures=["LlamaForCausalLM"]),
        "config.json names LlamaForCausalLM, and for its model_type gemma2 transformers has Gemma2",
    ),
    "no class": (config(architectures=None), "None is no causal language model"),
    "a class as text": (
        config(architectures="Gemma2ForCausalLM"), "Gemma2ForCausalLM is no causal language model"
    ),
    "a number that is text": (config(hidden_size="many"), "config.json cannot be used: "),
    "heads that do not go together": (
        config(num_key_value_heads=3), "k_proj.weight has the shape [64, 160] and config.json asks"
    ),
    "a padding token that is none": (
        config(pad_token_id=5000), "Gemma2ForCausalLM cannot be made of config.json: Assertion"
    ),
    "quantised": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "a quantised checkpoint (quantization_config in config.json), which is not loaded",
    ),
    "a small context": (
        config(max_position_embeddings=8),
        "its context has 8 tokens, and --embedding_prompt with ten genes",
    ),
    "a tokenizer of a small context": (
        lambda d: change(d / "tokenizer_config.json", model_max_length=8),
        "its context has 8 tokens, and --embedding_prompt with ten genes",
    ),
    "tokenizer.json is truncated": (truncate("tokenizer.json"), "tokenizer.json cannot be read: "),
    "tokenizer.json is none": (
        lambda d: (d / "tokenizer.json").write_text("{}"), "tokenizer cannot be loaded: "
    ),
    "ids beyond the embedding": (new_token, "the tokenizer has ids up to 1351, and the model rows"),
    "no padding token and no end": (
        lambda d: change(d / "tokenizer_config.json", pad_token=None, eos_token=None),
        "the tokenizer has neither a padding token nor one that ends an answer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole(copied, damage, capfd):
    spoil, message = DAMAGES[damage]
    spoil(copied)
    faults = model_faults(copied, ASKED)
    assert len(faults) == 1
    assert faults[0].startswith(f"model {copied}: ")
    assert message in faults[0]
    assert "\n" not in faults[0]
    assert len(faults[0]) < 600
    assert capfd.readouterr() == ("", "")


def test_all_faults_at_once(copied):
    put(float("nan"), "model.norm.weight")(copied)
    weights(lambda tensors: tensors.pop(UP))(copied)
    new_token(copied)
    config(max_position_embeddings=8)(copied)
    faults = model_faults(copied, ASKED)
    for message in ("the weights lack", "ids up to 1351", "context has 8", "holds NaN"):
        assert [message in fault for fault in faults].count(True) == 1, message
    assert len(faults) == 4


def as_blobs(directory):
    """As the hub's client keeps a model: links to files that are named by what they hold."""
    blobs = directory.parent / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(directory.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(f"../blobs/{number}")


def backbone(tensors):
    """The names of a model that was saved without its head."""
    for name in list(tensors):
        tensors[name.removeprefix("model.")] = tensors.pop(name)


def of(dtype):
    return weights(lambda t: t.update({name: value.to(dtype) for name, value in t.items()}))


WHOLE = {
    "as it is": lambda _: None,
    "float16": of(torch.float16),
    "float32": of(torch.float32),
    "float64": of(torch.float64),
    "shards": shards,
    "links": as_blobs,
    "links to shards": lambda d: (shards(d), as_blobs(d)),
    "the head twice": weights(
        lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()})
    ),
    "what families drop": weights(
        lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)})
    ),
    "without the head's prefix": weights(backbone),
    "its own code beside it": config(auto_map={"AutoModelForCausalLM": "modeling.Mine"}),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_whole(copied, kind):
    WHOLE[kind](copied)
    asked = {"annotation_prompt": Asked(EMBEDDING_PROMPT, 40, ("B cell", "T cell"))}
    assert model_faults(copied, ASKED | asked) == []
    for head in (True, False):
        load_model(copied, head=head, device="cpu")


@pytest.mark.parametrize(("n_tokens", "labels"), [(8180, ()), (0, ("B cell " * 5000,))])
def test_an_answer_needs_its_place(demo_model, n_tokens, labels):
    asked = {"annotation_prompt": Asked(EMBEDDING_PROMPT, n_tokens, labels)}
    (fault,) = model_faults(demo_model, asked)
    assert "--annotation_prompt with ten genes" in fault
    assert "and its answer up to" in fault


def test_an_answer_in_genes_gets_half_of_the_context(demo_model):
    """Of the bundled model 4,096 tokens; a gene has one at least, and then there is the end."""
    asked = {"perturbation_prompt": Asked(EMBEDDING_PROMPT, n_genes=4095)}
    assert model_faults(demo_model, asked) == []
    asked = {"perturbation_prompt": Asked(EMBEDDING_PROMPT, n_genes=4096)}
    (fault,) = model_faults(demo_model, asked)
    assert "answers of 4096 genes need more: lower --max_answer_genes" in fault
    asked = {"perturbation_prompt": Asked(EMBEDDING_PROMPT + " why?" * 5000, n_genes=0)}
    (fault,) = model_faults(demo_model, asked)
    assert "and its answer up to 4096; shorten the prompt or the answer" in fault


@pytest.mark.parametrize("head", [True, False])
def test_loading_refuses_a_hole_too(copied, head):
    weights(lambda tensors: tensors.pop(UP))(copied)
    with pytest.raises(UserError, match="the weights lack"):
        load_model(copied, head=head, device="cpu")


@pytest.mark.parametrize("head", [True, False])
def test_loading_refuses_what_is_left_over(copied, head):
    config(num_hidden_layers=3, layer_types=None)(copied)
    with pytest.raises(UserError, match="the weights hold 11 tensors"):
        load_model(copied, head=head, device="cpu")


@pytest.fixture
def adapted(copied):
    """The model and an adapter of it, as peft writes it."""
    from peft import LoraConfig, get_peft_model

    model = load_model(copied, head=True, device="cpu")
    settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    get_peft_model(model, settings).save_pretrained(copied)
    return copied


ADAPTER = "adapter_model.safetensors"
MATRIX = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


def adapter(**values):
    return lambda directory: change(directory / "adapter_config.json", **values)


BAD_ADAPTERS = {
    "other matrices": (adapter(target_modules=["q_proj", "v_proj"]), "do not go together"),
    "a target that is none": (adapter(target_modules=["query"]), "the adapter cannot be applied"),
    "another rank": (adapter(r=8), "[4, 448] and [160, 4], and adapter_config.json gives rank 8"),
    "no rank": (adapter(r=None), "no peft_type or rank (r)"),
    "another width": (
        weights(lambda t: t.update({MATRIX: torch.ones(4, 161)}), ADAPTER),
        "is 161 wide and that of its base 160",
    ),
    "a matrix without its other": (weights(lambda t: t.pop(MATRIX), ADAPTER), "lacks the matrix A"),
    "a pair is missing": (
        weights(
            lambda t: [t.pop(MATRIX.replace("_A", side)) for side in ("_A", "_B")], ADAPTER
        ),
        "do not go together",
    ),
    "one more": (
        weights(lambda t: t.update({"base_model.model.model.extra": torch.ones(2)}), ADAPTER),
        "do not go together: base_model.model.model.extra",
    ),
    "NaN": (
        weights(lambda t: t[MATRIX].view(-1)[3:4].fill_(float("nan")), ADAPTER),
        f"{ADAPTER} holds NaN in {MATRIX}",
    ),
    "config is a list": (
        lambda d: (d / "adapter_config.json").write_text("[]"),
        "adapter_config.json cannot be read: it holds a list",
    ),
}  # fmt: skip


def test_adapters(adapted, tmp_path):
    assert model_faults(adapted, ASKED) == []
    for number, (name, (spoil, message)) in enumerate(BAD_ADAPTERS.items()):
        spoiled = shutil.copytree(adapted, tmp_path / str(number))
        spoil(spoiled)
        faults = model_faults(spoiled, ASKED)
        assert len(faults) == 1, (name, faults)
        assert message in faults[0], name


@pytest.fixture
def encoder(tmp_path, demo_model):
    """A small BERT with random weights, as its own class saves it."""

    def make(kind=BertModel):
        tokenizer = AutoTokenizer.from_pretrained(demo_model)
        directory = tmp_path / kind.__name__
        tokenizer.save_pretrained(directory)
        torch.manual_seed(0)
        kind(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
            )
        ).save_pretrained(directory)
        return directory

    return make


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_encoders(encoder, kind):
    directory = encoder(kind)
    assert encoder_faults(directory) == []
    load_encoder(directory, "cpu")
    names = read_tensors(directory / "model.safetensors")
    name = next(name for name in names if name.endswith("layer.1.output.dense.weight"))
    weights(lambda tensors: tensors[name][0].fill_(float("nan")))(directory)
    assert f"holds NaN in {name}" in encoder_faults(directory)[0]
    weights(lambda tensors: tensors.pop(name))(directory)
    assert "the weights lack" in encoder_faults(directory)[0]
    with pytest.raises(UserError, match="the weights lack"):
        load_encoder(directory, "cpu")


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_scan_agrees_with_torch(dtype, tmp_path):
    """Against torch's own functions, at any place of tensors of any size and any value's bits."""
    rng = np.random.default_rng(5)
    tensors, expected = {"empty": torch.empty(0, dtype=dtype)}, {}
    largest = torch.finfo(dtype).max
    for number in range(60):
        size = int(rng.choice([1, 2, 63, CHUNK // dtype.itemsize + int(rng.integers(-3, 4))]))
        values = torch.zeros(size, dtype=dtype)
        extremes = [largest, -largest, torch.finfo(dtype).smallest_normal / 2, 1.0]
        values[: len(extremes)] = torch.tensor(extremes[:size], dtype=dtype)
        if number % 3:
            bad = [float("nan"), float("inf"), -float("inf")][number % 4 % 3]
            values[int(rng.integers(size))] = bad
        tensors[str(number)] = values
        if not bool(torch.isfinite(values).all()):
            expected[str(number)] = "NaN" if bool(torch.isnan(values).any()) else "infinity"
        if number % 20 == 19:
            path = tmp_path / f"{number}.safetensors"
            save_file(tensors, path)
            assert not_finite(path, read_tensors(path)) == expected
            assert number < 19 or expected
            path.unlink()
            tensors, expected = {}, {}


def test_the_files_are_checked_without_torch():
    """VALIDATE's image has none."""
    import subprocess

    code = "import sys; from c2sflow.model import files; sys.exit('torch' in sys.modules)"
    path = str(next(p for p in sys.path if p.endswith("/bin")))
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}).returncode == 0


def test_memory_of_a_model_is_logged_and_what_can_never_hold_it_is_a_fault(demo_model, monkeypatch):
    asked = {"embedding_prompt": {"template": EMBEDDING_PROMPT}}

    def check(**place):
        return check_and_describe(demo_model, None, "demo", asked, Place(**place))

    record, faults, log = check()
    assert not faults
    assert record["model_type"] == "gemma2"
    assert re.search(
        r"\nmemory of the model: \d MiB in bfloat16 \(\d MiB as int8, \d MiB as nf4\), at least "
        r"1\.0 GiB to work, and \d MiB for each 1,000 tokens",
        log,
    )
    assert "in float32" in check(device="cpu", here=True)[2]
    monkeypatch.setattr(placement, "whole_memory", lambda _device: [2**29])
    assert not check(device="cpu")[1]  # the GPU steps run elsewhere
    record, faults, _ = check(device="cpu", here=True)
    assert record == {}
    assert re.fullmatch(
        r"--model demo: it takes \d MiB in float32 and 1\.0 GiB to work, and cpu has 512 MiB; "
        r"use a machine with 1\.0 GiB; even nf4 takes \d MiB",
        faults[0],
    )
