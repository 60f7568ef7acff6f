"""Settings of the library as one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2sflow.common.errors import UserError
from c2sflow.model.option_faults import model_option_faults
from c2sflow.sentences.variants import read_variant

HUB_MODELS = {
    "2B": "vandijklab/C2S-Scale-Gemma-2-2B",
    "27B": "vandijklab/C2S-Scale-Gemma-2-27B",
}
CHOICES = {
    "model_size": tuple(HUB_MODELS),
    "pooling": ("mean", "last", "genes"),
    "device": ("auto", "cpu", "cuda"),
    "dtype": ("auto", "bfloat16", "float16", "float32"),
    "attention": (
        "auto",
        "packed",
        "blockwise",
        "eager",
        "sdpa",
        "flex_attention",
        "flash_attention_2",
    ),
    "quantization": ("none", "nf4", "int8", "fp8"),
    "likelihood": ("valid", "full"),
    "tie_break": ("random", "gene_order"),
    "input_state": ("auto", "counts", "normalized", "lognormalized"),
}


@dataclass
class Cell2SenConfig:
    """Settings of `c2sflow.api.cell2sen.Cell2Sen`; most are the workflow's parameters.

    Parameters
    ----------
    batch_size
        Most cells in a batch; None for as many as memory holds.
    max_batch_tokens
        Tokens in a batch; "auto" for as many as memory holds.
    organism
        Such as "human"; None to find it from obs or the genes.
    input_state
        "auto", "counts", "normalized" or "lognormalized": what the values are.
    gene_symbols
        "auto", a column of var with the symbols, or a table (.csv, .tsv, .txt) of identifiers and
        symbols.
    perturbation_column
        Column of obs with each cell's perturbation.
    max_answer_genes
        Genes of a predicted or generated sentence, at most; None for as many as the model was
        trained with, or 200 if its folder does not record it.
    max_new_tokens
        The same in tokens; None for as many as the genes need.
    temperature, top_p
        0 is greedy; else predictions are sampled, from the likeliest tokens that together have the
        probability `top_p`.
    valid_genes_only, no_repeats
        Answers hold genes of the data only, each at most once; False lets the model write any word.
    gene_vocabulary
        Text file of symbols, one a line: answers hold no other genes; None for all of the data.
    likelihood
        What the likelihood of an answer is one among: "valid" genes, or the "full" vocabulary.
    num_samples
        Answers for each cell and perturbation; more than one needs a temperature above 0.
    tie_break
        Order of equally expressed genes: "random", by the seed, or "gene_order".
    max_genes
        Genes in a sentence; None for as many as the model was trained with, or all that are
        expressed.
    pooling
        "mean" over the prompt's tokens, over those of the "genes", or the "last" token.
    embedding_layer
        Hidden state that is the embedding, of cells and of predicted ones: -1 the last, after the
        final norm; 0 the token embeddings.
    embedding_prompt, annotation_prompt, perturbation_prompt, generation_prompt
        Template, or a text file with it: ``{cell_sentence}``, ``{perturbation}`` and, if wanted,
        ``{organism}``, ``{num_genes}`` or any column of obs; for generated cells ``{cell_type}``,
        ``{organism}``, ``{num_genes}``. None for the one that the model was trained with, if its
        record has one, else the built-in one.
    cells_per_prompt, group_by
        Cells that share a prompt in `Cell2Sen.group_cells`, and what they have in common: a column
        of obs, "sample" for any cells, "neighbours" for cells near each other.
    group_prompt, interpretation_prompt
        Templates that embed a group, and that ask for a text about it, with
        ``{multi_cell_sentences}``; None for the built-in ones.
    interpretation_tokens
        Tokens of a text about a group, at most.
    prompt_variant
        Wording of the built-in prompts that the published models were trained with: its number, or
        "all", which averages embeddings and label probabilities over the wordings; None for the
        first.
    min_probability
        Labels with a lower probability are missing; None for no limit.
    dataset_context
        Text about the data set in every prompt, where that has ``{dataset_context}``, else on a
        line before it; None for none.
    return_fit
        Give the fit of expression to rank in the column ``fit_parameters``.
    dtype
        "auto", "bfloat16", "float16" or "float32".
    model_size
        "2B" or "27B": which published model to fetch if `model_path` is None.
    model_revision
        Branch, tag or commit of a Hugging Face model.
    model_path
        Directory of a model or of a LoRA adapter, or a Hugging Face id, which is fetched once.
    base_model
        Of an adapter: directory or Hugging Face id of its base; None for the one it names.
    device
        "auto", "cpu" or "cuda".
    quantization
        "none", "nf4" (4-bit weights), "int8", or "fp8" (8-bit products, on GPUs that have them).
    attention
        "auto" (the fastest that is exact for the model), or a name, such as "flash_attention_2".
    compile_cache
        Folder that keeps what Triton and torch compile; None for their own folders.
    seed
        Decides the order of genes that tie, what is sampled, and what training draws.
    matrix
        "auto", "X", "raw.X" or "layers/NAME": where the values are.
    features
        "genes", "all" (every feature is a gene), or types of ``var["feature_types"]``, with commas
        between, that are genes.
    genome
        Of a reference of several genomes, the one whose genes and cells get sentences.
    verbose
        Show progress bars and log lines; warnings are always shown.
    """

    batch_size: int | None = None
    max_batch_tokens: int | str = "auto"
    organism: str | None = None
    input_state: str = "auto"
    gene_symbols: str = "auto"
    perturbation_column: str | None = None
    max_answer_genes: int | None = None
    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    valid_genes_only: bool = True
    no_repeats: bool = True
    gene_vocabulary: str | Path | None = None
    likelihood: Literal["valid", "full"] = "valid"
    num_samples: int = 1
    tie_break: Literal["random", "gene_order"] = "random"
    max_genes: int | None = None
    pooling: Literal["mean", "last", "genes"] = "mean"
    embedding_layer: int = -1
    embedding_prompt: str | None = None
    annotation_prompt: str | None = None
    perturbation_prompt: str | None = None
    generation_prompt: str | None = None
    cells_per_prompt: int | None = None
    group_by: str = "sample"
    group_prompt: str | None = None
    interpretation_prompt: str | None = None
    interpretation_tokens: int = 256
    prompt_variant: int | str | None = None
    min_probability: float | None = None
    dataset_context: str | None = None
    return_fit: bool = False
    dtype: str = "auto"
    model_size: Literal["2B", "27B"] = "2B"
    model_path: str | Path | None = None
    model_revision: str = "main"
    base_model: str | Path | None = None
    device: str = "auto"
    quantization: str = "none"
    attention: str = "auto"
    compile_cache: str | Path | None = None
    seed: int = 42
    matrix: str = "auto"
    features: str = "genes"
    genome: str | None = None
    verbose: bool = True

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UserError(f"{name} {value!r}: choose {', '.join(choices)}")
        if faults := model_option_faults(vars(self)):
            raise UserError("; ".join(faults))
        self.prompt_variant = read_variant(self.prompt_variant)
        if self.min_probability is not None and not 0 <= self.min_probability <= 1:
            raise UserError(f"min_probability {self.min_probability}: must be 0 to 1")
        if self.temperature < 0:
            raise UserError(f"temperature {self.temperature}: must be 0 or more")
        if self.cells_per_prompt is not None and self.cells_per_prompt < 2:
            raise UserError(f"cells_per_prompt {self.cells_per_prompt}: must be 2 or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p {self.top_p}: must be above 0, and 1 or less")
        if self.num_samples < 1:
            raise UserError(f"num_samples {self.num_samples}: must be 1 or more")
