"""The model of the library's one object: found, fetched and loaded when first needed."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from c2sflow.api.config import HUB_MODELS, Cell2SenConfig
from c2sflow.common.errors import UserError
from c2sflow.model.adapters import has_adapter
from c2sflow.model.hub import base_folder, link_adapter, model_folder
from c2sflow.model.weights import base_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOGGER = logging.getLogger(__name__)


class Cell2SenModel:
    """Model and tokenizer by the settings. Sentences need neither.

    Parameters
    ----------
    config
        Settings.
    """

    def __init__(self, config: Cell2SenConfig):
        self.config = config

    @property
    def model_name(self) -> str:
        """The model as the settings name it."""
        return str(self.config.model_path or HUB_MODELS[self.config.model_size])

    @cached_property
    def model_path(self) -> Path:
        """Directory of the model, checked to be whole; an adapter's holds its base.

        A model of the hub is fetched once.

        Raises
        ------
        UserError
            If there is none, or it is not whole.
        """
        from c2sflow.model.check import model_faults

        folder = self._found()
        if faults := model_faults(folder):
            raise UserError("; ".join(faults))
        return folder

    def _found(self) -> Path:
        model = model_folder(self.model_name)
        if not has_adapter(model) or base_weights(model):
            if self.config.base_model is not None:
                LOGGER.warning("base_model: no effect, %s is no adapter without its base", model)
            return model
        base = base_folder(model, self.config.base_model)
        folder = Path(tempfile.mkdtemp(prefix="c2sflow-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        link_adapter(model, base, folder)
        return folder

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        from c2sflow.model.loading import load_tokenizer

        return load_tokenizer(self.model_path)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The causal language model; its backbone embeds, its head generates."""
        from c2sflow.model.loading import load_model

        return load_model(
            self.model_path,
            head=True,
            device=self.config.device,
            dtype=self.config.dtype,
            attention="flash_attention_2" if self.config.use_flash_attn else "auto",
            quantization="nf4" if self.config.use_quantization else "none",
        )

    def unload(self) -> None:
        """Give back the model's memory; it is loaded again when needed."""
        self.__dict__.pop("model", None)
