"""Whether a model is whole: checked once, before the first cell is read.

Names and shapes of its tensors are compared with those of its class by transformers' own loading,
from the files' headers alone and on torch's meta device: nothing is read, and nothing is computed.
Then every weight is looked at once for NaN and infinity.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from c2sflow.common.errors import Faults, UserError, brief, some
from c2sflow.common.files import read_object
from c2sflow.model import adapters
from c2sflow.model.adapters import has_adapter
from c2sflow.model.config import load_config, load_tokenizer, read_tokenizer
from c2sflow.model.files import file_faults
from c2sflow.model.loading import loading_faults
from c2sflow.model.prompt_room import Asked, check_context
from c2sflow.model.trained import read_trained
from c2sflow.model.weights import FLOATING, model_tensors, not_finite, read_tensors, weight_files

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def model_faults(directory: str | Path, asked: Mapping[str, Asked] | None = None) -> Faults:
    """All that is wrong with a causal language model, a line each.

    Parameters
    ----------
    directory
        Model directory, with an adapter or without.
    asked
        By option, the prompts that it has to hold in its context.
    """
    directory = Path(directory)
    faults = file_faults(directory)
    if faults:
        return faults
    with _quiet(), faults.collect():
        config = load_config(directory)
        with faults.collect():
            model = _check_shapes(directory, config, MODEL_FOR_CAUSAL_LM_MAPPING)
            if has_adapter(directory):
                _check_adapter(directory, model)
        with faults.collect():
            _check_tokenizer(directory, config, asked or {}, faults)
    with faults.collect():
        _check_values(directory)
    return faults


def encoder_faults(directory: str | Path) -> Faults:
    """All that is wrong with a text encoder, a line each."""
    directory = Path(directory)
    faults = file_faults(directory, encoder=True)
    if faults:
        return faults
    with _quiet(), faults.collect():
        config = load_config(directory)
        with faults.collect():
            _check_shapes(directory, config, MODEL_MAPPING)
        with faults.collect():
            _check_ids(directory, config, read_tokenizer(directory))
    with faults.collect():
        _check_values(directory)
    return faults


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the messages of libraries: what matters in them is in the faults."""
    level, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if has_bar:
            logging.enable_progress_bar()


def _check_shapes(directory: Path, config: PreTrainedConfig, classes: Mapping) -> PreTrainedModel:
    """The model on torch's meta device, if the files' tensors are those of its class."""
    kind = classes.get(type(config), None)
    kind = kind[0] if isinstance(kind, tuple) else kind
    named = read_object(directory, "config.json").get("architectures") or []
    if kind is None or (classes is MODEL_FOR_CAUSAL_LM_MAPPING and kind.__name__ not in named):
        own = "no class of it" if kind is None else kind.__name__
        raise UserError(
            f"model {directory}: config.json names {some(named)}, and for its model_type "
            f"{config.model_type} transformers has {own}; take the config.json that was saved with "
            "the weights"
        )
    tensors = {name: tensor for name, (_, tensor) in model_tensors(directory).items()}
    state = {
        name: torch.empty(tensor.shape, dtype=DTYPES[tensor.dtype], device="meta")
        for name, tensor in tensors.items()
        if tensor.dtype in FLOATING
    }
    try:
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=state,
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # whatever the class of a family raises
        reason = brief(error)
        raise UserError(
            f"model {directory}: {kind.__name__} cannot be made of config.json: {reason}; take the "
            "one that was saved with the weights"
        ) from None
    if wrong := loading_faults(report, model, set(tensors)):
        raise UserError("; ".join(f"model {directory}: {fault}" for fault in wrong))
    return model


def _check_adapter(directory: Path, model: PreTrainedModel) -> None:
    """Whether an adapter's tensors are those that peft makes by its configuration."""
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict

    try:
        with torch.device("meta"):
            adapted = get_peft_model(model, PeftConfig.from_pretrained(str(directory)))
        state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    except Exception as error:  # whatever peft raises
        reason = brief(error)
        raise UserError(f"model {directory}: the adapter cannot be applied: {reason}") from None
    asked = {name: list(tensor.shape) for name, tensor in state.items()}
    held = {n: t.shape for n, t in read_tensors(directory / adapters.WEIGHTS).items()}
    if odd := sorted(name for name in asked.keys() | held if asked.get(name) != held.get(name)):
        raise UserError(
            f"model {directory}: {adapters.WEIGHTS} and {adapters.CONFIG} do not go together: "
            f"{some(odd)}; take those that were saved together"
        )


def _check_values(directory: Path) -> None:
    """No weight is NaN or infinite."""
    files = weight_files(directory) + ([adapters.WEIGHTS] if has_adapter(directory) else [])
    for name in files:
        if found := not_finite(directory / name, read_tensors(directory / name)):
            kinds = " and ".join(sorted(set(found.values())))
            raise UserError(
                f"model {directory}: {name} holds {kinds} in {some(sorted(found))}; fetch the "
                "model again, or take another checkpoint of its training"
            )


def _check_tokenizer(
    directory: Path, config: PreTrainedConfig, asked: Mapping[str, Asked], faults: Faults
) -> None:
    tokenizer = load_tokenizer(directory)
    with faults.collect():
        _check_ids(directory, config, tokenizer)
    if tokenizer.eos_token_id is None and config.eos_token_id is None:
        faults.append(f"model {directory}: the tokenizer has no token that ends an answer (eos)")
    word = "human"
    with faults.collect():
        word = max(read_trained(directory).organism_words.values(), default=word, key=len)
    for fault in check_context(tokenizer, config.max_position_embeddings, asked, word):
        faults.append(f"model {directory}: {fault}")


def _check_ids(
    directory: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Every token has its row in the embedding."""
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= config.vocab_size:
        raise UserError(
            f"model {directory}: the tokenizer has ids up to {largest}, and the model rows for "
            f"{config.vocab_size} tokens: it is another model's; take the tokenizer.json that was "
            "saved with the weights"
        )
