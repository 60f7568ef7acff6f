"""Tokens of many genes at once are those of each gene encoded by itself."""

import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from real_tokenizers import gemma2_tokenizer, gene_symbols, write_byte_level_tokenizer

from c2sflow.common.errors import UserError
from c2sflow.generation import logits
from c2sflow.generation.cell_tokens import LINE_END, cell_tokens
from c2sflow.generation.logits import ANCHOR, GENE_END, behind, gene_tokens
from c2sflow.model.loading import load_tokenizer

ODD = [
    "7SK", "1-MAR", "HLA.A", "RP11-34P13.7", "5S_RRNA", "é", "日本", "A B", "  A", "-", "...",
    "Cell 2:", "\tA", "<bos>", "<eos>", "</s>", "A\n", "ß", "ﬁ", "A\u0301",
]  # fmt: skip


@pytest.fixture(scope="module", params=["bundled", "Gemma-2", "byte-level"])
def any_tokenizer(request, tokenizer, tmp_path_factory):
    if request.param == "bundled":
        return tokenizer
    if request.param == "byte-level":
        folder = tmp_path_factory.mktemp("byte_level")
        write_byte_level_tokenizer(gene_symbols(4000, seed=1), folder, 2000)
        return load_tokenizer(folder)
    try:
        return load_tokenizer(gemma2_tokenizer())
    except LookupError as reason:
        pytest.skip(f"no Gemma-2 tokenizer: {reason}")


def alone(tokenizer, before, text):
    """Tokens of one text behind another, by the characters that each token stands for."""
    whole = tokenizer(before + text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = whole["input_ids"], whole["offset_mapping"]
    cut = sum(end <= len(before) for _, end in offsets)
    parted = cut < len(ids) and offsets[cut][0] >= len(before)
    written = tokenizer.decode(ids, skip_special_tokens=True) == before + text
    return ids[cut:] if parted and written else None


# Behind the last ones many tokens hold the end of what is before and the beginning of a gene.
@pytest.mark.parametrize("before", [ANCHOR, LINE_END, GENE_END, "A", "AC0"])
def test_all_at_once_are_as_each_alone(any_tokenizer, before, monkeypatch):
    monkeypatch.setattr(logits, "CHUNK", 100)
    symbols = [*gene_symbols(300, seed=2), *ODD]
    texts = [*symbols, *(f" {symbol}" for symbol in symbols), ".\nCell 2:\n", ".\n.", "."]
    each = {text: alone(any_tokenizer, before, text) for text in texts}
    found = behind(any_tokenizer, before, texts)
    assert found == {text: ids for text, ids in each.items() if ids is not None}
    assert len(found) > 300
    if before == "AC0":
        assert len(found) < len(texts)


def test_a_tokenizer_that_strips_texts_is_read_by_its_offsets(tmp_path):
    """Alone, the line end before a gene is lost to it."""
    write_byte_level_tokenizer(gene_symbols(1000, seed=1), tmp_path, 600)
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    symbols = gene_symbols(50, seed=2)
    found = behind(tokenizer, LINE_END, symbols)
    assert found == {symbol: alone(tokenizer, LINE_END, symbol) for symbol in symbols}


def test_what_the_tokenizer_was_asked_before_changes_nothing(any_tokenizer):
    symbols = gene_symbols(50, seed=3)
    wanted = {symbol: alone(any_tokenizer, ANCHOR, f" {symbol}") for symbol in symbols}
    any_tokenizer(symbols, padding=True, truncation=True, max_length=3)
    assert gene_tokens(any_tokenizer, symbols) == wanted


@pytest.fixture(scope="module")
def poor():
    """A tokenizer that can write one gene."""
    words = {"<unk>": 0, "<end>": 1, ":": 2, " CD8": 3}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    plain.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", eos_token="<end>")


def test_genes_a_tokenizer_cannot_say_are_left_out_and_said(poor, caplog):
    assert gene_tokens(poor, ["CD8", "CD4"]) == {"CD8": [3]}
    assert "this tokenizer cannot represent 1 genes, such as 'CD4'" in caplog.text


def test_a_tokenizer_that_cannot_part_cells_is_a_clear_fault(poor):
    with pytest.raises(UserError, match=r"cannot represent '\.\\nCell 2:\\n', which parts cells"):
        cell_tokens(poor, gene_tokens(poor, ["CD8"]), 2)
