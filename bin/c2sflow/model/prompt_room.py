"""Whether a model's context has room for what a run asks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

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
    """

    template: str
    n_tokens: int = 0
    labels: tuple[str, ...] = ()
    n_genes: int | None = None


def check_context(
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    asked: Mapping[str, Asked],
    organism: str = "human",
) -> Iterator[str]:
    """What does not fit into a context, a line each, by the option that gives the prompt."""
    context = min(context, tokenizer.model_max_length)
    for option, prompt in asked.items():
        record: dict[str, object] = dict.fromkeys(template_fields(prompt.template), UNKNOWN)
        record |= {"cell_sentence": GENES, "n_genes": len(GENES.split()), "organism": organism}
        n_prompt = len(tokenizer(fill(prompt.template, record))["input_ids"])
        labels = [f" {label}." for label in prompt.labels]
        longest = max(map(len, tokenizer(labels)["input_ids"])) if labels else 0
        half = context // 2 if prompt.n_genes is not None else 0
        n_answer = max(prompt.n_tokens, longest, half)
        if half and prompt.n_genes and prompt.n_genes >= half:
            yield (
                f"its context has {context} tokens, half of them for an answer, and answers of "
                f"{prompt.n_genes} genes need more: lower --max_answer_genes"
            )
        if n_prompt + n_answer > context:
            answer = f" and its answer up to {n_answer}" if n_answer else ""
            yield (
                f"its context has {context} tokens, and --{option} with ten genes {n_prompt}"
                f"{answer}; shorten the prompt{' or the answer' if n_answer else ''}, or take "
                "another model"
            )
