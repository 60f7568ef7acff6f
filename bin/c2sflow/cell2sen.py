"""The library as one object, for a notebook: AnnData in, embeddings and predicted cells out.

The names are those of Helical's ``Cell2Sen`` and ``Cell2SenConfig``, so that code written for
them runs with its import changed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from c2sflow.anndata_io import open_anndata
from c2sflow.errors import UserError
from c2sflow.model_files import fetch_model
from c2sflow.normalisation import normalise
from c2sflow.prompts import (
    ANNOTATION_PROMPT,
    EMBEDDING_PROMPT,
    PERTURBATION_PROMPT,
    check_fields,
    first_genes,
    load_template,
)
from c2sflow.reconstruction import RankFit
from c2sflow.sentences import SentenceMaker, gene_words
from c2sflow.states import detect_state
from c2sflow.symbols import PER_CELL, cell_organisms, find_organism, find_symbols, gene_symbols

LOGGER = logging.getLogger(__name__)

HUB_MODELS = {
    "2B": "vandijklab/C2S-Scale-Gemma-2-2B",
    "27B": "vandijklab/C2S-Scale-Gemma-2-27B",
}
MODEL_CACHE = Path.home() / ".cache" / "c2sflow"
POOLING = {"mean_pool": "mean", "last_token": "last", "gene_pool": "genes"}


@dataclass
class Cell2SenConfig:
    """Settings of `Cell2Sen`.

    Parameters
    ----------
    batch_size
        Most cells in a batch; None for as many as memory holds.
    organism
        Such as "human"; None to find it from obs or the genes.
    perturbation_column
        Column of obs with each cell's perturbation.
    max_new_tokens
        Longest predicted sentence, in tokens.
    max_genes
        Genes in a sentence; None for all that are expressed.
    aggregation_type
        "mean_pool" over the prompt's tokens, "gene_pool" over those of the genes, or the
        "last_token".
    embedding_prompt_template
        Prompt with ``{cell_sentence}`` and, if wanted, ``{organism}``, ``{num_genes}`` or any
        column of obs; None for the built-in one.
    return_fit
        Fit expression to rank, and give the fit in the column ``fit_parameters``.
    dtype
        "auto", "bfloat16", "float16" or "float32".
    model_size
        "2B" or "27B": which published model to fetch if `model_path` is None.
    model_path
        Directory of a model.
    device
        "auto", "cpu" or "cuda".
    use_quantization
        4-bit weights (nf4).
    seed
        Decides the order of genes that tie.
    use_flash_attn
        Use flash_attention_2 (GPU only); otherwise the fastest that is exact for Gemma-2.
    """

    batch_size: int | None = None
    organism: str | None = None
    perturbation_column: str | None = None
    max_new_tokens: int = 200
    max_genes: int | None = None
    aggregation_type: Literal["mean_pool", "gene_pool", "last_token"] = "mean_pool"
    embedding_prompt_template: str | None = None
    return_fit: bool = False
    dtype: str = "auto"
    model_size: Literal["2B", "27B"] = "2B"
    model_path: str | Path | None = None
    device: str = "auto"
    use_quantization: bool = False
    seed: int = 42
    use_flash_attn: bool = False

    def __post_init__(self):
        if self.model_size not in HUB_MODELS:
            raise UserError(f"model_size {self.model_size!r}: choose 2B or 27B, or a model_path")
        if self.aggregation_type not in POOLING:
            raise UserError(
                f"aggregation_type {self.aggregation_type!r}: choose {', '.join(POOLING)}"
            )


class Cell2Sen:
    """Cell2Sentence-Scale on an AnnData in memory.

    Parameters
    ----------
    configurer
        Settings; None for the defaults.

    Examples
    --------
    >>> from c2sflow import Cell2Sen, Cell2SenConfig
    >>> cell2sen = Cell2Sen(Cell2SenConfig(model_path="assets/demo_model"))  # doctest: +SKIP
    >>> dataset = cell2sen.process_data(adata)  # doctest: +SKIP
    >>> adata.obsm["X_c2s"] = cell2sen.get_embeddings(dataset)  # doctest: +SKIP
    """

    def __init__(self, configurer: Cell2SenConfig | None = None):
        self.config = configurer or Cell2SenConfig()
        self.embedding_prompt = load_template(
            self.config.embedding_prompt_template, EMBEDDING_PROMPT, ["cell_sentence"]
        )

    # The model is loaded when first needed: sentences need none.

    @cached_property
    def model_path(self) -> Path:
        """Directory of the model; fetched once if it is one of the published ones."""
        if self.config.model_path is not None:
            return Path(self.config.model_path)
        model = HUB_MODELS[self.config.model_size]
        directory = MODEL_CACHE / model.replace("/", "--")
        if not (directory / "c2s_source.json").exists():
            fetch_model(model, "main", directory)
        return directory

    @cached_property
    def tokenizer(self):
        """The model's tokenizer."""
        from c2sflow.models import load_tokenizer

        return load_tokenizer(self.model_path)

    @cached_property
    def model(self):
        """The causal language model; its backbone embeds, its head generates."""
        from c2sflow.models import load_model

        return load_model(
            self.model_path,
            head=True,
            device=self.config.device,
            dtype=self.config.dtype,
            attention="flash_attention_2" if self.config.use_flash_attn else "auto",
            quantization="nf4" if self.config.use_quantization else "none",
        )

    def process_data(self, adata: AnnData) -> pd.DataFrame:
        """Turn cells into cell sentences.

        Raw counts are normalised and logged, normalised values logged, logged values taken as they
        are; which it is, is detected.

        Parameters
        ----------
        adata
            Cells × genes, not changed.

        Returns
        -------
        A row for each cell, indexed by its name: cell_id, sample, organism, cell_sentence,
        n_genes, perturbations (None where there is none), fit_parameters, and the columns of obs.

        Raises
        ------
        UserError
            If the values are scaled or ambiguous, or genes, organism or column are not found.
        """
        column = self.config.perturbation_column
        if column is not None and column not in adata.obs:
            raise UserError(f"perturbation_column {column!r}: obs has no such column")
        with open_anndata(adata) as data:
            state = detect_state(data.sample_rows(), "adata")
            symbols, _ = gene_symbols(data.var, find_symbols(data.var, "auto", "adata"))
            organism = find_organism(self.config.organism or "auto", data, symbols, "adata")
            LOGGER.info("%d cells × %d genes, %s, %s", data.n_obs, data.n_vars, organism, state)
            names = cell_organisms(data.obs) if organism == PER_CELL else organism
            table = data.obs.assign(cell_id=data.obs.index, sample="adata", organism=names)
            blocks = (normalise(block, state) for _, block in data.chunks())
            words = gene_words(symbols)
            self._add_sentences(table, blocks, words)
        labels = (
            table[column].astype(object) if column else pd.Series(index=table.index, dtype=object)
        )
        table["perturbations"] = labels.where(labels.notna(), None)
        table.attrs["genes"] = list(words)  # what a prediction may say
        return table

    def _add_sentences(self, table: pd.DataFrame, blocks, words: np.ndarray) -> None:
        maker = SentenceMaker(words, max_genes=self.config.max_genes, seed=self.config.seed)
        fit, sentences, lengths = RankFit(), [], []
        for block in blocks:
            ids = table["cell_id"].iloc[len(sentences) : len(sentences) + block.shape[0]]
            made = maker(sparse.csr_matrix(block), ids)
            sentences += made.texts.to_pylist()
            lengths += made.lengths.tolist()
            fit.add_cells(made.values, made.lengths)
        table["cell_sentence"], table["n_genes"] = sentences, lengths
        solved = fit.solve() if self.config.return_fit else None
        table["fit_parameters"] = [solved] * len(table)

    def get_embeddings(
        self, dataset: pd.DataFrame, output_attentions: bool = False, emb_layer: int = -1
    ) -> np.ndarray | tuple[np.ndarray, list[np.ndarray]]:
        """Embed the cells of `process_data`.

        Parameters
        ----------
        dataset
            From `process_data`.
        output_attentions
            Give the attention between the genes of each cell as well. The genes of a map are the
            words of the cell's sentence.
        emb_layer
            Layer of the attention maps; -1 is the last.

        Returns
        -------
        float32 (n_cells, hidden_size), NaN for a cell without genes; and, with
        `output_attentions`, float32 (n_heads, n_genes, n_genes) of each cell, query × key.
        """
        from c2sflow.attention_maps import attention_maps
        from c2sflow.embedding import embed_cells

        check_fields(self.embedding_prompt, dataset.columns, "embedding_prompt_template")
        records = dataset.to_dict("records")
        backbone = self.model.get_decoder()
        made = embed_cells(
            backbone,
            self.tokenizer,
            self.embedding_prompt,
            records,
            pooling=POOLING[self.config.aggregation_type],
            max_rows=self.config.batch_size,
        )
        if not output_attentions:
            return made.vectors
        used = [
            first_genes(record, n) for record, n in zip(records, made.n_genes.tolist(), strict=True)
        ]
        maps = attention_maps(backbone, self.tokenizer, self.embedding_prompt, used, emb_layer)
        return made.vectors, list(maps)

    def get_annotations(
        self, dataset: pd.DataFrame, cell_types: list[str] | None = None
    ) -> pd.DataFrame:
        """Say the cell type of each cell.

        Parameters
        ----------
        dataset
            From `process_data`.
        cell_types
            Labels to choose from, each scored by its exact probability; None for free answers.

        Returns
        -------
        c2s_cell_type (None for a cell without genes) and c2s_cell_type_probability (among the
        labels; of a free answer: that of its words), indexed like the data set.

        Raises
        ------
        UserError
            If there are less than two labels, or the tokenizer cannot say one.
        """
        from c2sflow.annotation import annotate
        from c2sflow.cell_types import read_cell_types

        labels = None if cell_types is None else read_cell_types("\n".join(cell_types))
        made = annotate(
            self.model,
            self.tokenizer,
            dataset,
            ANNOTATION_PROMPT,
            labels,
            max_rows=self.config.batch_size,
        )
        return made.table.set_axis(dataset.index)

    def get_perturbations(
        self, dataset: pd.DataFrame, perturbations_list: list[str | None] | None = None
    ) -> tuple[pd.DataFrame, list[str | None]]:
        """Predict the perturbed sentence of each cell.

        Parameters
        ----------
        dataset
            From `process_data`.
        perturbations_list
            A perturbation for each cell, None to leave a cell out; by default the labels of
            `perturbation_column`.

        Returns
        -------
        The dataset with the columns perturbed_cell_sentence (genes of the data, each once),
        c2s_invalid_genes, c2s_duplicate_genes, c2s_finish_reason and c2s_log_likelihood; and the
        sentences, None where there is no perturbation.

        Raises
        ------
        UserError
            If the list is not as long as the data set, or no cell has a perturbation.
        """
        from c2sflow.perturbation import predict

        labels = dataset["perturbations"] if perturbations_list is None else perturbations_list
        if len(labels) != len(dataset):
            raise UserError(
                f"perturbations_list has {len(labels)} entries for {len(dataset)} cells"
            )
        chosen = np.array([label is not None for label in labels])
        if not chosen.any():
            raise UserError(
                "no cell has a perturbation: set perturbation_column before process_data, or give "
                "perturbations_list"
            )
        cells = dataset.assign(perturbation=list(labels))[chosen]
        said = (word for text in dataset["cell_sentence"] for word in text.split())
        genes = set(dataset.attrs.get("genes") or said)
        predictions, _ = predict(
            self.model,
            self.tokenizer,
            cells,
            genes,
            PERTURBATION_PROMPT,
            max_new_tokens=self.config.max_new_tokens,
            seed=self.config.seed,
            max_rows=self.config.batch_size,
        )
        predictions = predictions.rename(columns={"c2s_sentence": "perturbed_cell_sentence"})
        columns = [
            "perturbed_cell_sentence",
            "c2s_invalid_genes",
            "c2s_duplicate_genes",
            "c2s_finish_reason",
            "c2s_log_likelihood",
        ]
        made = predictions[columns].set_axis(dataset.index[chosen]).reindex(dataset.index)
        sentences = made["perturbed_cell_sentence"].astype(object)
        made["perturbed_cell_sentence"] = sentences.where(sentences.notna(), None)
        return dataset.assign(**made), made["perturbed_cell_sentence"].tolist()
