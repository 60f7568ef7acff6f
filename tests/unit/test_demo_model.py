"""The bundled demo model is whole, keeps Gemma-2's traits, and knows what its card says."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "assets" / "demo_model"
sys.path.append(str(ROOT / "benchmarks"))

from demo_model.cells import demo_cells, split  # noqa: E402
from demo_model.evaluation import type_scores  # noqa: E402
from demo_model.tasks import ExampleStream  # noqa: E402
from demo_model.tokenizer import demo_tokenizer  # noqa: E402

from c2sflow.prompts import EMBEDDING_PROMPT  # noqa: E402

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


def test_tokenizer_is_what_the_script_makes(cells):
    assert demo_tokenizer(cells.words, cells.types).get_vocab() == TOKENIZER.get_vocab()


def test_heldout_list_is_the_split(cells):
    train, heldout = split(cells.labels)
    assert (MODEL / "heldout_cells.txt").read_text().split() == list(cells.ids[heldout])
    assert len(train) == 560
    assert not set(train) & set(heldout)
    for fold in range(5):  # choosing a recipe never touches the held-out cells
        assert not set(np.concatenate(split(cells.labels, fold))) & set(heldout)


def test_counts_give_back_the_sentences(cells):
    """Counts recovered for augmentation tie exactly where the values tie."""
    for row in range(0, 700, 70):
        values, counts = cells.values[row].toarray()[0], cells.counts[row]
        assert (
            np.unique(values, return_inverse=True)[1] == np.unique(counts, return_inverse=True)[1]
        ).all()


def test_training_examples_are_prompt_answer_eos(cells):
    train, _ = split(cells.labels)
    stream = ExampleStream(cells, train, TOKENIZER, seed=1)
    for example in (stream.example() for _ in range(50)):
        prompt = TOKENIZER.decode(example.ids[: example.n_prompt], skip_special_tokens=True)
        reply = TOKENIZER.decode(example.ids[example.n_prompt : -1])
        assert TOKENIZER(prompt).input_ids == example.ids[: example.n_prompt]
        assert reply.startswith(" ")
        assert not reply.endswith(" ")
        assert example.ids[-1] == TOKENIZER.eos_token_id
        assert len(example.weights) == len(example.ids)
        if example.cell_type >= 0:
            assert reply[1:] == cells.types[example.cell_type]
        else:
            assert set(reply.split()) <= set(cells.words)


def test_says_the_type_of_heldout_cells(cells, model):
    _, heldout = split(cells.labels)
    sentences = np.array(cells.sentences(seed=42), dtype=object)
    accuracy, _ = type_scores(model, TOKENIZER, sentences[heldout][:60], cells.labels[heldout][:60])
    assert accuracy > 0.7
    assert EMBEDDING_PROMPT.endswith(":")  # the answer, not the prompt, brings the space
