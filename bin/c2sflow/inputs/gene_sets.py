"""Gene sets: reading a GMT file, and which of its genes the data have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_text

MIN_GENES = 5  # a mean over fewer reflects single genes more than the set


def read_gene_sets(path: str | Path) -> dict[str, list[str]]:
    """Sets of a GMT file: name to genes, each once, in upper case, in the order of the file.

    GMT: a set per line, its name, a description and its genes between tabs (as MSigDB has them).

    Raises
    ------
    UserError
        With all faults of the file.
    """
    path = Path(path)
    where = f"--gene_sets {path.name}"
    lines = read_text(path, where).splitlines()
    sets, faults = {}, []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = [gene.upper() for gene in rest[1:] if gene]
        if not name or not genes:
            faults.append(f"line {number} is not name, description and genes between tabs")
        elif name in sets:
            faults.append(f"line {number}: a set {name} was there already")
        sets[name] = list(dict.fromkeys(genes))
    if faults:
        raise UserError(f"{where}: " + "; ".join(faults))
    if not sets:
        raise UserError(f"{where}: holds no gene set")
    return sets


def found_genes(
    gene_sets: Mapping[str, Iterable[str]], samples: Iterable[Iterable[str]]
) -> dict[str, list[str]]:
    """The genes of each set that every sample has: means over other genes do not compare.

    Parameters
    ----------
    gene_sets
        From `read_gene_sets`.
    samples
        Words (`c2sflow.sentences.ranking.gene_words`) of each sample's genes.
    """
    shared = reduce(set.intersection, map(set, samples))
    return {name: [gene for gene in genes if gene in shared] for name, genes in gene_sets.items()}


def describe_sets(gene_sets: Mapping[str, list[str]], found: Mapping[str, list[str]]) -> str:
    """How many sets can be used, and which not and why, in words."""
    small = {name: genes for name, genes in found.items() if len(genes) < MIN_GENES}
    text = (
        f"gene sets: {len(found) - len(small)} of {len(found)} have {MIN_GENES} or more genes that "
        "every sample has"
    )
    if small:
        shown = [
            f"{name} ({len(genes)} of {len(gene_sets[name])})" for name, genes in small.items()
        ]
        more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
        text += f"; left out: {', '.join(shown[:10])}{more}"
    return text
