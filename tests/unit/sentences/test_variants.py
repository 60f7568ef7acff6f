"""The wordings that published models were trained with, and how one of them is chosen."""

import pytest

from c2sflow.common.errors import UserError
from c2sflow.sentences.groups.prompts import of_shards
from c2sflow.sentences.prompts import (
    EMBEDDING_PROMPT,
    GENERATION_PROMPT,
    UNCONDITIONAL_PROMPT,
    template_fields,
    with_context,
)
from c2sflow.sentences.variants import TASKS, read_variant, variants_of, without_type
from c2sflow.sentences.wordings import WORDINGS

FIELDS = {  # as cell2sentence's prompt formatter fills them
    "cell_type": {"num_genes", "organism", "cell_sentence"},
    "generation": {"num_genes", "organism", "cell_type"},
    "tissue": {"num_genes", "num_cells", "organism", "multi_cell_sentences"},
    "tissue_generation": {"num_genes", "num_cells", "organism", "tissue"},
    "interpretation": {"num_genes", "num_cells", "organism", "multi_cell_sentences"},
}


def test_every_wording_holds_the_fields_of_its_task():
    counts = {task: len(set(texts)) for task, texts in WORDINGS.items()}
    assert counts == {
        "cell_type": 15, "generation": 10, "tissue": 15, "tissue_generation": 14,
        "interpretation": 15,
    }  # fmt: skip
    for task, texts in WORDINGS.items():
        for text in texts:
            assert set(template_fields(text)) == FIELDS[task], text


def test_the_built_in_prompts_are_first():
    assert variants_of(EMBEDDING_PROMPT, "embedding_prompt", 1) == [EMBEDDING_PROMPT]
    assert variants_of(GENERATION_PROMPT, "generation_prompt", 1) == [GENERATION_PROMPT]
    assert variants_of("anything", "embedding_prompt", None) == ["anything"]


@pytest.mark.parametrize("prompt", TASKS)
def test_a_variant_takes_the_built_in_wordings_place_behind_the_context(prompt):
    wordings = [of_shards(text) for text in WORDINGS[TASKS[prompt]]]
    template = with_context(wordings[0], "Blood of {two} donors.")
    found = variants_of(template, prompt, "all")
    assert found == [f"Blood of {{{{two}}}} donors.\n{text}" for text in wordings]
    assert variants_of(template, prompt, 7) == [found[6]]


def test_cells_of_no_type_have_wordings_without_one():
    found = variants_of(UNCONDITIONAL_PROMPT, "generation_prompt", "all")
    assert len(set(found)) == 10
    assert all(set(template_fields(text)) == {"num_genes", "organism"} for text in found)
    assert not [text for text in found if "type" in text or "  " in text]
    assert without_type(GENERATION_PROMPT) == UNCONDITIONAL_PROMPT


def test_own_prompts_and_wordings_that_there_are_not_are_refused():
    with pytest.raises(UserError, match="--annotation_prompt and --prompt_variant 2 exclude"):
        variants_of("Which cell? {cell_sentence}", "annotation_prompt", 2)
    with pytest.raises(UserError, match="--generation_prompt has 10 wordings; choose 1 to 10"):
        variants_of(GENERATION_PROMPT, "generation_prompt", 11)
    assert [read_variant(given) for given in (None, "all", "3", 15)] == [None, "all", 3, 15]
    for wrong in ("0", 16, "-1", "every", 1.5, ""):
        with pytest.raises(UserError, match="1 to 15, or all"):
            read_variant(wrong)
