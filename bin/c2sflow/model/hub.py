"""The directory of a model that is named by path or Hugging Face id, or is an adapter. No torch.

What Nextflow does for the workflow (modules/inputs.nf), for use without it.
"""

from __future__ import annotations

import os
from pathlib import Path

from c2sflow.common.errors import UserError
from c2sflow.model.adapters import CONFIG, WEIGHTS, check_fit, has_adapter, read_adapter
from c2sflow.model.architectures.registry import family_at
from c2sflow.model.files import HUB_ID, SOURCE, fetch_model
from c2sflow.model.trained import FORMER, RECORD
from c2sflow.model.weights import weight_shapes

CACHE = Path.home() / ".cache" / "c2sflow"
BUNDLED = Path(__file__).parents[3] / "assets" / "demo_model"  # in a checkout


def model_folder(model: str | Path, revision: str = "main") -> Path:
    """Directory of a model; one of the hub is fetched once, into `CACHE`.

    In a checkout of the pipeline "demo" is the bundled model.

    Raises
    ------
    UserError
        If it is neither a directory nor a Hugging Face id, or cannot be fetched.
    """
    if Path(model).is_dir():
        return Path(model)
    if model == "demo" and BUNDLED.is_dir():
        return BUNDLED
    if not HUB_ID.fullmatch(str(model)):
        raise UserError(
            f"model {model}: no such directory, and no Hugging Face id (such as "
            "vandijklab/C2S-Scale-Gemma-2-2B)"
        )
    name = str(model).replace("/", "--")
    folder = CACHE / (name if revision == "main" else f"{name}@{revision}")
    if not (folder / SOURCE).exists():
        fetch_model(str(model), revision, folder)
    return folder


def base_folder(adapter: Path, base_model: str | Path | None = None) -> Path:
    """Directory of an adapter's base: `base_model`, or the one that the adapter names.

    A path that the adapter names is relative to any folder above the adapter, or to the working
    directory: see `portable_name`.

    Raises
    ------
    UserError
        As `model_folder`; or if the adapter names none.
    """
    if base_model is not None:
        return model_folder(base_model)
    config = read_adapter(adapter)
    base = config.get("base_model_name_or_path") or ""
    for folder in adapter.absolute().parents if base else ():
        if (folder / base).is_dir() and not has_adapter(folder / base):
            return folder / base
    if not Path(base).is_dir() and not HUB_ID.fullmatch(base):
        raise UserError(
            f"model {adapter}: its base ({base}) is no directory here, and no Hugging Face id; "
            "name it with base_model"
        )
    return model_folder(base, config.get("revision") or "main")


def portable_name(base: Path) -> str:
    """How an adapter names a base that is a folder: by its path from the working directory.

    It begins with a dot, so that it is never taken for a Hugging Face id.
    """
    path = os.path.relpath(base.resolve())
    return path if path.startswith("..") else f"./{path}"


def link_adapter(adapter: Path, base: Path, folder: Path) -> None:
    """Fill a folder with links to an adapter's files, and to those of its base.

    Raises
    ------
    UserError
        If the two do not fit, or the base is an adapter itself.
    """
    if has_adapter(base):
        raise UserError(f"model {adapter}: its base {base} is an adapter itself; merge that first")
    check_fit(adapter, weight_shapes(base), family_at(base))
    files = {path.name: path for path in base.iterdir()}
    own = [name for name in (CONFIG, WEIGHTS, RECORD, FORMER) if (adapter / name).is_file()]
    for name, path in (files | {name: adapter / name for name in own}).items():
        (folder / name).symlink_to(path.resolve())
