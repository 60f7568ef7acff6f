"""The bundled demo model is whole, keeps Gemma-2's traits, and knows what its card says."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "assets" / "demo_model"
sys.path.append(str(ROOT / "benchmarks"))

from demo_model.cells import demo_cells  # noqa: E402
from demo_model.evaluation import Predictor, type_scores  # noqa: E402

from c2sflow.sentences.prompts import ANNOTATION_PROMPT, EMBEDDING_PROMPT  # noqa: E402

TOKENIZER = transformers.AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def cells():
    return demo_cells()


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype="float32").eval()


def test_architecture_is_gemma_2(model):
    config = model.config
    assert isinstance(model, transformers.Gemma2ForCausalLM)
    assert (config.attn_logit_softcapping, config.final_logit_softcapping) == (50.0, 30.0)
    assert config.layer_types == ["sliding_attention", "full_attention"] * 2
    assert config.num_key_value_heads < config.num_attention_heads
    assert config.tie_word_embeddings
    assert config.max_position_embeddings >= 1024
    assert config.vocab_size == len(TOKENIZER)
    assert model.generation_config.eos_token_id == TOKENIZER.eos_token_id == 1
    assert 1e6 < model.num_parameters() < 3e6


def test_directory_is_small_whole_and_readable():
    files = {path.name: path.stat() for path in MODEL.iterdir()}
    assert set(files) == {
        *("config.json", "generation_config.json", "model.safetensors", "README.md"),
        *("tokenizer.json", "tokenizer_config.json", "training.json", "heldout_cells.txt"),
        "c2s_model.json",
    }
    assert sum(stat.st_size for stat in files.values()) < 8e6
    assert all(stat.st_mode & 0o444 == 0o444 for stat in files.values())


def test_tokenizer_has_gemma_manners():
    ids = (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id, TOKENIZER.bos_token_id)
    assert ids == (0, 1, 2)
    assert TOKENIZER.padding_side == "left"
    assert TOKENIZER("gene").input_ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER("gene", add_special_tokens=False).input_ids[0] != TOKENIZER.bos_token_id


# Names of special tokens are read as such, here as in Gemma: outside of the promise.
TEXT = st.text() | st.lists(
    st.sampled_from([" CD3D", "CST3.", " ", "\n", "<0x41>", "▁", "é", "基因", " HLA-DRA", "<", "."])
).map("".join)


@given(TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_round_trips(text):
    ids = TOKENIZER(text).input_ids
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    assert TOKENIZER.unk_token_id not in ids


def test_each_demo_gene_is_one_token(cells):
    sentence = "".join(f" {word}" for word in cells.words)
    ids = TOKENIZER(sentence + ".", add_special_tokens=False).input_ids
    genes = TOKENIZER.convert_tokens_to_ids([f" {word}" for word in cells.words])
    assert ids[:-1] == genes
    assert TOKENIZER.decode(ids[-1:]) == "."
    first_of_sentence = TOKENIZER(f"Cell sentence: {cells.words[0]}.").input_ids
    assert first_of_sentence[-2:] == [genes[0], ids[-1]]


def test_model_is_what_the_documented_command_makes():
    """Its record names the options of `-profile demo_model`, and cells of the demo's split."""
    record = json.loads((MODEL / "training.json").read_text())
    profile = (ROOT / "conf" / "demo_model.config").read_text()
    asked = dict(re.findall(r"^    (\w+) = (.+?)(?: //.*)?$", profile, re.MULTILINE))
    names = {
        "finetune": "tasks",
        "finetune_method": "method",
        "finetune_batch_tokens": "batch_tokens",
    }
    told = {names.get(name, name): value.strip("'") for name, value in asked.items()}
    options = record["options"]
    found = {name: value for name, value in told.items() if name in options}
    assert len(found) >= 9
    for name, value in found.items():
        assert str(options[name]).lower().removesuffix(".0") == value, name
    assert record["n_cells"] == {"train": 560, "validation": 0, "test": 140}
    assert record["steps"] == record["best_step"] == options["max_steps"]
    assert "`make demo-model`" in (MODEL / "README.md").read_text()


def test_says_the_type_of_heldout_cells(cells, model):
    rows = np.flatnonzero(cells.heldout)[:60]
    sentences = np.array(cells.sentences(seed=42), dtype=object)
    accuracy, _ = type_scores(model, TOKENIZER, sentences[rows], cells.labels[rows])
    assert accuracy > 0.7
    # The answer, not the prompt, brings the space.
    assert EMBEDDING_PROMPT.endswith(":")
    assert ANNOTATION_PROMPT.endswith(":")


def test_converts_heldout_cells(cells, model):
    heldout = np.zeros_like(cells.heldout)
    heldout[np.flatnonzero(cells.heldout)[::4]] = True
    some = Predictor(model, TOKENIZER, replace(cells, heldout=heldout), seed=42)
    assert some.conversion(no_repeat=True)["label right"] > 0.7
