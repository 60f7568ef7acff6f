"""Whether a prompt of several cells fits into a context, and how many genes each cell has in it."""

from c2sflow.model.config import load_tokenizer
from c2sflow.model.prompt_room import Asked, check_context, genes_that_fit, room_lines
from c2sflow.model.tokenization import tokenize_prompts
from c2sflow.sentences.groups.prompts import GROUP_PROMPT
from c2sflow.sentences.groups.text import join_sentences
from c2sflow.sentences.wordings import WORDINGS


def test_a_group_that_leaves_no_room_is_a_fault_and_one_that_is_cut_a_warning(random_model):
    """By ten genes of each of its cells; and by the genes that a cell may have."""
    tokenizer = load_tokenizer(random_model)
    fits = {"group_prompt": Asked(GROUP_PROMPT, n_cells=4, max_genes=20)}
    assert not list(check_context(tokenizer, 512, fits))
    many = {"group_prompt": Asked(GROUP_PROMPT, n_cells=60)}
    (fault,) = check_context(tokenizer, 512, many)
    assert "ten genes of each of 60 cells" in fault
    assert "take fewer --cells_per_prompt" in fault
    assert room_lines(tokenizer, 512, fits)[1] == []
    (line,), (warning,) = room_lines(
        tokenizer, 512, {"group_prompt": Asked(GROUP_PROMPT, n_cells=4, max_genes=2000)}
    )
    assert "genes of each of 4 cells fit into the context of 512 tokens" in line
    assert "take fewer --cells_per_prompt or --max_genes" in warning


def test_an_answer_of_several_cells_likewise(random_model):
    tokenizer = load_tokenizer(random_model)
    template = WORDINGS["tissue_generation"][0]
    (fault,) = check_context(
        tokenizer, 512, {"generation_prompt": Asked(template, answer_cells=60)}
    )
    assert "--generation_prompt with ten genes of each of 60 cells" in fault
    assert "take fewer --cells_per_answer, shorten the prompt" in fault
    fits = {"generation_prompt": Asked(template, answer_cells=4, max_genes=12)}
    assert not list(check_context(tokenizer, 512, fits))
    assert room_lines(tokenizer, 512, fits)[1] == []
    many = {"generation_prompt": Asked(template, answer_cells=4, max_genes=900)}
    (line,), (warning,) = room_lines(tokenizer, 512, many)
    assert "genes of each of 4 cells fit into the context of 512 tokens" in line
    assert "take fewer --cells_per_answer or --max_answer_genes" in warning


def test_as_many_genes_fit_as_prompts_have(random_model, records):
    tokenizer = load_tokenizer(random_model)
    genes = " ".join(record["cell_sentence"] for record in records[6:12]).split()[:150]
    text = join_sentences([" ".join(genes)] * 3)
    record = {"organism": "human", "num_cells": 3, "cell_sentence": text, "n_genes": 150}
    cut = tokenize_prompts(tokenizer, GROUP_PROMPT, [record], 400)
    fewer, more = genes_that_fit(tokenizer, 400, Asked(GROUP_PROMPT, n_cells=3))
    assert cut.truncated.all()
    assert fewer <= cut.n_genes[0] <= more + 2  # the numbers in its words have tokens, too
