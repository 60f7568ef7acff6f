"""A model's configuration and tokenizer as their own classes read them."""

from __future__ import annotations

from pathlib import Path

import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError


def load_config(directory: str | Path) -> PreTrainedConfig:
    """The configuration of a directory; nothing of it runs code of the directory.

    Raises
    ------
    UserError
        If transformers does not know the family, or its class refuses the values.
    """
    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever the class of a family raises
        reason = " ".join(str(error).split())
        if "does not recognize this architecture" in reason:
            reason = f"transformers {transformers.__version__} does not know its model_type"
        if "trust_remote_code" in reason:
            reason = "its code (auto_map) would have to run, and c2sflow runs none"
        raise UserError(f"model {directory}: config.json cannot be used: {reason[:300]}") from None


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerBase:
    """The model's own fast tokenizer, padding on the left.

    Without a padding token (GPT-NeoX, Llama) it pads with the end token: what is padding is known
    from lengths and masks, nowhere from the token.

    Raises
    ------
    UserError
        If there is none, or it has neither a padding token nor an end token.
    """
    tokenizer = read_tokenizer(directory, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"model {directory}: the tokenizer has neither a padding token nor one that ends an "
            "answer (eos); take the tokenizer_config.json that was saved with the weights"
        )
    return tokenizer


def read_tokenizer(directory: str | Path, **options: object) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory, that of a text encoder too.

    Raises
    ------
    UserError
        If there is none that transformers loads.
    """
    try:
        return AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True, **options
        )
    except Exception as error:  # tokenizers raises Exception itself
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model {directory}: tokenizer cannot be loaded: {reason}; fetch the model again"
        ) from None
