"""Whether a model's context has room for what a run asks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from c2sflow.sentences.groups.text import join_sentences
from c2sflow.sentences.prompts import UNKNOWN, fill, template_fields

# A cell's ten highest genes are the least that a prompt is worth asking with.
GENES = "MALAT1 B2M TMSB4X RPLP1 RPS27 EEF1A1 ACTB FTL GAPDH TPT1"


@dataclass(frozen=True)
class Asked:
    """A prompt template, and the answers that need a place after it.

    Attributes
    ----------
    template
        See `c2sflow.sentences.prompts.load_template`.
    n_tokens
        Of the longest answer.
    labels
        Answers themselves, where they are known.
    n_genes
        Of the longest answer, where it is a cell sentence whose tokens nobody knows yet: it gets
        half of the context (see `c2sflow.model.answer_limits`). 0 for as many as the model's own.
    n_cells
        Cells in the prompt.
    max_genes
        Genes of a cell, where that is limited.
    answer_cells
        Cells that the answer is to hold. Of several each has its genes (`max_genes`), and what the
        prompt leaves is theirs.
    """

    template: str
    n_tokens: int = 0
    labels: tuple[str, ...] = ()
    n_genes: int | None = None
    n_cells: int = 1
    max_genes: int | None = None
    answer_cells: int = 1

    @property
    def several(self) -> int:
        """Cells that share the context, in the prompt or in the answer."""
        return max(self.n_cells, self.answer_cells)

    @property
    def fewer(self) -> str:
        """The option that takes fewer of them."""
        return "--cells_per_answer" if self.answer_cells > 1 else "--cells_per_prompt"


def check_context(
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    asked: Mapping[str, Asked],
    organism: str = "human",
) -> Iterator[str]:
    """What does not fit into a context, a line each, by the option that gives the prompt."""
    context = min(context, tokenizer.model_max_length)
    for option, prompt in asked.items():
        n_prompt = _prompt_tokens(tokenizer, prompt, GENES, organism)
        labels = [f" {label}." for label in prompt.labels]
        longest = max(map(len, tokenizer(labels)["input_ids"])) if labels else 0
        alone = prompt.answer_cells == 1
        half = context // 2 if alone and prompt.n_genes is not None else 0
        n_answer = max(prompt.n_tokens, longest, half)
        if half and prompt.n_genes and prompt.n_genes >= half:
            yield (
                f"its context has {context} tokens, half of them for an answer, and answers of "
                f"{prompt.n_genes} genes need more: lower --max_answer_genes"
            )
        if n_prompt + n_answer > context:
            answer = f" and its answer up to {n_answer}" if n_answer else ""
            several = f" of each of {prompt.several} cells" if prompt.several > 1 else ""
            fewer = f"take fewer {prompt.fewer}, " if several else ""
            yield (
                f"its context has {context} tokens, and --{option} with ten genes{several} "
                f"{n_prompt}{answer}; {fewer}shorten the prompt"
                f"{' or the answer' if n_answer else ''}, or take another model"
            )


def genes_that_fit(
    tokenizer: PreTrainedTokenizerBase, context: int, prompt: Asked
) -> tuple[int, int]:
    """Genes of each cell of a prompt that its context has room for: of longer and shorter names.

    By the tokens of ten common genes: all of them, and the one with the fewest.
    """
    context = min(context, tokenizer.model_max_length) - prompt.n_tokens
    genes = GENES.split()
    own = _prompt_tokens(tokenizer, prompt, genes[0])
    more = [_prompt_tokens(tokenizer, prompt, f"{genes[0]} {gene}") - own for gene in genes[1:]]
    room = (context - own) / (sum(more) / len(more)), (context - own) / min(more)
    return 1 + int(room[0]), 1 + int(room[1])


def room_lines(
    tokenizer: PreTrainedTokenizerBase, context: int, asked: Mapping[str, Asked]
) -> tuple[list[str], list[str]]:
    """How many genes each cell of a group has in its prompt.

    Returns
    -------
    Lines for the log, and warnings of prompts for which genes are left out by the context.
    """
    lines, warnings = [], []
    for option, prompt in asked.items():
        if prompt.several == 1:
            continue
        fewer, more = genes_that_fit(tokenizer, context, prompt)
        lines.append(
            f"--{option}: {fewer} to {more} genes of each of {prompt.several} cells fit into the "
            f"context of {context} tokens, by the tokens of ten common genes"
        )
        if prompt.max_genes and prompt.max_genes > more:
            lost, limit = "the lowest are left out", "--max_genes to have as many in every prompt"
            if prompt.answer_cells > 1:
                lost = "the last cells are cut, or do not come back"
                limit = "--max_answer_genes and --generated_genes"
            warnings.append(
                f"--{option}: of {prompt.max_genes} genes of each of {prompt.several} cells "
                f"{fewer} to {more} fit into the context of {context} tokens, and {lost}; take "
                f"fewer {prompt.fewer} or {limit}"
            )
    return lines, warnings


def _prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, prompt: Asked, genes: str, organism: str = "human"
) -> int:
    """Tokens of a prompt, or of it and its answer, whose several cells have these genes."""
    record: dict[str, object] = dict.fromkeys(template_fields(prompt.template), UNKNOWN)
    text = join_sentences([genes] * prompt.n_cells) if prompt.n_cells > 1 else genes
    record |= {"cell_sentence": text, "n_genes": len(genes.split()), "organism": organism}
    record["num_cells"] = prompt.several
    answer = join_sentences([genes] * prompt.answer_cells) if prompt.answer_cells > 1 else ""
    return len(tokenizer(fill(prompt.template, record) + answer)["input_ids"])
