"""A model as a directory of files: checking, describing and fetching it. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

from c2sflow.common.errors import Faults, UserError
from c2sflow.common.files import file_digest, read_object
from c2sflow.model import adapters
from c2sflow.model.adapters import check_fit, has_adapter, read_adapter
from c2sflow.model.architectures.registry import family_of, tested_names
from c2sflow.model.trained import SOURCE, read_trained
from c2sflow.model.weights import weight_files, weight_shapes

# What a model needs to run, and nothing that can execute code: no pickle, no Python.
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "README.md")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def read_config(directory: str | Path) -> dict:
    """config.json of a model directory.

    Raises
    ------
    UserError
        If the directory lacks a readable config, safetensors weights (all shards of them) or a
        fast tokenizer, or holds an adapter that does not belong to them: all that is wrong.
    """
    return _config_of(directory, file_faults(directory))


def read_encoder(directory: str | Path) -> dict:
    """config.json of the directory of a text encoder, such as BERT.

    Raises
    ------
    UserError
        As `read_config`; any architecture will do.
    """
    return _config_of(directory, file_faults(directory, encoder=True))


def _config_of(directory: str | Path, faults: list[str]) -> dict:
    if faults:
        raise UserError("; ".join(faults))
    return read_object(directory, "config.json")


def file_faults(directory: str | Path, encoder: bool = False) -> Faults:
    """What is wrong with the files of a model directory, a line each, without loading any.

    Parameters
    ----------
    encoder
        Any architecture will do, else it is a causal language model.
    """
    directory, faults = Path(directory), Faults()
    if not directory.is_dir():
        return Faults([f"model {directory}: no such directory"])
    config: dict = {}
    with faults.collect():
        config = _check_config(directory, encoder)
    with faults.collect():
        if not (directory / "tokenizer.json").is_file():
            raise UserError(f"model {directory}: no tokenizer.json (a fast tokenizer is needed)")
        read_object(directory, "tokenizer.json")
    with faults.collect():
        read_trained(directory)
    with faults.collect():
        shapes = weight_shapes(directory)
        if has_adapter(directory):
            check_fit(directory, shapes, family_of(config.get("model_type")))
    return faults


def _check_config(directory: Path, encoder: bool) -> dict:
    if not (directory / "config.json").is_file():
        raise UserError(f"model {directory}: no config.json; give a Hugging Face model directory")
    config = read_object(directory, "config.json")
    if not isinstance(config.get("model_type"), str):
        code = " but auto_map: its code, which would have to run," if "auto_map" in config else ""
        raise UserError(
            f"model {directory}: config.json has no model_type{code}"
            f"{' is not run' if code else ''}; give a model of a family that transformers has"
        )
    if config.get("quantization_config"):
        raise UserError(
            f"model {directory}: a quantised checkpoint (quantization_config in config.json), "
            "which is not loaded; give the model in bfloat16, and quantise it with --quantization"
        )
    named = config.get("architectures")
    if encoder:
        return config
    if not isinstance(named, list) or not any("ForCausalLM" in str(name) for name in named):
        raise UserError(
            f"model {directory}: {named} is no causal language model; "
            "c2sflow runs Gemma-2 models such as vandijklab/C2S-Scale-Gemma-2-2B"
        )
    family = family_of(config["model_type"])
    if not family.tested:
        code = "; its code (auto_map) would have to run, and c2sflow runs none"
        raise UserError(
            f"model {directory}: a {config['model_type']} model, of a family that c2sflow does not "
            f"know; it runs {tested_names()}{code if 'auto_map' in config else ''}"
        )
    names = family.config_names
    if missing := [name for name, known in names.items() if not known & set(config)]:
        raise UserError(
            f"model {directory}: config.json lacks {', '.join(missing)}; take the one that was "
            "saved with the weights"
        )
    return config


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
        fetched = json.loads((directory / SOURCE).read_text(encoding="utf-8"))
        record |= {name: fetched.get(name, "") for name in record}
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
        "hidden_size": config_number(config, "hidden_size"),
        "num_layers": config_number(config, "num_hidden_layers"),
        "context": config_number(config, "max_position_embeddings"),
        "vocab_size": config_number(config, "vocab_size"),
        "n_parameters": sum(map(math.prod, weight_shapes(directory).values())),
    }


def config_number(config: dict, name: str) -> int:
    """A number of config.json under whichever name its family has for it."""
    names = family_of(config.get("model_type")).config_names[name]
    return next(config[known] for known in sorted(names) if known in config)


def fetch_model(model: str, revision: str, directory: str | Path, encoder: bool = False) -> None:
    """Download a model of the hub into `directory`: safetensors, tokenizer and configuration.

    The commit that `revision` stands for is written to ``c2s_source.json``, and the size of each
    file: where the folder is copied to, a copy that was cut shows. An interrupted download is taken
    up where it stopped when called again. `encoder`: a text encoder is wanted, else a causal
    language model.

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
        snapshot_download(
            model, revision=commit, local_dir=directory, allow_patterns=list(PATTERNS)
        )
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
    sizes = {path.name: path.stat().st_size for path in directory.iterdir() if path.is_file()}
    sizes.pop(SOURCE, None)  # of an earlier call
    source = {"id": model, "revision": revision, "commit": commit, "files": sizes}
    (directory / SOURCE).write_text(json.dumps(source), encoding="utf-8")
    (read_encoder if encoder else read_config)(directory)
