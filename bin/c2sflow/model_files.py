"""A model as a directory of files: checking, describing and fetching it. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

from c2sflow import adapters
from c2sflow.adapters import check_fit, has_adapter, read_adapter
from c2sflow.errors import UserError
from c2sflow.provenance import file_digest
from c2sflow.safetensors_files import tensor_shapes

# What a model needs to run, and nothing that can execute code: no pickle, no Python.
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "README.md")
SOURCE = "c2s_source.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def read_config(directory: str | Path) -> dict:
    """config.json of a model directory.

    Raises
    ------
    UserError
        If the directory lacks a readable config, safetensors weights (all shards of them) or a
        fast tokenizer, or holds an adapter that does not belong to them.
    """
    config = _read_files(directory)
    if not any("ForCausalLM" in name for name in config.get("architectures") or []):
        raise UserError(
            f"model {directory}: {config.get('architectures')} is no causal language model; "
            "c2sflow runs Gemma-2 models such as vandijklab/C2S-Scale-Gemma-2-2B"
        )
    return config


def read_encoder(directory: str | Path) -> dict:
    """config.json of the directory of a text encoder, such as BERT.

    Raises
    ------
    UserError
        As `read_config`; any architecture will do.
    """
    return _read_files(directory)


def _read_files(directory: str | Path) -> dict:
    """config.json, when the other files are there and whole."""
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"model {directory}: no such directory")
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"model {directory}: no config.json; give a Hugging Face model directory"
        ) from None
    except ValueError as error:
        raise UserError(f"model {directory}: config.json cannot be read: {error}") from None
    if not (directory / "tokenizer.json").is_file():
        raise UserError(f"model {directory}: no tokenizer.json (a fast tokenizer is needed)")
    for name in weight_files(directory):
        if not (directory / name).is_file():
            raise UserError(f"model {directory}: {name} is missing; fetch the model again")
        tensor_shapes(directory / name)
    if has_adapter(directory):
        read_adapter(directory)
        check_fit(directory, weight_shapes(directory))
    return config


def weight_files(directory: str | Path) -> list[str]:
    """Names of the safetensors files that hold the weights, missing ones of an index included.

    Those of an adapter are not among them.
    """
    directory = Path(directory)
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    names = base_weights(directory)
    if not names and has_adapter(directory):
        raise UserError(
            f"model {directory}: an adapter without its base; name that with --base_model"
        )
    if not names:
        raise UserError(
            f"model {directory}: no *.safetensors weights; pickled weights (.bin, .pt) are not "
            "loaded because they can run code. Convert with save_pretrained(), which writes "
            "safetensors"
        )
    return names


def base_weights(directory: str | Path) -> list[str]:
    """Names of the safetensors files of a directory, but for those of an adapter."""
    names = sorted(path.name for path in Path(directory).glob("*.safetensors"))
    return [name for name in names if name != adapters.WEIGHTS]


def weight_shapes(directory: str | Path) -> dict[str, list[int]]:
    """Name to shape of all tensors of a model directory; those of an adapter are none of it."""
    shapes: dict[str, list[int]] = {}
    for name in weight_files(directory):
        shapes |= tensor_shapes(Path(directory) / name)
    return shapes


def describe_model(directory: str | Path, source: str) -> dict:
    """What a run records of its model.

    Parameters
    ----------
    directory
        Model directory, checked by `read_config`.
    source
        Hub id, path or "demo", as the user gave it.

    Returns
    -------
    id; revision and commit, empty unless `fetch_model` made the directory; digest (SHA-256 over
    the digests of config, tokenizer and weights); model_type, hidden_size, num_layers, context
    (tokens), vocab_size and n_parameters. Of an adapter also adapter_rank, and of its base base,
    revision and commit; the digest is over both.
    """
    directory = Path(directory)
    config = read_config(directory)
    names = ["config.json", "tokenizer.json", *weight_files(directory)]
    record = {"id": source, "revision": "", "commit": ""}
    if (directory / SOURCE).is_file():
        record |= json.loads((directory / SOURCE).read_text(encoding="utf-8"))
    if has_adapter(directory):
        names += [adapters.CONFIG, adapters.WEIGHTS]
        adapter = read_adapter(directory)
        base = record["id"] if record["commit"] else adapter.get("base_model_name_or_path") or ""
        record |= {"id": source, "base": base, "adapter_rank": adapter["r"]}
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {file_digest(directory / name)}\n".encode())
    return record | {
        "digest": digest.hexdigest(),
        "model_type": config["model_type"],
        "hidden_size": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "context": config["max_position_embeddings"],
        "vocab_size": config["vocab_size"],
        "n_parameters": sum(map(math.prod, weight_shapes(directory).values())),
    }


def fetch_model(model: str, revision: str, directory: str | Path, encoder: bool = False) -> None:
    """Download a model of the hub into `directory`: safetensors, tokenizer and configuration.

    The commit that `revision` stands for is written to ``c2s_source.json``. An interrupted
    download is taken up where it stopped when called again. `encoder`: a text encoder is wanted,
    else a causal language model.

    Raises
    ------
    UserError
        If the repository or revision does not exist, is gated, or cannot be reached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    directory = Path(directory)
    where = f"--text_encoder {model}" if encoder else f"--model {model} --model_revision {revision}"
    try:
        commit = HfApi().model_info(model, revision=revision).sha
        snapshot_download(model, revision=commit, local_dir=directory, allow_patterns=PATTERNS)
    except HFValidationError as error:
        raise UserError(f"{where}: neither a local directory nor a hub id ({error})") from None
    except GatedRepoError:
        raise UserError(
            f"{where}: access must be granted on the hub first; then set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"{where}: the repository has no such revision") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{where}: no such repository (or a private one: set HF_TOKEN), and no local directory"
        ) from None
    except Exception as error:  # whatever a network can cause in any of the clients below
        raise UserError(
            f"{where}: download failed: {type(error).__name__}: {str(error).strip()[:200]}. "
            "Run again with -resume, or give the path of a downloaded model"
        ) from None
    source = {"id": model, "revision": revision, "commit": commit}
    (directory / SOURCE).write_text(json.dumps(source), encoding="utf-8")
    (read_encoder if encoder else read_config)(directory)
