"""Text files that a user names."""

from __future__ import annotations

from pathlib import Path

from c2sflow.errors import UserError


def read_text(path: Path, where: str) -> str:
    """The text of a UTF-8 file, without the mark that some editors put at its beginning.

    Parameters
    ----------
    where
        What a message calls the file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: cannot be read as text: {error}") from None
