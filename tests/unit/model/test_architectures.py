"""Every family embeds, generates, scores labels and shows its attention as transformers does.

The reference is transformers' eager model in float32, a prompt at a time. The tokenizer is
byte-level and has no padding token, as that of the published Pythia models.
"""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from families import KINDS, write_model, write_tokenizer
from safetensors.torch import load_file, save_file
from tape import Tape
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

import c2sflow
from c2sflow.common.errors import UserError
from c2sflow.generation import captured_step
from c2sflow.generation.annotation import ENDINGS, label_paths
from c2sflow.generation.answers import GeneVocabulary
from c2sflow.generation.decoding import Decoding, generate_tokens
from c2sflow.generation.gene_trie import GeneTrie
from c2sflow.generation.label_scoring import score_paths
from c2sflow.model.architectures.family import Family
from c2sflow.model.architectures.from_scratch import FROM_SCRATCH
from c2sflow.model.architectures.registry import FAMILIES, family_of
from c2sflow.model.attention import BLOCKWISE, TOLERANCE, disagreement
from c2sflow.model.attention_maps import attention_maps, gene_of_token
from c2sflow.model.check import model_faults
from c2sflow.model.embedding import embed_cells
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.prompts import EMBEDDING_PROMPT

CPU = torch.device("cpu")
END = 0


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def directories(records, tmp_path_factory):
    """Directory of a random model of each kind, written when it is first asked for."""
    folder = tmp_path_factory.mktemp("families")
    words = sorted({word for record in records for word in record["cell_sentence"].split()})

    def directory(kind):
        if not (folder / kind).exists():
            write_tokenizer(folder / kind, words[::2])
            write_model(kind, folder / kind)
        return folder / kind

    return directory


@pytest.fixture(scope="module")
def directory(kind, directories):
    return directories(kind)


@pytest.fixture(scope="module")
def tokenizer(directory):
    return load_tokenizer(directory)


@pytest.fixture(scope="module")
def model(directory):
    return load_model(directory, head=True, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def plain(directory):
    return AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def row(ids):
    return torch.from_numpy(np.asarray(ids)[None].astype(np.int64))


def test_it_is_whole_and_pads_with_its_end_token(directory, tokenizer):
    assert model_faults(directory) == []
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == END
    config = AutoConfig.from_pretrained(directory)
    assert disagreement(BLOCKWISE, config, CPU, torch.float32) < 1e-4
    assert disagreement(BLOCKWISE, config, CPU, torch.bfloat16) < 0.6 * TOLERANCE[torch.bfloat16]


def test_prompts_packed_without_their_bounds_are_seen(directory, monkeypatch):
    monkeypatch.setattr("c2sflow.model.attention.TAKE_PACKED", {BLOCKWISE})
    config = AutoConfig.from_pretrained(directory)
    assert disagreement(BLOCKWISE, config, CPU, torch.float32) > 1.2 * TOLERANCE[torch.bfloat16]


def test_flex_attention_agrees_in_packed_rows(directories):
    config = AutoConfig.from_pretrained(directories("gpt_neox"))
    assert disagreement("flex_attention", config, CPU, torch.float32) < 1e-4


@pytest.mark.parametrize("layer", [-1, 1])
def test_embeddings_of_batches_are_those_of_single_prompts(
    directory, plain, tokenizer, records, layer
):
    model = load_model(directory, head=False, device="cpu")
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
            states = plain(row(ids), output_hidden_states=True)
        wanted = states.hidden_states[layer][0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("captures", [{}, {"cpu": Tape}], ids=["plain", "captured"])
def test_answers_end_where_transformers_ends_them(
    model, plain, tokenizer, records, captures, monkeypatch
):
    """Also with a prompt that holds the end token, which is the padding's."""
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records[:4], 480).input_ids
    monkeypatch.setattr(captured_step, "CAPTURES", captures)
    prompts[1] = np.append(prompts[1], [END]).astype(np.int32)
    with torch.no_grad():  # so that the end is likely
        bias = plain(row(prompts[0])).logits[0, -1]
    ends = [END, int(bias.topk(2).indices[1])]
    decoding = Decoding(tokenizer.pad_token_id, ends, max_new_tokens=12)
    for how in ({}, {"max_rows": 1}):
        answers, stats = generate_tokens(model, prompts, decoding, progress=False, **how)
        assert stats.captured == bool(captures)
        for answer, ids in zip(answers, prompts, strict=True):
            whole = plain.generate(
                row(ids), attention_mask=torch.ones(1, ids.size, dtype=torch.int64),
                max_new_tokens=12, do_sample=False, eos_token_id=ends, pad_token_id=END,
            )[0, ids.size :].tolist()  # fmt: skip
            ended = whole[-1] in ends
            assert answer.token_ids == (whole[:-1] if ended else whole)
            assert answer.finish_reason == ("eos" if ended else "length")


def test_answers_are_genes_and_the_same_in_any_batch(model, tokenizer, records, pbmc):
    words = set(pbmc.var_names.str.upper())
    genes = GeneVocabulary(tokenizer, words)
    assert set(genes.tokens) == words
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records[:6], 440).input_ids
    trie = GeneTrie(list(genes.tokens.values()), [END])
    decoding = Decoding(END, [END], 60, trie=trie, max_genes=10)
    answers, _ = generate_tokens(model, prompts, decoding, progress=False)
    alone, _ = generate_tokens(model, prompts, decoding, progress=False, max_rows=1)
    for answer, other, ids in zip(answers, alone, prompts, strict=True):
        assert answer.token_ids == other.token_ids
        found = tokenizer.decode(answer.token_ids).split()
        assert len(set(found)) == len(found)
        assert set(found) <= words
        assert bool(found) == bool(ids.size)


