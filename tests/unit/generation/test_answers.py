"""Answers as sentences: the likelihood is that of the genes that the answer holds."""

import numpy as np
import pytest
import torch

from c2sflow.generation.answers import answer_sentences
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.generation.logits import gene_tokens
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

GENES = ["CD8", "CD8ALPHABETA", "XYZZYX-1", "HLA-DRB1-LIKE", "ORF12345", "TRBV20OR9-2", "FTL"]


@pytest.fixture(scope="module")
def prompts(tokenizer, records):
    some = [record for record in records[:10] if record["n_genes"]]
    return tokenize_prompts(tokenizer, EMBEDDING_PROMPT, some, 512).input_ids


def likelihood(reference, ids, answer):
    """Log-probability of an answer's tokens, by one plain forward pass."""
    whole = torch.tensor([[*ids.tolist(), *answer]])
    with torch.no_grad():
        scores = reference(whole).logits[0, ids.size - 1 : -1].double().log_softmax(dim=-1)
    return scores.gather(1, whole[0, ids.size :, None]).sum().item()


def answers(model, tokenizer, prompts, **options):
    keys = [str(n) for n in range(len(prompts))]
    return answer_sentences(
        model, tokenizer, prompts, keys, GENES, max_new_tokens=11, progress=False, **options
    )[0]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_of_an_answer_cut_within_a_gene_the_kept_tokens_count(
    model, tokenizer, reference, prompts, temperature
):
    made = answers(model, tokenizer, prompts, temperature=temperature)
    tokens = gene_tokens(tokenizer, GENES)
    n_kept = []
    for ids, row in zip(prompts, made.itertuples(), strict=True):
        kept = [token for gene in row.c2s_sentence.split() for token in tokens[gene]]
        end = [tokenizer.eos_token_id] if row.c2s_finish_reason == "eos" else []
        expected = likelihood(reference, ids, [*kept, *end])
        assert row.c2s_log_likelihood == pytest.approx(expected, rel=1e-3)
        n_kept.append(len(kept) if not end else 11)
    assert min(n_kept) < 11  # some are cut within a gene


def test_of_a_free_answer_likewise(model, tokenizer, reference, prompts):
    made = answers(model, tokenizer, prompts, valid_genes_only=False)
    decoding = Decoding(tokenizer.pad_token_id, [tokenizer.eos_token_id], 11)
    said, _ = generate_tokens(model, prompts, decoding, progress=False)
    for ids, row, answer in zip(prompts, made.itertuples(), said, strict=True):
        assert row.c2s_finish_reason == "length"
        words = [
            len(tokenizer.decode(answer.token_ids[:n]).replace(",", " ").split()) for n in range(12)
        ]
        n = max(n for n in range(12) if words[n] < words[11])  # the last word is half a gene
        while n and tokenizer.decode(answer.token_ids[n - 1 : n]).strip(" ,") == "":
            n -= 1
        expected = likelihood(reference, ids, answer.token_ids[:n])
        assert row.c2s_log_likelihood == pytest.approx(expected, rel=1e-3)
        assert np.isfinite(row.c2s_log_likelihood)
