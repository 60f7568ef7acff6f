"""Prompt templates: built in, from a file, with columns of obs; bad ones are refused."""

import numpy as np
import pandas as pd
import pytest

from c2sflow.common.errors import UserError
from c2sflow.sentences.prompts import (
    EMBEDDING_PROMPT,
    check_fields,
    fill,
    load_template,
    template_fields,
    with_context,
)


def test_default_and_text_and_file(tmp_path):
    path = tmp_path / "my prompt.txt"
    path.write_text("Genes: {cell_sentence} of {tissue}\n")
    assert load_template(None, EMBEDDING_PROMPT, ["cell_sentence"]) == EMBEDDING_PROMPT
    assert load_template("{cell_sentence}?", "", ["cell_sentence"]) == "{cell_sentence}?"
    assert load_template(str(path), "", ["cell_sentence"]) == "Genes: {cell_sentence} of {tissue}"


def test_fill_uses_any_column():
    record = {"cell_sentence": "A B", "n_genes": 2, "organism": "human", "tissue": "blood"}
    template = "{num_genes} {organism} {tissue}: {cell_sentence}, {{braces}}"
    assert fill(template, record) == "2 human blood: A B, {braces}"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("no file here", "neither a file nor a template"),
        ("{organism}", "lacks {cell_sentence}"),
        ("{cell_sentence", "expected '}'"),
        ("{cell_sentence.__class__}", "not a column name"),
        ("{cell_sentence} {0}", "not a column name"),
        ("{cell_sentence} {}", "not a column name"),
    ],
)
def test_bad_templates(prompt, message):
    with pytest.raises(UserError, match=message.replace("{", r"\{").replace("}", r"\}")):
        load_template(prompt, "", ["cell_sentence"])


def test_unknown_columns_are_named():
    check_fields("{cell_sentence} {tissue}", ["tissue"], "here")
    with pytest.raises(UserError, match=r"here: the prompt uses \{tissue\}"):
        check_fields("{cell_sentence} {tissue}", ["batch"], "here")
    assert template_fields(EMBEDDING_PROMPT) == ["num_genes", "organism", "cell_sentence"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"), (np.nan, "unknown"), (pd.NA, "unknown"), (pd.NaT, "unknown"),
        ("", "unknown"), ("nan", "nan"), (63.0, "63"), (np.float32(63), "63"), (0.25, "0.25"),
        (7, "7"), (True, "True"), ("it's 50 %", "it's 50 %"),
    ],
)  # fmt: skip
def test_what_obs_does_not_tell_is_unknown(value, text):
    record = {"cell_sentence": "", "n_genes": 0, "organism": "human", "age": value}
    assert fill("{num_genes} {age}: {cell_sentence}.", record) == f"0 {text}: ."
    if not isinstance(value, str):
        number = pd.notna(value)
        assert fill("{age:.1f}", record) == (f"{float(value):.1f}" if number else "unknown")


def test_context_stands_before_the_prompt_or_where_it_says():
    record = {"cell_sentence": "A B", "n_genes": 2}
    context = " 5'{kit}\n of 'X' "
    assert fill(with_context("Genes: {cell_sentence}", context), record) == (
        "5'{kit}\n of 'X'\nGenes: A B"
    )
    asked = "({dataset_context}) {cell_sentence}"
    assert fill(with_context(asked, context), record) == "(5'{kit}\n of 'X') A B"
    assert with_context(asked, None) == asked
