"""A model's configuration and tokenizer as their own classes read them."""

from __future__ import annotations

from pathlib import Path

import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.model.architectures.registry import family_at


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

    Raises
    ------
    UserError
        If there is none, or it has no padding token.
    """
    tokenizer = read_tokenizer(directory, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = family_at(directory).pad_token
    if tokenizer.pad_token_id is None:
        raise UserError(f"model {directory}: the tokenizer has no padding token")
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
