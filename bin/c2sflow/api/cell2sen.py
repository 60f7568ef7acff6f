"""The library as one object, for a notebook: AnnData in; embeddings, answers, cells and models out.

Settings and options have the names of the workflow's parameters. Code written for Helical's
``Cell2Sen`` runs with `c2sflow.api.helical`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from c2sflow.api.config import Cell2SenConfig
from c2sflow.api.logged import logged
from c2sflow.api.model import Cell2SenModel
from c2sflow.api.prompts import given_prompt, prompt_of_generation, training_prompts
from c2sflow.api.sentence_table import sentence_table
from c2sflow.common.errors import UserError
from c2sflow.data.views import View
from c2sflow.sentences.groups.text import hold_groups
from c2sflow.sentences.prompts import check_fields, first_genes
from c2sflow.sentences.variants import ALL

__all__ = ["Cell2Sen", "Cell2SenConfig"]


class Cell2Sen(Cell2SenModel):
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
        super().__init__(configurer or Cell2SenConfig())
        self.embedding_spread: np.ndarray | None = None

    @logged
    def process_data(self, adata: AnnData) -> pd.DataFrame:
        """Turn cells into cell sentences.

        Raw counts are normalised and logged, normalised values logged, logged values taken as they
        are; which it is, is detected. As in the workflow, features that are no genes are in no
        sentence, and raw counts of ``adata.raw`` or a layer go before values that are none.

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
        return sentence_table(
            adata,
            organism=self.config.organism,
            perturbation_column=self.config.perturbation_column,
            max_genes=self.config.max_genes or self._trained.max_genes,
            seed=self.config.seed,
            tie_break=self.config.tie_break,
            return_fit=self.config.return_fit,
            view=View(self.config.matrix, self.config.features, self.config.genome),
            input_state=self.config.input_state,
            symbols=self.config.gene_symbols,
        )

    @logged
    def get_embeddings(
        self, dataset: pd.DataFrame, output_attentions: bool = False, emb_layer: int | None = None
    ) -> np.ndarray | tuple[np.ndarray, list[np.ndarray]]:
        """Embed the cells of `process_data`.

        Parameters
        ----------
        dataset
            From `process_data`, or groups from `group_cells`.
        output_attentions
            Give the attention between the genes of each cell as well. The genes of a map are the
            words of the cell's sentence.
        emb_layer
            Hidden state that is the embedding, and whose attention the maps are: -1 the last; 0 the
            token embeddings, which have no maps. None for the setting `embedding_layer`.

        Returns
        -------
        float32 (n_cells, hidden_size), NaN for a cell without genes; and, with
        `output_attentions`, float32 (n_heads, n_genes, n_genes) of each cell, query × key. With
        prompt_variant "all" the attribute `embedding_spread` has each cell's spread over the
        wordings afterwards, see `c2sflow.model.wordings.embed_wordings`.

        Raises
        ------
        UserError
            If the model has no such layer, or the prompt uses a column that the dataset lacks.
        """
        from c2sflow.model.attention_maps import attention_maps
        from c2sflow.model.embedding import check_layer
        from c2sflow.model.tasks import context_warning, log_warnings

        layer = self.config.embedding_layer if emb_layer is None else emb_layer
        position = check_layer(self.model.get_decoder(), layer)
        if output_attentions and hold_groups(dataset["cell_sentence"]):
            raise UserError("attention maps are of single cells: give the dataset of process_data")
        if output_attentions and position == 0:
            raise UserError("emb_layer 0 is the token embeddings, which no attention made")
        records = self._in_words(dataset).to_dict("records")
        name, template = self._embedding_template(records)
        check_fields(template, dataset.columns, name)
        result = self._embed(records, layer)
        log_warnings(context_warning(result.truncated, self._context, "cells"))
        self.embedding_spread = result.spread
        if not output_attentions:
            return result.vectors
        used = [
            first_genes(record, n)
            for record, n in zip(records, result.n_genes.tolist(), strict=True)
        ]
        backbone = self.model.get_decoder()
        maps = attention_maps(backbone, self.tokenizer, template, used, position - 1)
        return result.vectors, list(maps)

    @logged
    def group_cells(self, dataset: pd.DataFrame, points: np.ndarray | None = None) -> pd.DataFrame:
        """Draw groups of cells that share a prompt, as --cells_per_prompt does.

        Parameters
        ----------
        dataset
            From `process_data`.
        points
            With group_by "neighbours": where the cells are, float (n_cells, n_dimensions), such as
            ``adata.obsm["X_pca"]``.

        Returns
        -------
        A row for each group, for `get_embeddings`, `get_annotations` (labels of level "group") and
        `interpret_groups`: members (names of its cells, in the order of the prompt), num_cells,
        cell_sentence (all of them), n_genes (of the longest), and the columns of the dataset as far
        as the cells share their values.

        Raises
        ------
        UserError
            If cells_per_prompt is not set, or there is no such column.
        """
        from c2sflow.api.groups import group_table

        return group_table(dataset, self.config, points)

    @logged
    def interpret_groups(self, groups: pd.DataFrame) -> pd.DataFrame:
        """Have the model describe each group in its own words, as --interpret_groups does.

        Parameters
        ----------
        groups
            From `group_cells`.

        Returns
        -------
        c2s_interpretation and c2s_interpretation_status, see
        `c2sflow.generation.interpretation.interpret`.
        """
        from c2sflow.generation.interpretation import interpret, interpretation_warnings
        from c2sflow.model.tasks import log_warnings

        check_fields(self.interpretation_prompt, groups.columns, "interpretation_prompt")
        most = self.config.interpretation_tokens
        table, _ = interpret(
            self.model,
            self.tokenizer,
            self._in_words(groups).to_dict("records"),
            self.interpretation_prompt,
            most,
            max_rows=self.config.batch_size,
            progress=self.config.verbose,
        )
        log_warnings(interpretation_warnings(table, most))
        return table.set_axis(groups.index)

    @logged
    def get_annotations(
        self,
        dataset: pd.DataFrame,
        cell_types: list[str] | str | None = None,
        labels: str | Path | Sequence[Mapping[str, object]] | None = None,
    ) -> pd.DataFrame:
        """Predict the cell type of each cell, or other labels.

        Parameters
        ----------
        dataset
            From `process_data`.
        cell_types
            Cell types to choose from, each scored by its exact probability; None for those that the
            model was trained on, if its folder records some; "none" for free answers.
        labels
            What to ask for instead of the cell type, or, with `cell_types`, beside it: entries of
            ``labels.yml`` as the workflow takes it (``[{"name": "tissue", "candidates": ["blood",
            "lung"]}]``), or the path of such a file.

        Returns
        -------
        Of each label, indexed like the data set: c2s_<name>, such as c2s_cell_type (None where
        there is none); c2s_<name>_probability (among the answers to choose from; of a free answer:
        that of its words); _entropy in nats and _top3, JSON of the likeliest; _status ("ok", or why
        there is none, see `c2sflow.generation.free_answers`); and with prompt_variant "all" and
        cell types to choose from c2s_cell_type_spread, the standard deviation of the probability
        over the wordings.

        Raises
        ------
        UserError
            If there are less than two answers to choose from, an entry is wrong, or the tokenizer
            cannot represent an answer.
        """
        from c2sflow.generation.annotation import annotate_questions
        from c2sflow.generation.annotation_questions import Asking
        from c2sflow.generation.annotation_warnings import annotation_warnings, one_type_warning
        from c2sflow.inputs.label_files import given_labels
        from c2sflow.inputs.labels import CELL_TYPE, asked_labels
        from c2sflow.model.tasks import log_warnings

        asked = asked_labels(labels is None or cell_types is not None, given_labels(labels))
        asking = Asking(
            "\n".join(cell_types) if isinstance(cell_types, list) else cell_types,
            given_prompt(self.config, "annotation_prompt", self._trained.prompts),
            self.config.prompt_variant,
            self.config.dataset_context,
            self.config.min_probability,
        )
        questions, _ = asking.questions(asked, self.model_path)
        if CELL_TYPE in {question.label.name for question in questions}:
            self._ask("annotation_prompt")
        for question in questions:
            check_fields(question.templates[0], dataset.columns, f"label {question.label.name}")
        found = annotate_questions(
            self.model,
            self.tokenizer,
            self._in_words(dataset),
            questions,
            max_batch_tokens=self.config.max_batch_tokens,
            max_rows=self.config.batch_size,
            progress=self.config.verbose,
        )
        log_warnings(annotation_warnings(found, self._context))
        if CELL_TYPE in found:
            log_warnings(one_type_warning(found[CELL_TYPE].table["c2s_cell_type"]))
        tables = [one.table for one in found.values()]
        return pd.concat(tables, axis=1).set_axis(dataset.index)

    @logged
    def get_perturbations(
        self, dataset: pd.DataFrame, perturbations_list: Sequence[str | None] | None = None
    ) -> AnnData:
        """Predict perturbed cells.

        Parameters
        ----------
        dataset
            From `process_data`.
        perturbations_list
            A perturbation for each cell, None to leave a cell out; by default the labels of
            `perturbation_column` but those of control cells (`control`, `ctrl`, `DMSO`, …).

        Returns
        -------
        Predictions × genes, as the workflow's c2s_perturbed.h5ad: X the log-normalised expression
        reconstructed from ranks (CSR float32), ``obsm["X_c2s"]``, ``obs["c2s_sentence"]`` and its
        counts, ``obs["c2s_perturbation"]``, ``obs["c2s_source_cell"]`` and the columns of that
        cell, provenance in ``uns["c2s"]``. `num_samples` rows for each cell with a perturbation.

        Raises
        ------
        UserError
            If the list is not as long as the data set, no cell has a perturbation, or answers to
            one cell could not differ.
        """
        from c2sflow.api.perturbation import own_labels, perturbed_anndata
        from c2sflow.generation.perturbation import predicted_records

        check_fields(self.embedding_prompt, dataset.columns, "embedding_prompt")
        self._ask("perturbation_prompt")
        labels = own_labels(dataset) if perturbations_list is None else perturbations_list
        cells, predictions = self._predict(dataset, labels, num_samples=self.config.num_samples)
        vectors = self._embed(predicted_records(cells, predictions)).vectors
        parameters = self._answering | {"num_samples": self.config.num_samples}
        prompts = {"perturbation": self.perturbation_prompt, "embedding": self.embedding_prompt}
        uns = self._provenance(dataset, parameters, prompts)
        return perturbed_anndata(dataset, predictions, vectors, uns)

    def _predict(
        self, dataset: pd.DataFrame, labels: Sequence[object] | pd.Series, num_samples: int = 1
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The cells that have a perturbation, and their predictions."""
        from c2sflow.api.perturbation import predict_table
        from c2sflow.generation.plan import sampling_faults
        from c2sflow.generation.tasks import cut_figures, cut_warnings
        from c2sflow.model.tasks import context_warning, log_warnings

        options = self._answering
        if faults := [*sampling_faults(options["temperature"], options["top_p"], num_samples)]:
            raise UserError("; ".join(faults))
        cells, predictions, stats = predict_table(
            self.model,
            self.tokenizer,
            self._in_words(dataset),
            labels,
            self.perturbation_prompt,
            self._allowed(dataset.attrs["genes"]),
            num_samples=num_samples,
            length=self._length,
            max_batch_tokens=self.config.max_batch_tokens,
            max_rows=self.config.batch_size,
            progress=self.config.verbose,
            **options,
        )
        log_warnings(context_warning(predictions["c2s_truncated"], stats.room, "predictions"))
        log_warnings(cut_warnings(cut_figures(predictions, [stats], self._length)))
        return cells, predictions

    @logged
    def generate_cells(
        self,
        dataset: pd.DataFrame,
        n_cells: int,
        cell_types: Iterable[str] | None = None,
        *,
        n_genes: int = 100,
        temperature: float | None = None,
        top_p: float | None = None,
        prompt: str | None = None,
        cells_per_answer: int | None = None,
        tissues: Iterable[str] | None = None,
    ) -> AnnData:
        """Make up cells, of cell types, of tissues, or of none.

        Parameters
        ----------
        dataset
            From `process_data`: answers contain its genes, each once; its organisms, and its fit of
            expression to rank, are those of the cells.
        n_cells
            Cells of each type (and organism).
        cell_types
            Types to name in the prompt; None for cells of no type in particular.
        n_genes
            Genes that the prompt asks for; the answer ends by itself or at `max_answer_genes`.
        temperature, top_p
            0 is greedy, for one cell of each type; else cells are sampled, from the likeliest
            tokens that together have the probability `top_p`. None for the settings; for the
            temperature 1, where that is greedy.
        prompt
            Template with ``{num_genes}``, ``{organism}`` and ``{cell_type}``; None for the setting
            `generation_prompt`.
        cells_per_answer
            Cells that the model is asked for at once, such as 5; None for one. For models that were
            trained to generate several; the prompt has ``{num_cells}``.
        tissues
            With `cells_per_answer`, and in the place of `cell_types`: tissues to name in the
            prompt, as ``{tissue}``.

        Returns
        -------
        Cells × genes, as the workflow's c2s_generated.h5ad: with `cells_per_answer` obs has
        c2s_group and c2s_group_place, and no cells that the answers lack; X the log-normalised
        expression reconstructed from ranks (CSR float32), ``obsm["X_c2s"]``, the sentences and
        their counts in obs, provenance in ``uns["c2s"]``.

        Raises
        ------
        UserError
            If cells of a type could not differ, a prompt cannot be filled, or prompt and answer do
            not fit into the model's context.
        """
        from c2sflow.api.generation import generated_anndata, plan_for_table
        from c2sflow.generation.cells import (
            generate_cells,
            generated_records,
            generation_warnings,
        )
        from c2sflow.generation.tasks import cut_figures, cut_warnings
        from c2sflow.model.tasks import log_warnings

        if temperature is None:
            temperature = self.config.temperature or 1.0
        plan = plan_for_table(
            dataset, n_cells, cell_types, temperature, self.embedding_prompt,
            cells_per_answer, tissues,
        )  # fmt: skip
        several = plan.n_together > 1
        self._ask("cells_per_answer" if several else "generation_prompt")
        own = self._trained.prompts
        template = prompt_of_generation(self.config, plan.names, several, prompt, own)
        genes = dataset.attrs["genes"]
        options = self._answering | {"temperature": temperature}
        if top_p is not None:
            options["top_p"] = top_p
        cells, stats = generate_cells(
            self.model,
            self.tokenizer,
            self._in_words(plan.cells(0)),
            dict.fromkeys(plan.organisms, self._allowed(genes)),
            template,
            num_genes=n_genes,
            length=self._length,
            max_batch_tokens=self.config.max_batch_tokens,
            max_rows=self.config.batch_size,
            progress=self.config.verbose,
            **options,
        )
        figures = cut_figures(cells, stats, self._length)
        log_warnings([*cut_warnings(figures), *generation_warnings(cells)])
        parameters = {"generate": n_cells, "generated_genes": n_genes, **options}
        if several:
            parameters["cells_per_answer"] = plan.n_together
        prompts = {"generation": template, "embedding": self.embedding_prompt}
        uns = self._provenance(dataset, parameters, prompts)
        vectors = self._embed(generated_records(self._in_words(cells))).vectors
        return generated_anndata(cells, vectors, genes, dataset.attrs["rank_fit"], uns)

    @logged
    def finetune(
        self,
        dataset: pd.DataFrame,
        tasks: str | Iterable[str],
        outdir: str | Path,
        *,
        method: str = "lora",
        label_column: str | None = None,
        perturbation_column: str | None = None,
        control: str | None = None,
        split_by: str = "cell",
        split_column: str | None = None,
        hold_out_combinations: bool = True,
        held_out: float = 0.2,
        validation: float = 0.05,
        hold_out: str | None = None,
        splits: str | Path | None = None,
        context_column: str | None = None,
        few_shot: float | None = None,
        pool_column: str | None = None,
        **options: Any,
    ) -> Path:
        """Train the model on cells, or a new small one; this object keeps its own model.

        Parameters
        ----------
        dataset
            From `process_data`.
        tasks
            Of cell_type, generation, perturbation, conversion, tissue and tissue_generation, each
            with a weight if wanted: ``"cell_type,perturbation:2"`` or a list.
        outdir
            Gets ``model/``, and ``finetune.json``, ``loss.tsv``, ``splits.tsv`` (which cells were
            for what) and, where STATE's form has words for the split, ``splits.toml``.
        method
            lora, qlora, full, or scratch for a new small model.
        label_column, perturbation_column, control
            Columns of obs with the cell types, and with what each cell was measured under (None
            for that of the settings); pandas query on obs that picks control cells, beside those
            labelled so.
        split_by, split_column, hold_out_combinations, held_out, validation
            As the workflow's parameters: shares of the cells, by cell or by the groups of a
            column, that training never sees and that decide when it stops; or the column that holds
            it all.
        hold_out, splits, context_column, few_shot, pool_column
            As the workflow's parameters: query that picks the cells to hold out, or file in STATE's
            form that names them; column of their contexts, number or share of training cells of
            each perturbation, column of pools.
        options
            Others of `c2sflow.training.options.TrainingOptions`, such as epochs, max_steps,
            learning_rate, lora_rank, merge_adapter, checkpoints; of several cells tissue_column,
            cells_per_prompt, cells_per_answer and group_by.

        Returns
        -------
        Directory of the model or adapter, for `model_path`.

        Raises
        ------
        UserError
            If tasks, columns, splits and model do not go together, or `outdir` holds a model.
        """
        from c2sflow.api.training import finetune_table
        from c2sflow.training.groups import named_kind
        from c2sflow.training.options import TrainingOptions

        own = {} if method == "scratch" else self._trained.prompts
        of_cells = None
        if "tissue_generation" in str(tasks):
            of_cells = named_kind(label_column, options.get("tissue_column"))
        prompts = training_prompts(self.config, label_column is not None, own, of_cells)
        all_wordings = ALL if self.config.prompt_variant == ALL else None
        asked = TrainingOptions(
            tasks if isinstance(tasks, str) else ",".join(tasks),
            method,
            label_column,
            perturbation_column or self.config.perturbation_column,
            control,
            device=self.config.device,
            dtype=self.config.dtype,
            seed=self.config.seed,
            **{
                "embedding_prompt": self.embedding_prompt,
                "prompt_variant": all_wordings,
                "max_genes": self.config.max_genes or self._trained.max_genes,
                **prompts,
                **options,
            },
        )
        self.unload()  # its memory is the training's
        return finetune_table(
            dataset,
            Path(outdir),
            asked,
            None if method == "scratch" else self.model_path,
            split_by=split_by,
            split_column=split_column,
            hold_out_combinations=hold_out_combinations,
            held_out=held_out,
            validation=validation,
            hold_out=hold_out,
            splits=splits,
            context_column=context_column,
            few_shot=few_shot,
            pool_column=pool_column,
        )
