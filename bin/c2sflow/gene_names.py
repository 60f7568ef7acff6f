"""Names of genes that hold an Ensembl id beside the symbol: the symbol taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

_ID = r"ENS[A-Z]{0,6}G\d{6,}(?:\.\d+)?(?:_PAR_Y)?"
# ENSG…_SYMBOL (STARsolo, Seurat's "-"), and SYMBOL_ENSG… (CELLxGENE's repeated names).
_FIRST = re.compile(rf"^{_ID}(?:[_:;\- ]|\.(?=[A-Za-z]))(.+)$")
_LAST = re.compile(rf"^(.+)[_:;\-. ]{_ID}$")
_WHOLE = re.compile(rf"^{_ID}$")
# Transcripts and proteins of Ensembl and RefSeq, whatever follows: no names of genes.
_TRANSCRIPT = re.compile(r"^(?:ENS[A-Z]{0,6}[TP]\d{6,}|[NX][MR]_\d{6,})(?:\W|_|$)")


def is_transcript(names: Iterable[object]) -> np.ndarray:
    """Which names are of transcripts or proteins: ENST…, ENSMUST…, NM_…, ``ENST…|GENE``."""
    return np.array([bool(_TRANSCRIPT.match(str(name).strip())) for name in names], dtype=bool)


def without_ids(names: Iterable[object]) -> tuple[np.ndarray, int]:
    """Symbols alone.

    Parameters
    ----------
    names
        Such as ``ENSG00000000003_TSPAN6``, ``TSPAN6|ENSG00000000003.15`` or ``TSPAN6``.

    Returns
    -------
    The names, object (n_genes,), and of how many an id was taken off.
    """
    texts = [str(name) for name in names]
    cleaned = np.array([_symbol(text) if "ENS" in text else text for text in texts], dtype=object)
    return cleaned, int(sum(new != old for new, old in zip(cleaned, texts, strict=True)))


def _symbol(text: str) -> str:
    text = text.strip()
    if _WHOLE.match(text) or _TRANSCRIPT.match(text):
        return text
    if "|" in text:
        fields = [field.strip() for field in text.split("|")]
        words = [field for field in fields if field and not _WHOLE.match(field)]
        return words[0] if words and len(words) < len(fields) else text
    found = _FIRST.match(text) or _LAST.match(text)
    # An id twice is an id.
    return found.group(1) if found and not _WHOLE.match(found.group(1)) else text
