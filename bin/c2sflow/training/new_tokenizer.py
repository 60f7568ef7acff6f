"""The tokenizer of a model that is trained from scratch: made for the data, in Gemma's manner."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]  # ids 0 to 3, as Gemma has them
N_PIECES = 160  # merges for gene symbols that the data do not have

# A word with the space before it, without the punctuation after it. "<" stands alone, so that a
# text like "<0x41>" is never taken for the byte token of that name.
WORD = r" ?[^\s<]+?(?=[.,:]*(?:[\s<]|$))|[.,:<]|\s"


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(WORD), behavior="isolated")


def _pieces(words: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Characters and merged pieces of gene symbols, and the merges that make them."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _pre_tokenizer()
    alphabet = [*string.printable[:95], "\n", "\t"]
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + N_PIECES, initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(words, trainer)
    model = json.loads(learner.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(m) for m in model["merges"]]


def prompt_words(prompts: Iterable[str], fillings: Iterable[str]) -> list[str]:
    """Every word of the prompts and of what fills their fields, as the pre-tokenizer cuts it."""
    texts = [re.sub(r" \{\w+\}", " ", prompt) for prompt in prompts]
    texts += [f" {filling}" for filling in fillings]
    cut = _pre_tokenizer().pre_tokenize_str
    return sorted({word for text in texts for word, _ in cut(text)})


def make_tokenizer(
    gene_words: Iterable[str], prompts: Iterable[str], fillings: Iterable[str]
) -> PreTrainedTokenizerFast:
    """A tokenizer in Gemma's manner: any text round-trips, and each gene is one token.

    Each of " GENE" (also before "."), and each word of the prompts, is one token; other text falls
    into pieces, characters and, in the end, bytes.

    Parameters
    ----------
    gene_words
        Words of the data's genes.
    prompts
        Templates.
    fillings
        The contents of their fields, apart from genes and numbers: cell types, perturbations.
    """
    gene_words = list(gene_words)
    pieces, merges = _pieces(gene_words)
    entries = [
        *SPECIAL,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *pieces,
        *prompt_words(prompts, fillings),
        *(f" {word}" for word in gene_words),
    ]
    vocabulary = {entry: i for i, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            ignore_merges=True,  # a whole word of the vocabulary is one token
        )
    )
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
