"""A model's configuration as its own class reads it."""

from __future__ import annotations

from pathlib import Path

import transformers
from transformers import AutoConfig, PreTrainedConfig

from c2sflow.errors import UserError


def load_config(directory: str | Path) -> PreTrainedConfig:
    """The configuration of a directory; nothing of it runs code of the directory.

    Raises
    ------
    UserError
        If transformers does not know the family, or its class refuses the values.
    """
    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever the class of a family raises
        reason = " ".join(str(error).split())
        if "does not recognize this architecture" in reason:
            reason = f"transformers {transformers.__version__} does not know its model_type"
        if "trust_remote_code" in reason:
            reason = "its code (auto_map) would have to run, and c2sflow runs none"
        raise UserError(f"model {directory}: config.json cannot be used: {reason[:300]}") from None
