"""Answers as sentences: their likelihood is that of their genes, and their length in genes."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2sflow.data.own_columns import LIKELIHOODS
from c2sflow.generation.answers import GeneVocabulary, answer_sentences
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.generation.logits import full_stop, gene_tokens
from c2sflow.model.answer_limits import AnswerLimit
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import EMBEDDING_PROMPT, PERTURBATION_PROMPT

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
    vocabulary, limit = GeneVocabulary(tokenizer, GENES), AnswerLimit(n_genes=20, n_tokens=11)
    return answer_sentences(
        model, tokenizer, prompts, keys, vocabulary, limit, progress=False, **options
    )[0]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_of_an_answer_cut_within_a_gene_the_kept_tokens_count(
    model, tokenizer, reference, prompts, temperature
):
    made = answers(model, tokenizer, prompts, temperature=temperature, likelihood="full")
    tokens = gene_tokens(tokenizer, GENES)
    n_kept = []
    for ids, row in zip(prompts, made.itertuples(), strict=True):
        kept = [token for gene in row.c2s_sentence.split() for token in tokens[gene]]
        end = [tokenizer.eos_token_id] if row.c2s_finish_reason == "eos" else []
        ends = [end, [full_stop(tokenizer), *end]] if end else [end]
        expected = [likelihood(reference, ids, [*kept, *last]) for last in ends]
        assert any(row.c2s_log_likelihood == pytest.approx(one, rel=1e-3) for one in expected)
        n_kept.append(len(kept) if not end else 11)
    assert min(n_kept) < 11  # some are cut within a gene


def test_the_column_names_what_the_likelihood_is_among(model, tokenizer, prompts):
    """The answers are the same; among fewer tokens each is likelier."""
    valid, full = (
        answers(model, tokenizer, prompts, likelihood=name) for name in ("valid", "full")
    )
    names = ["c2s_log_likelihood_valid", "c2s_log_likelihood"]
    assert [name for name in names if name in valid] == names[:1]
    assert [name for name in names if name in full] == names[1:]
    assert valid.drop(columns=names[0]).equals(full.drop(columns=names[1]))
    assert (valid[names[0]] > full[names[1]]).all()
    free = answers(model, tokenizer, prompts, likelihood="valid", valid_genes_only=False)
    assert [name for name in names if name in free] == names[1:]


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


@pytest.fixture(scope="module")
def within(demo_model, records, pbmc):
    """Answers of the bundled model, which ends most after 100 genes, within some limit."""
    model = load_model(demo_model, head=True, device="cpu", dtype="float32")
    tokenizer = load_tokenizer(demo_model)
    asked = [{**r, "perturbation": "conversion to CD19+ B"} for r in records if r["n_genes"] > 60]
    prompts = tokenize_prompts(tokenizer, PERTURBATION_PROMPT, asked, 512).input_ids
    # Some genes are none to it, and spelled in many tokens.
    vocabulary = GeneVocabulary(tokenizer, [*pbmc.var_names, *(f"RP11-{n}" for n in range(50))])

    @cache
    def answer(n_genes, **how):
        limit = AnswerLimit(n_genes, n_tokens=500)
        keys = [str(n) for n in range(len(prompts))]
        made, _ = answer_sentences(
            model, tokenizer, prompts, keys, vocabulary, limit, progress=False, **how
        )
        own = next(name for name in LIKELIHOODS.values() if name in made)
        return made.rename(columns={own: "likelihood"}).assign(
            n_words=made[["c2s_n_predicted_genes", "c2s_invalid_genes", "c2s_duplicate_genes"]].sum(
                axis=1
            )
        )

    return answer


@settings(max_examples=8)
@given(
    n_genes=st.sampled_from([1, 7, 60, 98, 99, 100, 101, 110]),
    how=st.sampled_from(
        [
            {},
            {"temperature": 1.0, "top_p": 0.9},
            {"no_repeats": False},
            {"valid_genes_only": False},
            {"valid_genes_only": False, "temperature": 1.0},
        ]
    ),
)
def test_no_answer_has_more_genes_and_one_that_ends_is_the_same_within_any_higher_limit(
    within, n_genes, how
):
    made, longer = within(n_genes, **how), within(140, **how)
    assert (made["n_words"] <= n_genes).all()
    for short, whole in zip(made.itertuples(), longer.itertuples(), strict=True):
        if short.c2s_finish_reason == "eos":
            assert short.c2s_sentence == whole.c2s_sentence
            assert short.likelihood == pytest.approx(whole.likelihood, rel=1e-4, abs=1e-4)
            assert whole.c2s_finish_reason == "eos"
        else:  # cut behind exactly so many genes, of which the longer answer has more
            assert short.n_words == n_genes
            assert whole.c2s_sentence.startswith(short.c2s_sentence)
            assert whole.n_words > n_genes
            assert short.likelihood > whole.likelihood


def test_the_limit_is_met_and_missed(within):
    """Else the property above would hold for nothing."""
    assert (within(140)["c2s_finish_reason"] == "eos").any()
    assert set(within(99)["c2s_finish_reason"]) | set(within(110)["c2s_finish_reason"]) == {
        "eos", "length",
    }  # fmt: skip