def test_labels_have_their_exact_probability(model, plain, tokenizer, records):
    prompts = tokenize_prompts(tokenizer, EMBEDDING_PROMPT, records[:3], 480).input_ids
    paths = label_paths(tokenizer, ["CD4 T cell", "CD4", "monocyte"])
    scores, _ = score_paths(model, prompts, paths, [END], END, progress=False)
    assert len(paths) == 3 * len(ENDINGS)
    for ids, found in zip(prompts, scores, strict=True):
        for path, score in zip(paths, found, strict=True):
            whole = np.concatenate([ids, path, [END]])
            with torch.no_grad():
                log_probs = plain(row(whole)).logits[0].double().log_softmax(dim=-1)
            places = np.arange(ids.size - 1, whole.size - 1)
            wanted = log_probs[places, whole[ids.size :]].sum()
            assert score == pytest.approx(float(wanted), abs=1e-3)


def test_attention_maps_are_the_weights_of_eager(directory, plain, tokenizer, records):
    record = {**records[0], "cell_sentence": "FTL CD74 XYZZY-1 7SK HLA-DRA", "n_genes": 5}
    backbone = load_model(directory, head=False, device="cpu")
    (made,) = attention_maps(backbone, tokenizer, EMBEDDING_PROMPT, [record], -1)
    ids, genes = gene_of_token(tokenizer, EMBEDDING_PROMPT, record)
    for number, gene in enumerate(record["cell_sentence"].split()):
        assert tokenizer.decode(ids[genes == number]).strip() == gene
    with torch.no_grad():
        weights = plain(row(ids), output_attentions=True).attentions[-1][0].numpy()
    member = (genes == np.arange(5)[:, None]).astype(float)
    wanted = (member / member.sum(axis=1, keepdims=True)) @ weights @ member.T
    np.testing.assert_allclose(made, wanted, atol=1e-5)


@pytest.mark.parametrize(("quantization", "least"), [("nf4", 0.85), ("int8", 0.999)])
def test_quantised_it_embeds_much_the_same(directory, tokenizer, records, quantization, least):
    vectors = []
    for kind in ("none", quantization):
        model = load_model(directory, head=False, device="cpu", quantization=kind)
        made = embed_cells(model, tokenizer, EMBEDDING_PROMPT, records[:4], progress=False)
        vectors.append(torch.from_numpy(made.vectors))
    cosine = torch.nn.functional.cosine_similarity(*vectors)
    assert cosine.min() > least


def test_files_as_pythia_s_were_written_before_transformers_5(directories, tmp_path):
    """Buffers of the attention that are none any more; the head is embed_out in files of 5, too."""
    source = directories("gpt_neox")
    for path in source.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(source / "model.safetensors")
    assert "embed_out.weight" in tensors
    for layer in range(3):
        place = f"gpt_neox.layers.{layer}.attention"
        tensors[f"{place}.bias"] = torch.ones(1, 1, 512, 512, dtype=torch.bool).tril()
        tensors[f"{place}.masked_bias"] = torch.tensor(-1e9)
        tensors[f"{place}.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert model_faults(tmp_path) == []
    ids = row(np.arange(2, 40))
    with torch.no_grad():
        old, new = (load_model(path, head=True, device="cpu")(ids) for path in (tmp_path, source))
    torch.testing.assert_close(old.logits, new.logits)


@pytest.mark.parametrize("named", ["PreTrainedTokenizerFast", "GPTNeoXTokenizer"])
def test_tokens_are_those_of_the_file(directories, tmp_path, named):
    """Whichever class the settings name: that of GPT-NeoX has a padding token of its own."""
    source = directories("gpt_neox")
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": named}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    texts = ["Cells: CD74 HLA-DRA  MT-ND1 7SK", "é 日本 C1ORF56", " a"]
    plain = Tokenizer.from_file(str(source / "tokenizer.json"))
    assert load_tokenizer(tmp_path)(texts)["input_ids"] == [plain.encode(t).ids for t in texts]
    assert model_faults(tmp_path) == []


def test_without_padding_and_end_token_it_is_refused(directories, tmp_path):
    source = directories("gpt_neox")
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="neither a padding token nor one that ends an answer"):
        load_tokenizer(tmp_path)


def test_an_unknown_family_is_refused_by_the_names_of_those_known(directories, tmp_path):
    source = directories("gpt_neox")
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "bloom", "architectures": ["BloomForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_faults(tmp_path) == [
        f"model {tmp_path}: a bloom model, of a family that c2sflow does not know; it runs "
        "GPT-NeoX (Pythia), Gemma-2, Gemma-3, Llama and Qwen"
    ]


def test_families_are_told_apart_and_complete():
    assert {family_of(kind) for kind in FAMILIES} == set(FAMILIES.values())
    small = {f for f in FAMILIES.values() if type(f).small_model is not Family.small_model}
    assert small == set(FROM_SCRATCH.values())
    tested = {kind for kind, family in FAMILIES.items() if family.tested}
    assert tested == {*KINDS, "gemma2"}  # which the other tests run
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
