"""A model's own tokenizer."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from c2sflow.errors import UserError


def load_tokenizer(directory: str | Path) -> PreTrainedTokenizerBase:
    """The model's own fast tokenizer, padding on the left.

    Raises
    ------
    UserError
        If there is none, or it has no padding token.
    """
    tokenizer = read_tokenizer(directory, padding_side="left")
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
