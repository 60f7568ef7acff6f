"""The demo model's tokenizer: the library's, for the demo's genes, cell types and conditions."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

from c2sflow.prompts import EMBEDDING_PROMPT, GENERATION_PROMPT, PERTURBATION_PROMPT
from c2sflow.small_gemma import make_tokenizer

PROMPTS = (EMBEDDING_PROMPT, GENERATION_PROMPT, PERTURBATION_PROMPT)
CONDITIONS = "conversion to no change deletion of human mouse"


def demo_tokenizer(gene_words: Iterable[str], cell_types: Iterable[str]) -> PreTrainedTokenizerFast:
    """Each gene and each word of prompts, conditions and cell types is one token."""
    return make_tokenizer(gene_words, PROMPTS, [CONDITIONS, *cell_types])
