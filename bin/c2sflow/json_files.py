"""JSON files of a model directory."""

from __future__ import annotations

import json
from pathlib import Path

from c2sflow.errors import UserError


def read_object(directory: str | Path, name: str) -> dict:
    """The object that a JSON file of a model directory holds.

    Raises
    ------
    UserError
        If the file cannot be read as JSON, or holds something else.
    """
    path = Path(directory) / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"model {directory}: {name} cannot be read: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(
            f"model {directory}: {name} cannot be read: it holds a {type(content).__name__}, and "
            "no JSON object; fetch the model again"
        )
    return content
