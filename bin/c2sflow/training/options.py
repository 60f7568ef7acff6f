"""Options of a training."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass

from c2sflow.common.errors import UserError
from c2sflow.data.obs.queries import query_columns
from c2sflow.model.architectures.from_scratch import DEFAULT, FROM_SCRATCH
from c2sflow.sentences.groups.drawing import NEIGHBOURS, SAMPLE
from c2sflow.sentences.groups.prompts import NUM_CELLS
from c2sflow.sentences.prompts import BUILT_IN_FIELDS, template_fields
from c2sflow.sentences.variants import Variant
from c2sflow.training.tasks import OF_GROUPS, parse_tasks

# What changes neither the steps nor the weights: where it runs, what is written, what it is called.
INDIFFERENT = (
    "device", "attempt", "max_batch_tokens", "checkpoint_every", "checkpoints", "merge_adapter",
    "base_id", "base_revision", "annotation_prompt", "perturbation_prompt", "generation_prompt",
    "cells_prompt", "tissue_prompt", "embedding_prompt", "max_genes",
)  # fmt: skip

FRACTIONS = ("lora_alpha", "epochs", "warmup", "prompt_gene_weight", "augmentation")
# Numbers that "auto" may stand for.
NUMBERS = {
    "learning_rate": float, "max_batch_tokens": int, "evaluate_every": int,
    "checkpoint_every": int,
}  # fmt: skip


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `c2sflow.training.finetuning.finetune`.

    Raises UserError where a number is none.

    Attributes
    ----------
    tasks
        See `c2sflow.training.tasks.parse_tasks`.
    method
        lora, qlora, full or scratch: see `c2sflow.training.trainee.load_trainee`.
    scratch_family
        Of a new model: one of `c2sflow.model.architectures.from_scratch.FROM_SCRATCH`.
    label_column, perturbation_column
        Columns of obs with the cell types, and with what was done to each cell.
    control
        Query that picks control cells, beside those that are labelled so.
    replicate_column
        Column of obs with donors or other biological replicates: pairs are of one, where it has
        both cells; None: of one sample.
    tissue_column
        Column of obs with the tissues, for the tasks of several cells.
    cells_per_prompt, cells_per_answer
        Cells of a group, at most, in the prompts of the task tissue and in the answers of
        tissue_generation.
    group_by, groups_across_samples
        See `c2sflow.sentences.groups.drawing.Grouping`; not by neighbours.
    pairing
        random or assignment: see `c2sflow.training.pairing`.
    learning_rate
        "auto", or a number: of AdamW.
    epochs, max_steps
        Training ends with what comes first. An epoch has as many examples as there are cells.
    batch_tokens
        Tokens of a step, on average.
    max_batch_tokens
        Tokens through the model at once: "auto" or a number.
    max_genes
        Most genes of a cell's sentence in the shards, for the model's record; None: all, or the
        base's own number.
    max_answer_genes
        Genes of an answer that is a sentence; None for the base's own, see
        `c2sflow.model.trained.answer_genes`.
    warmup
        Share of the steps in which the learning rate rises.
    patience
        Validations without a lower loss before training ends; 0 trains to the end.
    evaluate_every, checkpoint_every
        Steps: "auto" or a number.
    checkpoints
        Directory that outlives the task; None keeps no checkpoint.
    prompt_gene_weight
        Weight of the loss on the genes of a prompt (next-gene modelling) beside the answer's.
    augmentation
        See `c2sflow.training.examples.ExampleMaker`.
    balance_labels
        Draw cells by the square root of how common their label is.
    merge_adapter
        Write a whole model, and the adapter beside it.
    annotation_prompt, perturbation_prompt, generation_prompt
        Of the tasks; embedding_prompt: of the embedding that cells are assigned in.
    cells_prompt, tissue_prompt
        Of the tasks tissue_generation and tissue.
    prompt_variant
        Wording of the built-in prompts, see `c2sflow.sentences.variants.variants_of`; with "all"
        each example has one of them, drawn by the seed.
    base_id, base_revision
        What the result calls its base.
    attempt
        1, or more where memory ran out before: each has half the tokens at once.
    """

    tasks: str
    method: str = "lora"
    label_column: str | None = None
    perturbation_column: str | None = None
    control: str | None = None
    replicate_column: str | None = None
    tissue_column: str | None = None
    cells_per_prompt: int | None = None
    cells_per_answer: int | None = None
    group_by: str = SAMPLE
    groups_across_samples: bool = False
    pairing: str = "random"
    scratch_family: str = DEFAULT
    lora_rank: int = 16
    lora_alpha: float = 32
    learning_rate: str | float = "auto"
    epochs: float = 3
    max_steps: int | None = None
    batch_tokens: int = 8192
    max_batch_tokens: str | int = "auto"
    max_genes: int | None = None
    max_answer_genes: int | None = None
    warmup: float = 0.03
    patience: int = 3
    evaluate_every: str | int = "auto"
    checkpoint_every: str | int = "auto"
    checkpoints: str | None = None
    prompt_gene_weight: float = 0.0
    augmentation: float = 0.0
    balance_labels: bool = False
    merge_adapter: bool = False
    annotation_prompt: str | None = None
    perturbation_prompt: str | None = None
    generation_prompt: str | None = None
    cells_prompt: str | None = None
    tissue_prompt: str | None = None
    embedding_prompt: str | None = None
    prompt_variant: Variant = None
    base_id: str | None = None
    base_revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 42
    attempt: int = 1

    def __post_init__(self) -> None:
        for name in FRACTIONS:  # 2 and 2.0 are the same option, and the same checkpoint
            object.__setattr__(self, name, float(getattr(self, name)))
        for name, kind in NUMBERS.items():
            value = getattr(self, name)
            if value == "auto":
                continue
            try:
                number = kind(value)
            except ValueError:
                number = 0
            if not 0 < number < math.inf:
                raise UserError(f"--{name} {value}: must be auto or a number above 0")
            object.__setattr__(self, name, number)
        if self.group_by == NEIGHBOURS and OF_GROUPS & self.shares().keys():
            raise UserError(
                f"--group_by {NEIGHBOURS}: training draws groups by sample or by a column of obs"
            )
        if self.scratch_family not in FROM_SCRATCH:
            raise UserError(
                f"--scratch_family {self.scratch_family}: choose {' or '.join(FROM_SCRATCH)}"
            )

    @property
    def replicates(self) -> str:
        """Column of obs whose groups pairs stay within, where they can."""
        return self.replicate_column or "sample"

    def deciding(self) -> dict[str, object]:
        """Those that decide the resulting weights, together with the prompts."""
        return {name: value for name, value in asdict(self).items() if name not in INDIFFERENT}

    def columns(self, templates: Collection[str]) -> list[str]:
        """Columns of obs that training looks at."""
        fields = {field for template in templates for field in template_fields(template)}
        fields -= {*BUILT_IN_FIELDS, NUM_CELLS}
        named = [*sorted(fields), self.label_column, self.perturbation_column, self.tissue_column]
        if OF_GROUPS & self.shares().keys():
            named.append(self.group_by)
        asked = query_columns(self.control, "--control") if self.control else []
        return [name for name in dict.fromkeys([*named, *asked]) if name]

    def shares(self) -> dict[str, float]:
        """Share of each task."""
        return parse_tasks(self.tasks)
