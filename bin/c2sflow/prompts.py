"""Prompt templates, and filling them.

The wording follows the templates that the published C2S-Scale models were trained with
(cell2sentence, ``prompts/single_cell_cell_type_prediction_prompts.json`` and
``..._conditional_generation_prompts.json``): what a model answers depends on it.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from pathlib import Path

from c2sflow.errors import UserError

EMBEDDING_PROMPT = (
    "The following is a list of {num_genes} gene names ordered by descending expression level "
    "in a {organism} cell. Your task is to give the cell type which this cell belongs to based "
    "on its gene expression.\n"
    "Cell sentence: {cell_sentence}.\n"
    "The cell type corresponding to these genes is:"
)
ANNOTATION_PROMPT = EMBEDDING_PROMPT  # it asks for the cell type: the answer is the annotation
PERTURBATION_PROMPT = (
    "You are given a list of {num_genes} gene names in descending order of expression level "
    "in a {organism} control cell. Using this information, predict the perturbed gene profile "
    "with the perturbation: {perturbation}.\n"
    "Control cell sentence: {cell_sentence}.\n"
    "Perturbed cell sentence:"
)
GENERATION_PROMPT = (
    "Generate a list of {num_genes} genes in order of descending expression which represent "
    "a {organism} cell of cell type {cell_type}.\n"
    "Cell sentence:"
)
UNCONDITIONAL_PROMPT = GENERATION_PROMPT.replace(" of cell type {cell_type}", "")

BUILT_IN_FIELDS = frozenset({"num_genes", "organism", "cell_sentence", "perturbation"})


def template_fields(template: str) -> list[str]:
    """Names of the fields of a template, in order of appearance.

    Raises
    ------
    UserError
        If the braces do not match, or a field is not a plain name.
    """
    try:
        fields = [f for _, f, _, _ in string.Formatter().parse(template) if f is not None]
    except ValueError as error:
        raise UserError(f"prompt template {template!r}: {error}; write {{{{ for a brace") from None
    for field in fields:
        # "{0}", "{a.b}" and "{a[0]}" would reach into Python objects.
        if not field or set(field) & set(".[]") or field.isdigit():
            raise UserError(f"prompt template: field {{{field}}} is not a column name")
    return fields


def load_template(prompt: str | None, default: str, required: Iterable[str]) -> str:
    """The template itself: `default`, the content of a file, or the text as given.

    Parameters
    ----------
    prompt
        A path to a text file, a template, or None for `default`.
    default
        The built-in template.
    required
        Fields the template must have, such as ``cell_sentence``.

    Raises
    ------
    UserError
        If a required field is missing or the template is malformed.
    """
    template = default if prompt is None else prompt
    if prompt is not None and "{" not in prompt:
        path = Path(prompt)
        if not path.is_file():
            raise UserError(
                f"prompt {prompt!r} is neither a file nor a template "
                "(a template holds {cell_sentence})"
            )
        template = path.read_text(encoding="utf-8").rstrip("\n")
    missing = set(required) - set(template_fields(template))
    if missing:
        names = ", ".join(f"{{{name}}}" for name in sorted(missing))
        raise UserError(f"prompt template lacks {names}: {template!r}")
    return template


def check_fields(template: str, columns: Iterable[str], where: str) -> None:
    """Raise UserError unless every field is built in or one of `columns`."""
    unknown = set(template_fields(template)) - BUILT_IN_FIELDS - set(columns)
    if unknown:
        names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        raise UserError(f"{where}: the prompt uses {names}, which obs does not have")


def fill(template: str, record: Mapping[str, object]) -> str:
    """One prompt. `record` holds cell_sentence, n_genes, organism and any obs column."""
    return template.format_map({**record, "num_genes": record["n_genes"]})


def first_genes(record: Mapping[str, object], n_genes: int) -> dict[str, object]:
    """The record with the first `n_genes` genes of its sentence."""
    words = str(record["cell_sentence"]).split(" ")[:n_genes]
    return {**record, "cell_sentence": " ".join(words), "n_genes": n_genes}
