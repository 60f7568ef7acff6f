"""Examples of training: prompts and answers of a task, and their augmentation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.data.obs.labels import is_labelled
from c2sflow.generation.logits import answer_tokens
from c2sflow.inputs.perturbations import AMOUNTS, prompt_text
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.groups.prompts import (
    GROUP_PROMPT,
    NUM_CELLS,
    about,
    group_template,
    unnamed,
)
from c2sflow.sentences.no_ops import UNNAMED
from c2sflow.sentences.prompts import (
    ANNOTATION_PROMPT,
    GENERATION_PROMPT,
    OF_CELL_TYPE,
    PERTURBATION_PROMPT,
    load_template,
    template_fields,
)
from c2sflow.sentences.variants import ALL, Variant, variants_of, without_type
from c2sflow.sentences.wordings import WORDINGS
from c2sflow.training.cells import TrainingCells
from c2sflow.training.group_examples import cells_to_generate, group_record
from c2sflow.training.groups import named_kind
from c2sflow.training.tasks import Draw

# At full strength.
MIXED = 0.5  # share of the cells that are mixed with another; and the most of it that is foreign
LOST = 0.2  # most of the genes that are lost beside
CUT = 0.5  # share of the prompts that end early
SHORTEST = 40  # genes


def resampled(
    genes: Sequence[str],
    strength: float,
    rng: np.random.Generator,
    other: Sequence[str] | None = None,
) -> list[str]:
    """The sentence of a cell as another draw of molecules could have given it.

    Parameters
    ----------
    genes
        The sentence.
    strength
        0 to 1: 1 draws as many molecules as the sentence stands for, less draws more, so that
        noise falls in proportion; with it falls the share of other cells, and of lost genes.
    other
        Sentence of a cell of the same kind, to mix in.
    """
    expected = {gene: len(genes) / rank for rank, gene in enumerate(genes, 1)}
    if other is not None and rng.random() < MIXED:
        share = rng.uniform(0, MIXED * strength)
        expected = {gene: (1 - share) * count for gene, count in expected.items()}
        for rank, gene in enumerate(other, 1):
            expected[gene] = expected.get(gene, 0.0) + share * len(genes) / rank
    words = list(expected)
    counts = rng.poisson(np.fromiter(expected.values(), float) / strength**2)
    lost = rng.random(len(words)) < rng.uniform(0, LOST * strength)
    order = np.lexsort((rng.random(len(words)), -counts))  # equal counts in random order
    kept = [words[place] for place in order if counts[place] and not lost[place]]
    return kept[: len(genes)] or list(genes[:1])


def cut_short(genes: list[str], strength: float, rng: np.random.Generator) -> list[str]:
    """Some of the sentences without their end: a prompt may hold few genes."""
    if len(genes) <= SHORTEST or rng.random() >= CUT * strength:
        return genes
    return genes[: rng.integers(SHORTEST, len(genes) + 1)]


UNCONDITIONAL = 0.1  # share of the generation examples whose prompt names no cell type or tissue
# Option of the prompt whose wordings a task's examples can take turns with.
VARIED = {
    "cell_type": "annotation_prompt", "generation": "generation_prompt", "tissue": "group_prompt",
    "tissue_generation": "generation_prompt",
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A prompt and its answer.

    Attributes
    ----------
    input_ids
        int32 (n_tokens,): the prompt's tokens exactly as the pipeline makes them, the answer's,
        and the end.
    n_prompt
        Tokens of the prompt.
    genes
        First token of the prompt's cell sentence, and the first after it.
    """

    task: str
    input_ids: np.ndarray
    n_prompt: int
    genes: tuple[int, int]


