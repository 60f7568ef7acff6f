"""Cell2Sentence-Scale on AnnData: the library behind the c2sflow workflow.

>>> from c2sflow import Cell2Sen, Cell2SenConfig

The names are loaded when first used, so that the data side (QC, sentences, merging) never
imports torch.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Cell2Sen", "Cell2SenConfig"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from c2sflow.api import cell2sen

        return getattr(cell2sen, name)
    raise AttributeError(f"module 'c2sflow' has no attribute {name!r}")
