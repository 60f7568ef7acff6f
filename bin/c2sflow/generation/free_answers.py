"""A free answer to the question for a cell type: a label, or why it is none."""

from __future__ import annotations

from collections.abc import Collection

from c2sflow.inputs.lists import label_stem

# What obs["c2s_cell_type_status"] holds of a cell: whether it has a type, and why not.
OK, NO_GENES, EMPTY, UNENDED, GENES = "ok", "no_genes", "empty", "length", "genes"
LOW = "low_probability"  # than --min_probability
# So many words, and more than this share of them genes, are a cell sentence and no label. ("CD4 T
# cell" is one: of three words, two may be genes.)
FEWEST, SHARE = 3, 2 / 3


def read_label(text: str, ended: bool, genes: Collection[str]) -> tuple[str | None, str]:
    """The label in an answer, and its status.

    Parameters
    ----------
    text
        The decoded answer; its first line counts.
    ended
        Whether the model ended it; a line that is followed by another has ended too.
    genes
        Words of the genes of the data.
    """
    lines = text.strip().splitlines()
    label = label_stem(lines[0]) if lines else ""
    if not label:
        return None, EMPTY
    if not ended and len(lines) == 1:
        return None, UNENDED
    words = label.replace(",", " ").split()
    n_genes = sum(word in genes for word in words)
    if len(words) >= FEWEST and n_genes > SHARE * len(words):
        return None, GENES
    return label, OK
