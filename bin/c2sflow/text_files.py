"""Text files that a user names."""

from __future__ import annotations

import re
from pathlib import Path

from c2sflow.errors import UserError
from c2sflow.file_faults import foreign

CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")


def read_text(path: Path, where: str, kind: str = "text") -> str:
    """The text of a UTF-8 file, without the mark that some editors put at its beginning.

    Parameters
    ----------
    where
        What a message calls the file.
    kind
        What it was to be read as, for messages.

    Raises
    ------
    UserError
        If it cannot be read, or holds bytes that no text has.
    """
    if path.is_dir():
        raise UserError(f"{where}: cannot be read as {kind}: it is a folder")
    try:
        content = path.read_bytes()
        what = foreign(path) if content else None  # an empty file lacks what its reader asks for
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    if what:
        raise UserError(f"{where}: cannot be read as {kind}: it is {what}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{where}: cannot be read as {kind}: it is UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}"
        raise UserError(
            f"{where}: cannot be read as {kind}: line {line} is not UTF-8 (byte {byte}); save it "
            "as UTF-8, or convert it: iconv -f latin1 -t utf-8"
        ) from None
    if found := CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(
            f"{where}: cannot be read as {kind}: line {line} holds the control character "
            f"{found[0]!r}; is it a text file?"
        )
    return text
