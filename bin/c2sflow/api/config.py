"""Settings of the library as one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2sflow.common.errors import UserError

HUB_MODELS = {
    "2B": "vandijklab/C2S-Scale-Gemma-2-2B",
    "27B": "vandijklab/C2S-Scale-Gemma-2-27B",
}
POOLING: dict[str, Literal["mean", "last", "genes"]] = {
    "mean_pool": "mean",
    "last_token": "last",
    "gene_pool": "genes",
}


@dataclass
class Cell2SenConfig:
    """Settings of `c2sflow.api.cell2sen.Cell2Sen`.

    Parameters
    ----------
    batch_size
        Most cells in a batch; None for as many as memory holds.
    organism
        Such as "human"; None to find it from obs or the genes.
    perturbation_column
        Column of obs with each cell's perturbation.
    max_new_tokens
        Longest predicted or generated sentence, in tokens.
    max_genes
        Genes in a sentence; None for all that are expressed.
    aggregation_type
        "mean_pool" over the prompt's tokens, "gene_pool" over those of the genes, or the
        "last_token".
    embedding_prompt_template
        Prompt with ``{cell_sentence}`` and, if wanted, ``{organism}``, ``{num_genes}`` or any
        column of obs; None for the built-in one.
    dataset_context
        Text about the data set in every prompt, where that has ``{dataset_context}``, else on a
        line before it; None for none.
    return_fit
        Fit expression to rank, and give the fit in the column ``fit_parameters``.
    dtype
        "auto", "bfloat16", "float16" or "float32".
    model_size
        "2B" or "27B": which published model to fetch if `model_path` is None.
    model_path
        Directory of a model or of a LoRA adapter, or a Hugging Face id, which is fetched once.
    base_model
        Of an adapter: directory or Hugging Face id of its base; None for the one it names.
    device
        "auto", "cpu" or "cuda".
    use_quantization
        4-bit weights (nf4).
    seed
        Decides the order of genes that tie, what is sampled, and what training draws.
    use_flash_attn
        Use flash_attention_2 (GPU only); otherwise the fastest that is exact for Gemma-2.
    matrix
        "auto", "X", "raw.X" or "layers/NAME": where the values are.
    features
        "genes", "all" (every feature is a gene), or types of ``var["feature_types"]``, with commas
        between, that are genes.
    genome
        Of a reference of several genomes, the one whose genes and cells get sentences.
    """

    batch_size: int | None = None
    organism: str | None = None
    perturbation_column: str | None = None
    max_new_tokens: int = 200
    max_genes: int | None = None
    aggregation_type: Literal["mean_pool", "gene_pool", "last_token"] = "mean_pool"
    embedding_prompt_template: str | None = None
    dataset_context: str | None = None
    return_fit: bool = False
    dtype: str = "auto"
    model_size: Literal["2B", "27B"] = "2B"
    model_path: str | Path | None = None
    base_model: str | Path | None = None
    device: str = "auto"
    use_quantization: bool = False
    seed: int = 42
    use_flash_attn: bool = False
    matrix: str = "auto"
    features: str = "genes"
    genome: str | None = None

    def __post_init__(self) -> None:
        if self.model_size not in HUB_MODELS:
            raise UserError(f"model_size {self.model_size!r}: choose 2B or 27B, or a model_path")
        if self.aggregation_type not in POOLING:
            raise UserError(
                f"aggregation_type {self.aggregation_type!r}: choose {', '.join(POOLING)}"
            )
