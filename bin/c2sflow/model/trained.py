"""What a model of ours was trained for: ``c2s_training.json`` in its folder. No torch here.

FINETUNE writes it; predictions and annotations take their defaults from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from c2sflow.common.errors import UserError
from c2sflow.common.files import read_object, write_json

RECORD = "c2s_training.json"
ANSWER_GENES = 200  # of a model whose folder does not record how many it was trained with


@dataclass(frozen=True)
class Trained:
    """Content of the file.

    Attributes
    ----------
    max_answer_genes
        Genes of the longest answer that is a cell sentence; None if no record has it.
    cell_types
        Labels that the task cell_type was trained on; empty without that task.
    """

    max_answer_genes: int | None = None
    cell_types: tuple[str, ...] = ()

    def write(self, directory: Path) -> None:
        """Write the file into a model's folder."""
        write_json(directory / RECORD, asdict(self))


def read_trained(directory: str | Path | None) -> Trained:
    """The record in a model's folder; an empty one without a folder or file.

    Raises
    ------
    UserError
        If the file is broken.
    """
    if directory is None or not (Path(directory) / RECORD).is_file():
        return Trained()
    content = read_object(directory, RECORD)
    genes, labels = content.get("max_answer_genes"), content.get("cell_types") or []
    whole = genes is None or (isinstance(genes, int) and genes > 0)
    if not whole or not isinstance(labels, list) or not all(isinstance(n, str) for n in labels):
        raise UserError(
            f"model {directory}: {RECORD} cannot be read: max_answer_genes must be a whole number "
            "above 0, and cell_types a list of labels; take the file that was saved with the model"
        )
    return Trained(genes, tuple(labels))


def answer_genes(directory: str | Path | None, asked: int | None = None) -> int:
    """Genes of the longest answer: as asked for, else the model's own, else `ANSWER_GENES`."""
    return asked or read_trained(directory).max_answer_genes or ANSWER_GENES
