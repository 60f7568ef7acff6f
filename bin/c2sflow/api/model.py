"""The model of the library's one object: loaded when first needed, and used by its settings."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from c2sflow import __version__
from c2sflow.api.config import HUB_MODELS, Cell2SenConfig
from c2sflow.api.prompts import prompt_of, prompt_of_groups, wordings_of
from c2sflow.common.errors import UserError
from c2sflow.common.files import MODEL_SOFTWARE, SOFTWARE, software_versions
from c2sflow.model.adapters import has_adapter
from c2sflow.model.answer_limits import AnswerLength
from c2sflow.model.files import describe_model
from c2sflow.model.hub import base_folder, link_adapter, model_folder
from c2sflow.model.trained import Trained, published, read_trained, task_warnings
from c2sflow.model.weights import base_weights
from c2sflow.sentences.groups.text import hold_groups
from c2sflow.sentences.organism_words import with_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from c2sflow.model.embedding import Embeddings

LOGGER = logging.getLogger(__name__)


class Cell2SenModel:
    """Model, tokenizer and prompts by the settings. Sentences need none of them.

    Parameters
    ----------
    config
        Settings.
    """

    def __init__(self, config: Cell2SenConfig):
        self.config = config
        own = self._trained.prompts
        self.embedding_prompt = prompt_of(config, "embedding_prompt", own)
        self.annotation_prompt = prompt_of(config, "annotation_prompt", own)
        self.perturbation_prompt = prompt_of(config, "perturbation_prompt", own)
        self.group_prompt = prompt_of_groups(config, "group_prompt")
        self.interpretation_prompt = prompt_of_groups(config, "interpretation_prompt")

    @property
    def model_name(self) -> str:
        """The model as the settings name it."""
        return str(self.config.model_path or HUB_MODELS[self.config.model_size])

    @property
    def _trained(self) -> Trained:
        """What is known of the model before it is fetched."""
        name = self.model_name
        if Path(name).is_dir() or name == "demo":
            return read_trained(model_folder(name))
        return published(name)

    def _ask(self, prompt: str) -> None:
        """Warn if the model was not trained for the task that a prompt, by its setting, is of."""
        for warning in task_warnings(self._trained, [prompt], self.model_name):
            LOGGER.warning(warning)

    def _in_words(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Cells with what the model's prompts call their organisms."""
        return with_words(cells, self._trained.organism_words)

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
        model = model_folder(self.model_name, self.config.model_revision)
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
        from transformers.utils.logging import (
            disable_progress_bar,
            enable_progress_bar,
            is_progress_bar_enabled,
        )

        from c2sflow.model.compile_cache import use_compile_cache
        from c2sflow.model.loading import load_model
        from c2sflow.model.placement import resolve_device

        use_compile_cache(self.config.compile_cache, resolve_device(self.config.device))
        path, has_bar = self.model_path, is_progress_bar_enabled()
        if not self.config.verbose:
            disable_progress_bar()
        try:
            return load_model(
                path,
                head=True,
                device=self.config.device,
                dtype=self.config.dtype,
                attention=self.config.attention,
                quantization=self.config.quantization,
            )
        finally:
            if has_bar:
                enable_progress_bar()

    @cached_property
    def _embedding_attention(self) -> str:
        """What embeds: on a GPU another one than that which generates, as in EMBED."""
        from c2sflow.model.attention import embedding_attention

        return embedding_attention(self.model, self.config.attention)

    @property
    def _context(self) -> int:
        """Tokens of a prompt and its answer."""
        return self.model.config.max_position_embeddings

    def _embed(
        self, records: Sequence[Mapping[str, object]], layer: int | None = None
    ) -> Embeddings:
        from c2sflow.model.attention import using
        from c2sflow.model.wordings import embed_wordings

        backbone, (name, template) = self.model.get_decoder(), self._embedding_template(records)
        with using(backbone, self._embedding_attention):
            return embed_wordings(
                backbone,
                self.tokenizer,
                wordings_of(self.config, name, template),
                records,
                pooling=self.config.pooling,
                layer=self.config.embedding_layer if layer is None else layer,
                max_batch_tokens=self.config.max_batch_tokens,
                max_rows=self.config.batch_size,
                progress=self.config.verbose,
            )

    def _embedding_template(self, records: Sequence[Mapping[str, object]]) -> tuple[str, str]:
        """Setting and template of the prompt that embeds these: of groups it is another."""
        if hold_groups(str(record["cell_sentence"]) for record in records):
            return "group_prompt", self.group_prompt
        return "embedding_prompt", self.embedding_prompt

    @property
    def _answering(self) -> dict[str, Any]:
        """How answers are decoded."""
        from c2sflow.generation.tasks import ANSWERING

        return {name: getattr(self.config, name) for name in ANSWERING}

    def _allowed(self, genes: Iterable[str]) -> list[str]:
        """Those of the data's genes that an answer may hold."""
        from c2sflow.generation.tasks import allowed_genes

        return allowed_genes(genes, {"gene_vocabulary_file": self.config.gene_vocabulary})

    @property
    def _length(self) -> AnswerLength:
        """How long an answer that is a cell sentence may be."""
        asked = self.config.max_answer_genes, self.config.max_new_tokens
        return AnswerLength.of(self.model_path, *asked)

    def _provenance(
        self, dataset: pd.DataFrame, parameters: Mapping, prompts: Mapping
    ) -> dict[str, object]:
        """``uns["c2s"]`` of cells that the model made."""
        return {
            "version": __version__,
            "model": describe_model(self.model_path, self.model_name),
            "parameters": self._length.parameters() | dict(parameters),
            "prompts": dict(prompts),
            "software": software_versions((*SOFTWARE, *MODEL_SOFTWARE)),
            "rank_fit": dataset.attrs["rank_fit"],
        }

    def unload(self) -> None:
        """Give back the model's memory; it is loaded again when needed."""
        for name in ("model", "_embedding_attention"):
            self.__dict__.pop(name, None)
