"""Valid-gene decoding: with any model and tokenizer, genes only, each once."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.generation.answers import GeneVocabulary, answer_sentences, parse_answer
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.generation.gene_trie import GeneTrie
from c2sflow.generation.logits import full_stop, gene_tokens
from c2sflow.model.answer_limits import AnswerLimit
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import PERTURBATION_PROMPT

EOS, STOP = 0, 9  # a full stop, which genes may hold, too
# Genes of tokens 1 to 9, many of them prefixes of others.
PATHS = st.lists(
    st.lists(st.integers(4, 9), max_size=3).map(tuple), min_size=1, max_size=20, unique=True
).flatmap(
    lambda tails: st.lists(
        st.integers(1, 3), min_size=len(tails), max_size=len(tails)
    ).map(lambda heads: sorted({(head, *tail) for head, tail in zip(heads, tails, strict=True)}))
)  # fmt: skip


def split(tokens):
    """Tokens back to genes: 1 to 3 begin one."""
    starts = [n for n, token in enumerate(tokens) if token <= 3] + [len(tokens)]
    return [tuple(tokens[a:b]) for a, b in itertools.pairwise(starts)]


def allowed_slowly(paths, said, no_repeats, stop):
    """What may come next, by trying every continuation; and what of it continues a gene."""
    genes = split(said)
    done, under_way = genes[:-1], genes[-1] if genes else ()
    free = [path for path in paths if not (no_repeats and path in done)]
    longer = {path[len(under_way)] for path in free if len(path) > len(under_way)
              and path[: len(under_way)] == under_way} if under_way else set()  # fmt: skip
    allowed = set(longer)
    if under_way in free or not under_way:
        rest = [path for path in free if not (no_repeats and path == under_way)]
        allowed |= {path[0] for path in rest}
        allowed |= {EOS, *stop} if under_way else set()
    return allowed, longer


@given(
    paths=PATHS,
    seed=st.integers(0, 10_000),
    no_repeats=st.booleans(),
    stop=st.sampled_from([(), (STOP,)]),
)
def test_allows_exactly_what_leads_to_a_gene(paths, seed, no_repeats, stop):
    trie = GeneTrie(paths, [EOS], no_repeats=no_repeats, full_stop=next(iter(stop), None))
    rng = np.random.default_rng(seed)
    said = [[], [], []]
    stopped = [False] * 3
    state = trie.start(3)
    for step in range(12):
        scores = torch.from_numpy(rng.normal(size=(len(said), trie.n_valid)).astype(np.float32))
        constrained = trie.constrain(scores, state)
        continued = []
        for row, tokens in enumerate(said):
            found = trie.tokens[torch.isfinite(constrained[row])].tolist()
            allowed, longer = allowed_slowly(paths, tokens, no_repeats, stop)
            continued.append(longer)
            assert set(found) == ({EOS} if stopped[row] else allowed)
        kept = torch.isfinite(constrained)
        assert torch.equal(constrained[kept], scores[kept])
        chosen = constrained.argmax(dim=1)
        tokens = trie.tokens[chosen]
        trie.advance(state, chosen, torch.full_like(chosen, step), tokens != EOS)
        alive = [row for row, token in enumerate(tokens.tolist()) if token != EOS]
        state = state.select(torch.tensor(alive, dtype=torch.int64))
        stopped = [tokens[row] == STOP and STOP not in continued[row] for row in alive]
        said = [[*said[row], int(tokens[row])] for row in alive]
        if not said:
            break


@pytest.fixture(scope="module")
def tokenizer(random_model):
    return load_tokenizer(random_model)


GENES = [
    "CD8",
    "CD8A",
    "CD8A-AS1",
    "HLA-DRA",
    "HLA-DRB1",
    "MT-ND1",
    "C1ORF56",
    "AC0123.4",
    "XYZ",
    "X",
]


def test_tokens_of_genes_are_those_of_a_sentence(tokenizer, pbmc):
    words = [*GENES, *pbmc.var_names.str.upper()]
    tokens = gene_tokens(tokenizer, words)
    assert set(tokens) == set(words)
    sentence = " ".join(words)
    whole = tokenizer(f"sentence: {sentence}", add_special_tokens=False)["input_ids"]
    said = [token for word in words for token in tokens[word]]
    assert whole[-len(said) :] == said


@pytest.mark.parametrize("temperature", [0.0, 2.0])
@pytest.mark.parametrize("n_new", [7, 60])
def test_an_untrained_model_says_genes_only_and_each_once(
    random_model, tokenizer, records, temperature, n_new
):
    model = load_model(random_model, head=True, device="cpu")
    cells = [{**record, "perturbation": "x"} for record in records[:10]]
    prompts = tokenize_prompts(tokenizer, PERTURBATION_PROMPT, cells, 400).input_ids
    trie = GeneTrie(list(gene_tokens(tokenizer, GENES).values()), [1])
    decoding = Decoding(0, [1], n_new, temperature, trie=trie)
    keys = [str(n) for n in range(10)]
    for budget in (20_000, 600):
        answers, _ = generate_tokens(
            model, prompts, decoding, keys=keys, max_batch_tokens=budget, progress=False
        )
        texts = [tokenizer.decode(answer.token_ids) for answer in answers]
        if budget == 20_000:
            first = texts
        parsed = [parse_answer(text, set(GENES)) for text in texts]
        assert texts == first
        assert [(a.n_invalid, a.n_duplicate) for a in parsed] == [(0, 0)] * 10, texts
        if n_new == 60:  # in 7 tokens not every gene can be said to its end
            assert all(bool(a.genes) == bool(p.size) for a, p in zip(parsed, prompts, strict=True))


def test_an_answer_may_end_with_a_full_stop(random_model, tokenizer, records):
    """As those that cell2sentence trains on do; it is no gene, and counts as none."""
    stop = full_stop(tokenizer)
    assert tokenizer.decode([stop]) == "."
    model = load_model(random_model, head=True, device="cpu")
    (prompt,) = tokenize_prompts(
        tokenizer, PERTURBATION_PROMPT, [{**records[0], "perturbation": "x"}], 400
    ).input_ids
    genes = GeneVocabulary(tokenizer, GENES)
    bias = torch.zeros(model.config.vocab_size)
    bias[stop] = 1e4  # a model that ends after one gene so
    model.lm_head.register_forward_hook(lambda _m, _i, logits: logits + bias)
    limit = AnswerLimit(n_genes=1, n_tokens=50)
    frame, _ = answer_sentences(model, tokenizer, [prompt], ["a"], genes, limit, likelihood="full")
    (row,) = frame.to_dict("records")
    assert row["c2s_sentence"] in GENES
    assert (row["c2s_n_predicted_genes"], row["c2s_invalid_genes"]) == (1, 0)
    assert row["c2s_finish_reason"] == "eos"


def test_without_the_trie_it_does_not(random_model, tokenizer, records):
    model = load_model(random_model, head=True, device="cpu")
    cells = [{**record, "perturbation": "x"} for record in records[:5]]
    prompts = tokenize_prompts(tokenizer, PERTURBATION_PROMPT, cells, 400).input_ids
    answers, _ = generate_tokens(model, prompts, Decoding(0, [1], 20), progress=False)
    parsed = [parse_answer(tokenizer.decode(a.token_ids), set(GENES)) for a in answers]
    assert sum(answer.n_invalid + answer.n_duplicate for answer in parsed) > 0