@dataclass(frozen=True)
class Templates:
    """The prompt of each task."""

    annotation: str = ANNOTATION_PROMPT
    perturbation: str = PERTURBATION_PROMPT
    generation: str = GENERATION_PROMPT
    tissue: str = GROUP_PROMPT
    tissue_generation: str = WORDINGS["tissue_generation"][0]
    all_wordings: bool = False

    @classmethod
    def load(
        cls,
        annotation: str | None = None,
        perturbation: str | None = None,
        generation: str | None = None,
        variant: Variant = None,
        tasks: Collection[str] = ("cell_type", "generation"),
        *,
        cells: str | None = None,
        tissue: str | None = None,
        names: str = "tissue",
    ) -> Templates:
        """Those given (see `load_template` of prompts), and the built-in ones for None.

        Parameters
        ----------
        variant
            See `c2sflow.sentences.variants.variants_of`: of the prompts of these `tasks`.
        cells
            Of tissue_generation.
        names
            What the prompt of tissue_generation names: see
            `c2sflow.sentences.groups.prompts.about`.
        """
        several = about(WORDINGS["tissue_generation"][0], names)
        found = {
            "annotation": load_template(annotation, ANNOTATION_PROMPT, ["cell_sentence"]),
            "generation": load_template(generation, GENERATION_PROMPT, []),
            "tissue_generation": load_template(cells, several, [NUM_CELLS]),
        }
        for name in found:
            task = "cell_type" if name == "annotation" else name
            if task in tasks:
                found[name] = variants_of(found[name], VARIED[task], variant)[0]
        needed = ["cell_sentence", "perturbation"]
        return cls(
            perturbation=load_template(perturbation, PERTURBATION_PROMPT, needed),
            tissue=group_template(tissue),
            all_wordings=variant == ALL,
            **found,
        )

    def wordings(self, task: str) -> list[str]:
        """The prompts of a task that examples take turns with."""
        if not self.all_wordings or task not in VARIED:
            return [self.for_task(task)]
        return variants_of(self.for_task(task), VARIED[task], ALL)

    def for_task(self, task: str) -> str:
        """The prompt of a task."""
        names = {"cell_type": "annotation", "conversion": "perturbation"}
        return getattr(self, names.get(task, task))

    @property
    def unconditional(self) -> str:
        """The prompt of generation that names no cell type, if its wording is a known one."""
        return untyped(self.generation)


def untyped(generation: str) -> str:
    """A prompt of generation that names no cell type, if its wording is a known one."""
    for wording in WORDINGS["generation"]:
        generation = generation.replace(wording, without_type(wording))
    return generation.replace(OF_CELL_TYPE, "")


def labels_of(obs: pd.DataFrame, column: str | None) -> np.ndarray:
    """Labels of a column as text, None where a cell has none, or without a column: (n_cells,)."""
    if column is None:
        return np.full(len(obs), None, dtype=object)
    return obs[column].astype(str).where(is_labelled(obs[column]), None).to_numpy(dtype=object)


