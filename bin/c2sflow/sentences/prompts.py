"""Prompt templates, and filling them.

The built-in ones are the first of the wordings that the published models were trained with
(`c2sflow.sentences.wordings`): what a model answers depends on it. cell2sentence has none for
perturbations.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_text
from c2sflow.sentences.groups.text import with_first_genes
from c2sflow.sentences.organism_words import WORD
from c2sflow.sentences.wordings import WORDINGS

EMBEDDING_PROMPT = WORDINGS["cell_type"][0]
ANNOTATION_PROMPT = EMBEDDING_PROMPT  # it asks for the cell type: the answer is the annotation
PERTURBATION_PROMPT = (
    "You are given a list of {num_genes} gene names in descending order of expression level "
    "in a {organism} control cell. Using this information, predict the perturbed gene profile "
    "with the perturbation: {perturbation}.\n"
    "Control cell sentence: {cell_sentence}.\n"
    "Perturbed cell sentence:"
)
GENERATION_PROMPT = WORDINGS["generation"][0]
OF_CELL_TYPE = " of cell type {cell_type}"
UNCONDITIONAL_PROMPT = GENERATION_PROMPT.replace(OF_CELL_TYPE, "")
# Fields that a generated cell has for a prompt: it has no obs of its own.
GENERATION_FIELDS = frozenset({"num_genes", "organism", "cell_type"})

CONTEXT = "dataset_context"
ANSWER_TOKENS = 40  # the longest cell type of an annotation without a list
NUMBER_FORMAT = re.compile(r",?(\.\d{1,2})?[feg%]")
UNKNOWN = "unknown"  # what CELLxGENE writes, and models have read, where nothing is known

BUILT_IN_FIELDS = frozenset({"num_genes", "organism", "cell_sentence", "perturbation"})


def template_fields(template: str) -> list[str]:
    """Names of the fields of a template, in order of appearance.

    Raises
    ------
    UserError
        If the braces do not match, or a field is not a plain name.
    """
    try:
        parts = [
            (field, form, conversion)
            for _, field, form, conversion in string.Formatter().parse(template)
            if field is not None
        ]
    except ValueError as error:
        raise UserError(
            f"prompt template {_short(template)}: {error}; write {{{{ for a brace"
        ) from None
    fields = [field for field, _, _ in parts]
    for field, form, conversion in parts:
        # "{0}", "{a.b}" and "{a[0]}" would reach into Python objects.
        if not field or set(field) & set(".[]") or field.isdigit():
            raise UserError(f"prompt template: field {{{field}}} is not a column name")
        # Any other would fail where a value is text, or fill gigabytes.
        if conversion or (form and (field in BUILT_IN_FIELDS or not NUMBER_FORMAT.fullmatch(form))):
            raise UserError(
                f"prompt template: field {{{field}}}: only numbers of obs have a format, such as "
                "{age:.0f} or {score:.2f}"
            )
    return fields


def _short(template: str, most: int = 200) -> str:
    return repr(template if len(template) <= most else f"{template[:most]}…")


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
                f"prompt {_short(prompt)} is neither a file nor a template "
                "(a template holds fields such as {cell_sentence})"
            )
        template = read_text(path, f"prompt {path.name}").rstrip("\r\n")
    missing = set(required) - set(template_fields(template))
    if missing:
        names = ", ".join(f"{{{name}}}" for name in sorted(missing))
        raise UserError(f"prompt template lacks {names}: {_short(template)}")
    return template


def generation_template(prompt: str | None, typed: bool, context: str | None = None) -> str:
    """The template of generated cells, see `load_template`, `with_context`.

    Parameters
    ----------
    typed
        Whether cell types are asked for: then the template holds {cell_type}, else it does not.

    Raises
    ------
    UserError
        If it is the other way round, or the template uses what generated cells do not have.
    """
    default = GENERATION_PROMPT if typed else UNCONDITIONAL_PROMPT
    template = load_template(prompt, default, ["cell_type"] if typed else [])
    template = with_context(template, context)
    fields = set(template_fields(template))
    if "cell_type" in fields and not typed:
        raise UserError("the prompt uses {cell_type}: name the types with --cell_types")
    if unknown := fields - GENERATION_FIELDS:
        names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        raise UserError(
            f"the prompt uses {names}; of generated cells only "
            f"{', '.join(f'{{{name}}}' for name in sorted(GENERATION_FIELDS))} are known"
        )
    return template


def check_fields(template: str, columns: Iterable[str], where: str) -> None:
    """Raise UserError unless every field is built in or one of `columns`."""
    unknown = set(template_fields(template)) - BUILT_IN_FIELDS - set(columns)
    if unknown:
        names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        raise UserError(f"{where}: the prompt uses {names}, which obs does not have")


def with_context(template: str, context: str | None) -> str:
    """The template with a text about the data set.

    It replaces {dataset_context} in the template, else it goes before it on lines of its own.
    """
    if context is None:
        return template
    text = context.strip().replace("{", "{{").replace("}", "}}")
    if CONTEXT in template_fields(template):
        return template.replace(f"{{{CONTEXT}}}", text)
    return f"{text}\n{template}"


class _Word(str):
    """A word that any format takes as it is."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return str(self)


class _Values(dict):
    """What fills a template, as a reader would write it."""

    def __getitem__(self, name: str) -> object:
        value = super().__getitem__(name)
        if name == "cell_sentence":
            return value
        if pd.isna(value) or value == "":
            return _Word(UNKNOWN)
        if isinstance(value, str):
            return _Word(value)
        # A column of whole numbers with gaps is one of floats: an age is 63, not 63.0.
        whole = isinstance(value, float | np.floating) and value.is_integer()
        return int(value) if whole else value


def fill(template: str, record: Mapping[str, object]) -> str:
    """One prompt. `record` holds cell_sentence, n_genes, organism and any obs column.

    `c2sflow.sentences.organism_words.WORD` takes the place of organism. Fields missing in the
    record are `UNKNOWN`.
    """
    values = _Values(record)
    values["num_genes"] = record["n_genes"]
    if WORD in record:
        values["organism"] = record[WORD]
    return template.format_map(values)


def first_genes(record: Mapping[str, object], n_genes: int) -> dict[str, object]:
    """The record with the first `n_genes` genes of its sentence, of several cells of each."""
    text = with_first_genes(str(record["cell_sentence"]), n_genes)
    return {**record, "cell_sentence": text, "n_genes": n_genes}
