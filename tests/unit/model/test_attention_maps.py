"""Attention between genes, against the weights transformers itself gives."""

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from c2sflow.model.attention_maps import attention_maps, gene_of_token
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, fill


@pytest.fixture(scope="module")
def tokenizer(random_model):
    return load_tokenizer(random_model)


@pytest.fixture(scope="module")
def cell():
    # Symbols that are one token, several tokens, and part of the prompt's own words.
    genes = ["FTL", "CD74", "XYZZY-1", "THE", "HLA-DRA", "CELL", "ABCDEF12"]
    return {"cell_sentence": " ".join(genes), "n_genes": len(genes), "organism": "human"}


def test_every_token_belongs_to_its_gene(tokenizer, cell):
    ids, genes = gene_of_token(tokenizer, EMBEDDING_PROMPT, cell)
    assert list(ids) == tokenizer(fill(EMBEDDING_PROMPT, cell))["input_ids"]
    for number, gene in enumerate(cell["cell_sentence"].split()):
        assert tokenizer.decode(ids[genes == number]).strip() == gene


def test_a_space_that_is_a_token_of_its_own_belongs_to_no_gene():
    """Gemma-2's tokenizer parts a space from a digit behind it."""
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Split(Regex(r" (?=\d)| ?[^ ]+"), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    record = {"cell_sentence": "CD74 5S_RRNA 7SK FTL", "n_genes": 4, "organism": "human"}
    _, genes = gene_of_token(tokenizer, "Of {cell_sentence} say", record)
    assert genes.tolist() == [-1, 0, -1, 1, -1, 2, 3, -1]


@pytest.mark.parametrize("layer", [-1, 0])
def test_equals_the_plain_aggregation(random_model, reference, tokenizer, cell, layer):
    backbone = load_model(random_model, head=False, device="cpu", attention="eager")
    (made,) = attention_maps(backbone, tokenizer, EMBEDDING_PROMPT, [cell], layer)
    ids, genes = gene_of_token(tokenizer, EMBEDDING_PROMPT, cell)
    with torch.no_grad():
        output = reference(torch.from_numpy(ids[None].astype(np.int64)), output_attentions=True)
    weights = output.attentions[layer][0].numpy()
    expected = np.zeros_like(made)
    for query in range(cell["n_genes"]):
        for key in range(cell["n_genes"]):
            block = weights[:, genes == query][:, :, genes == key]
            expected[:, query, key] = block.sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert not made[:, 0, 1:].any()  # a gene cannot look at those after it