class ExampleMaker:
    """Writes out what `c2sflow.training.tasks.Epochs` draws.

    Parameters
    ----------
    context
        Most tokens of an example; what is too long loses the lowest genes of its prompt.
    max_answer_genes
        Genes of an answer that is a sentence.
    augmentation
        Strength of the noise on sentences, 0 for none: see `c2sflow.training.examples`. Cells are
        mixed with cells of their organism that have the same label, if there is a label, and the
        same treatment.
    """

    def __init__(
        self,
        cells: TrainingCells,
        tokenizer: PreTrainedTokenizerBase,
        templates: Templates,
        *,
        context: int,
        label_column: str | None = None,
        perturbation_column: str | None = None,
        tissue_column: str | None = None,
        max_answer_genes: int = 200,
        augmentation: float = 0.0,
        seed: int = 42,
    ):
        self.cells, self.tokenizer, self.templates = cells, tokenizer, templates
        self.context, self.most, self.augmentation = context, max_answer_genes, augmentation
        self.seed = seed
        self._wordings: dict[str, list[str]] = {}
        self.labels = labels_of(cells.obs, label_column)
        self.treatments = labels_of(cells.obs, perturbation_column)
        self.tissues = labels_of(cells.obs, tissue_column)
        self._names = named_kind(label_column, tissue_column)
        self._alike = self._kinds() if augmentation and label_column is not None else {}

    def __call__(self, draws: Sequence[Draw]) -> list[Example]:
        """The examples of some draws, in order; each is the same whatever it is made with.

        Raises
        ------
        UserError
            If an answer leaves a prompt less than half of the context.
        """
        written, examples = {}, {}
        for place, draw in enumerate(draws):
            if draw.task == "tissue_generation":
                examples[place] = self._cells_to_generate(draw)
            else:
                written[place] = self._write(draw)
        tokens = self._answers([answer for _, _, answer in written.values()])
        answers = dict(zip(written, tokens, strict=True))
        templates: dict[str, list[int]] = {}
        for place, (template, _, _) in written.items():
            templates.setdefault(template, []).append(place)
        for template, places in templates.items():
            records = [written[place][1] for place in places]
            prompts = tokenize_prompts(self.tokenizer, template, records, self.context)
            for place, record, ids, genes in zip(
                places, records, prompts.input_ids, prompts.sentences.tolist(), strict=True
            ):
                room = self.context - answers[place].size
                if ids.size > room:
                    shorter = tokenize_prompts(self.tokenizer, template, [record], room)
                    ids, genes = shorter.input_ids[0], shorter.sentences[0].tolist()
                whole = np.concatenate([ids, answers[place]])
                examples[place] = Example(draws[place].task, whole, ids.size, tuple(genes))
        return [examples[place] for place in range(len(draws))]

    def _write(self, draw: Draw) -> tuple[str, Mapping[str, object], str]:
        """Template, what fills it, and the answer."""
        rng = np.random.default_rng((self.seed, draw.number, 1))
        template = self._wording(draw)
        if draw.task == "generation":
            return self._generation(draw, rng)
        if draw.task == "tissue":
            genes = [self._noisy(cell, rng) for cell in draw.members]
            record = group_record(self.cells.record(draw.cell), genes)
            return template, record, self.tissues[draw.cell]
        shown = cut_short(self._noisy(draw.source, rng), self.augmentation, rng)
        record = self.cells.record(draw.source, cell_sentence=" ".join(shown), n_genes=len(shown))
        if draw.task == "cell_type":
            return template, record, self.labels[draw.cell]
        answer = " ".join(self._noisy(draw.cell, rng)[: self.most])
        if draw.task == "conversion":
            return (
                template,
                {**record, "perturbation": f"conversion to {self._label(draw)}"},
                answer,
            )
        return template, {**record, **self._treatment(draw.cell, template)}, answer

    def _generation(
        self, draw: Draw, rng: np.random.Generator
    ) -> tuple[str, Mapping[str, object], str]:
        genes = self._noisy(draw.cell, rng)[: self.most]
        label = self._label(draw)
        named = label is not None and rng.random() >= UNCONDITIONAL
        template = self._wording(draw)
        template = template if named else untyped(template)
        record = self.cells.record(draw.cell, cell_sentence="", n_genes=len(genes), cell_type=label)
        return template, record, " ".join(genes)

    def _cells_to_generate(self, draw: Draw) -> Example:
        rng = np.random.default_rng((self.seed, draw.number, 1))
        genes = [self._noisy(cell, rng)[: self.most] for cell in draw.members]
        names = {"tissue": self.tissues, "cell_type": self.labels}.get(self._names)
        name = None if names is None else names[draw.cell]
        named = name is not None and rng.random() >= UNCONDITIONAL
        template = self._wording(draw) if named else unnamed(self._wording(draw))
        record = self.cells.record(draw.cell, **{self._names: name})
        ids, n_prompt = cells_to_generate(self.tokenizer, template, record, genes, self.context)
        return Example(draw.task, ids, n_prompt, (0, 0))

    def _wording(self, draw: Draw) -> str:
        """The template of an example: the only one of its task, or one drawn by its number."""
        choices = self._wordings.setdefault(draw.task, self.templates.wordings(draw.task))
        if len(choices) == 1:
            return choices[0]
        return choices[np.random.default_rng((self.seed, draw.number, 2)).integers(len(choices))]

    def _label(self, draw: Draw) -> str | None:
        return self.labels[draw.cell]

    def _treatment(self, cell: int, template: str) -> dict[str, object]:
        """The treatment in the prompt: of the cell that is asked for, not of its control."""
        own = self.cells.record(cell)
        fields = template_fields(template)
        amounts = {name: own.get(name) for name in AMOUNTS if name in fields}
        treatment = self.treatments[cell] or UNNAMED  # a control cell by --control, without a label
        name = prompt_text({"perturbation": treatment, **amounts}, fields)
        return {**amounts, "perturbation": name}

    def _kinds(self) -> dict[int, np.ndarray]:
        """For each labelled cell, the rows of its kind: it may be mixed with them."""
        keys = pd.DataFrame({"organism": self.cells.obs["organism"], "label": self.labels})
        keys["treatment"] = self.treatments
        groups = keys[keys["label"].notna()].groupby(list(keys), dropna=False, observed=True)
        kinds = (kind.index.to_numpy() for _, kind in groups)
        return {row: rows for rows in kinds for row in rows.tolist()}

    def _noisy(self, cell: int, rng: np.random.Generator) -> list[str]:
        """The genes of a cell, with noise where it is asked for."""
        genes = self.cells.genes(cell)
        if not self.augmentation:
            return genes
        alike = self._alike.get(cell)
        other = None if alike is None else self.cells.genes(rng.choice(alike))
        return resampled(genes, self.augmentation, rng, other)

    def _answers(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokens of the answers as decoding makes them, and the end."""
        tokens = answer_tokens(self.tokenizer, texts)
        for text in texts:
            if text not in tokens:
                raise UserError(f"the model's tokenizer cannot represent {text[:60]!r}")
            if 2 * len(tokens[text]) >= self.context:
                raise UserError(
                    f"an answer has {len(tokens[text])} tokens, half or more of the {self.context} "
                    "that the model's context has; lower --max_answer_genes"
                )
        end = self.tokenizer.eos_token_id
        return [np.array([*tokens[text], end], dtype=np.int32) for text in texts]
