"""A family of models has one home: one file of a new one is enough to embed and generate with it.

Pythia (GPT-NeoX) is the example: its tokenizer names no padding token, its heads are fused, its
backbone and head have names of their own. The reference is transformers' eager model.
"""

import ast
import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tape import Tape
from transformers import AutoConfig, AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

import c2sflow
from c2sflow.common.errors import UserError
from c2sflow.generation import captured_step
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.model.architectures.family import Family
from c2sflow.model.architectures.registry import FAMILIES, SMALL, family_of
from c2sflow.model.attention import BLOCKWISE, disagreement
from c2sflow.model.check import model_faults
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

CPU = torch.device("cpu")


class Pythia(Family):
    """What the file of a new family would hold."""

    model_types = ("gpt_neox",)
    name = "Pythia"
    backbones = ("gpt_neox",)
    heads = ("embed_out",)
    pad_token = "<pad>"
    attentions = ("blockwise", "eager")

    def probe(self, config):
        small = copy.deepcopy(config)
        small.update({"vocab_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 256})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(small, attn_implementation="eager")
        return model.gpt_neox.float().eval()


@pytest.fixture(scope="module")
def pythia(random_model, tmp_path_factory):
    """Directory of a random Pythia, whose tokenizer has the token but does not name it."""
    directory = tmp_path_factory.mktemp("pythia")
    torch.manual_seed(0)
    tokenizer = json.loads((random_model / "tokenizer.json").read_text())
    config = GPTNeoXConfig(
        vocab_size=max(tokenizer["model"]["vocab"].values()) + 1, hidden_size=64,
        intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=512, initializer_range=0.2, bos_token_id=2, eos_token_id=1,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(directory)
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((random_model / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(
        json.dumps({name: said for name, said in settings.items() if name != "pad_token"})
    )
    return directory


@pytest.fixture
def declared(monkeypatch):
    monkeypatch.setitem(FAMILIES, "gpt_neox", Pythia())


@pytest.fixture(scope="module")
def plain(pythia):
    return AutoModelForCausalLM.from_pretrained(pythia, attn_implementation="eager").eval()


def test_a_family_that_no_file_describes_lacks_its_padding_token(pythia):
    with pytest.raises(UserError, match="the tokenizer has no padding token"):
        load_tokenizer(pythia)
    assert any("no padding token" in fault for fault in model_faults(pythia))


@pytest.mark.usefixtures("declared")
def test_a_declared_family_is_whole(pythia):
    assert model_faults(pythia) == []
    assert load_tokenizer(pythia).pad_token == "<pad>"
    config = AutoConfig.from_pretrained(pythia)
    assert disagreement(BLOCKWISE, config, CPU, torch.float32) < 1e-3


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("layer", [-1, 1])
def test_a_declared_family_embeds(pythia, plain, records, layer):
    model, tokenizer = load_model(pythia, head=False, device="cpu"), load_tokenizer(pythia)
    assert model.config._attn_implementation == BLOCKWISE
    made = embed_cells(
        model, tokenizer, EMBEDDING_PROMPT, records, layer=layer, progress=False
    ).vectors
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records, 512).input_ids
    for vector, ids in zip(made, prompts, strict=True):
        if not ids.size:
            assert np.isnan(vector).all()
            continue
        with torch.no_grad():
            states = plain(torch.from_numpy(ids[None].astype(np.int64)), output_hidden_states=True)
        wanted = states.hidden_states[layer][0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("captures", [{}, {"cpu": Tape}], ids=["plain", "captured"])
def test_a_declared_family_generates(pythia, plain, records, captures, monkeypatch):
    monkeypatch.setattr(captured_step, "CAPTURES", captures)
    model, tokenizer = load_model(pythia, head=True, device="cpu"), load_tokenizer(pythia)
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records[:4], 480).input_ids
    decoding = Decoding(tokenizer.pad_token_id, [tokenizer.eos_token_id], max_new_tokens=12)
    answers, stats = generate_tokens(model, prompts, decoding, progress=False)
    assert stats.captured == bool(captures)
    for answer, ids in zip(answers, prompts, strict=True):
        whole = plain.generate(
            torch.from_numpy(ids[None].astype(np.int64)), max_new_tokens=12, do_sample=False,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )[0, ids.size :].tolist()  # fmt: skip
        assert answer.token_ids == [token for token in whole if token != tokenizer.eos_token_id]


def test_families_are_told_apart_and_complete():
    assert {family_of(kind) for kind in FAMILIES} == set(FAMILIES.values())
    assert SMALL.tested
    for family in FAMILIES.values():
        assert family.name
        assert set(family.config_names) == set(Family.config_names)
        if family.attentions:
            assert type(family).probe is not Family.probe


def asked(tree):
    """Lines where code compares a model type, or spells one out."""
    texts = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and "model_type" in ast.unparse(node):
            yield node.lineno
        if isinstance(node, ast.Constant) and node.value in FAMILIES and id(node) not in texts:
            yield node.lineno


def test_nothing_else_asks_for_a_model_type():
    package = Path(c2sflow.__file__).parent
    homes = package / "model" / "architectures"
    sources = [path for path in package.rglob("*.py") if homes not in path.parents]
    assert len(sources) > 100
    found = [
        f"{path.relative_to(package)}:{line}"
        for path in sources
        for line in asked(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found
    assert list(asked(ast.parse("if config.model_type != 'gemma2': pass")))
