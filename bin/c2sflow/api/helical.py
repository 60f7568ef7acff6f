"""Helical's names: code written for its ``Cell2Sen`` runs with this import.

>>> from c2sflow.api.helical import Cell2Sen, Cell2SenConfig
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from c2sflow.api import cell2sen, config
from c2sflow.api.logged import logged
from c2sflow.common.errors import UserError
from c2sflow.data.own_columns import LIKELIHOODS

__all__ = ["Cell2Sen", "Cell2SenConfig"]

POOLING: dict[str, Literal["mean", "last", "genes"]] = {
    "mean_pool": "mean",
    "last_token": "last",
    "gene_pool": "genes",
}
PERTURBED = "perturbed_cell_sentence"
COLUMNS = (
    PERTURBED, "c2s_invalid_genes", "c2s_duplicate_genes", "c2s_finish_reason",
    *LIKELIHOODS.values(),
)  # fmt: skip


class Cell2SenConfig(config.Cell2SenConfig):
    """Settings by Helical's names.

    Parameters
    ----------
    aggregation_type
        `pooling`: "mean_pool", "last_token" or "gene_pool".
    embedding_prompt_template
        `embedding_prompt`.
    use_quantization
        `quantization`: 4-bit weights (nf4).
    use_flash_attn
        `attention`: flash_attention_2.
    settings
        All others, see `c2sflow.api.config.Cell2SenConfig`.
    """

    def __init__(
        self,
        *,
        aggregation_type: str = "mean_pool",
        embedding_prompt_template: str | None = None,
        use_quantization: bool = False,
        use_flash_attn: bool = False,
        **settings: Any,
    ):
        if aggregation_type not in POOLING:
            raise UserError(f"aggregation_type {aggregation_type!r}: choose {', '.join(POOLING)}")
        own = {
            "pooling": POOLING[aggregation_type],
            "embedding_prompt": embedding_prompt_template,
            "quantization": "nf4" if use_quantization else "none",
            "attention": "flash_attention_2" if use_flash_attn else "auto",
        }
        super().__init__(**(own | settings))


class Cell2Sen(cell2sen.Cell2Sen):
    """`c2sflow.api.cell2sen.Cell2Sen`, whose predictions are a table, as Helical's."""

    @logged
    def get_perturbations(
        self, dataset: pd.DataFrame, perturbations_list: Sequence[str | None] | None = None
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
        c2s_invalid_genes, c2s_duplicate_genes, c2s_finish_reason and c2s_log_likelihood_valid (or
        c2s_log_likelihood, by `likelihood`); and the sentences, None where there is no
        perturbation.

        Raises
        ------
        UserError
            If the list is not as long as the data set, or no cell has a perturbation.
        """
        labels = dataset["perturbations"] if perturbations_list is None else perturbations_list
        cells, predictions = self._predict(dataset, labels)
        first = predictions[predictions["sample_index"] == 0]
        answers = first.rename(columns={"c2s_sentence": PERTURBED}).filter(COLUMNS)
        answers = answers.set_axis(cells.index).reindex(dataset.index)
        sentences = answers[PERTURBED].astype(object)
        answers[PERTURBED] = sentences.where(sentences.notna(), None)
        return dataset.assign(**answers), answers[PERTURBED].tolist()
