"""Files written whole or not at all, read with the right error, and where they come from."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py

from c2sflow.common.errors import UserError

# Packages whose version can change a number in the result: those of the data side, and those that
# only the steps with a model have.
SOFTWARE = ("anndata", "numpy", "pandas", "scanpy", "scipy")
MODEL_SOFTWARE = ("torch", "transformers", "tokenizers")
# What to do where the system, and not a file, is the cause.
REFUSALS = {
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n 4096)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EACCES: "its permissions do not allow it",
}
TRAINING_SOFTWARE = (*MODEL_SOFTWARE, "peft", "accelerate", "bitsandbytes")


@contextmanager
def write_beside(target: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; rename it to `target` if the block succeeds.

    A reader sees the whole file or none, and a block that fails leaves nothing.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes 0600 files; results are read by others too.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_beside(target: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `target`; rename it to `target` if the block succeeds.

    As `write_beside`; a folder that is there already gives way to the new one.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as name:
        partial, old = Path(name) / "new", Path(name) / "old"
        partial.mkdir()
        yield partial
        if target.exists():
            target.rename(old)
        partial.rename(target)


def write_json(target: str | Path, content: object) -> None:
    """Write JSON (UTF-8, indented), whole or not at all."""
    with write_beside(target) as partial:
        partial.write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file that an earlier step wrote.

    Raises
    ------
    UserError
        If it is missing or broken, or holds no object.
    """
    content = _json(Path(path))
    if not isinstance(content, dict):
        raise UserError(f"{Path(path).name} is broken (it holds no object); {remedy(path)}")
    return content


def read_json_list(path: str | Path) -> list[dict[str, Any]]:
    """The objects in a JSON file that an earlier step wrote as a list, such as samples.json.

    Raises
    ------
    UserError
        If it is missing or broken, or holds no list of objects.
    """
    content = _json(Path(path))
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise UserError(f"{Path(path).name} is broken (it holds no list); {remedy(path)}")
    return content


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path.name} is missing ({error}); run with -resume") from None
    except ValueError as error:
        raise UserError(f"{path.name} is broken ({error}); {remedy(path)}") from None


def remedy(path: str | Path) -> str:
    """What to do about a damaged file of an earlier step: -resume alone takes it as it is."""
    return f"delete {Path(path).resolve()} and run again with -resume to create it again"


def unreadable(path: str | Path, error: Exception) -> UserError:
    """The error for a file of an earlier step that cannot be read.

    A file is not blamed, nor to be deleted, where the system refuses to open it.
    """
    path = Path(path)
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and (mend := REFUSALS.get(number)):
        return UserError(f"{path.name} cannot be opened ({error}); {mend}")
    return UserError(f"{path.name} is missing or broken ({error}); {remedy(path)}")


def file_digest(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def software_versions(packages: tuple[str, ...] = SOFTWARE) -> dict[str, str]:
    """Installed version of each package, without importing any of them."""
    return {package: version(package) for package in packages}


BEGINNING = 512
HDF5 = b"\x89HDF\r\n\x1a\n"
# First bytes: what a file is that was taken for another, and what to do.
MARKS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; fetch it: git lfs pull",
    b"\x1f\x8b": "compressed by gzip; unpack it: gunzip",
    b"BZh9": "compressed by bzip2; unpack it: bunzip2",
    b"\xfd7zXZ": "compressed by xz; unpack it: unxz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it: unzstd",
    b"RDX3\n": "a file of R; convert it to .h5ad",
    b"\x80\x04": "a pickle of Python; write it with adata.write_h5ad",
    b"\xd0\xcf\x11\xe0": "an old file of Excel; save it as CSV UTF-8",
    b"%PDF-": "a PDF",
}
# Messages of libraries, and what they mean.
REASONS = {
    r"object '([^']*)' doesn't exist": "it lacks {0!r}",
    r"can't locate attribute: '([^']*)'": "it lacks the attribute {0!r}",
    r"No read method registered for IOSpec\(encoding_type='([^']*)'": (
        "it has an element of the type {0!r} where another is expected"
    ),
    r"No group found in store": "the folder holds no zarr group",
    r"Not a gzipped file": "it is not compressed, though its name ends in .gz",
    r"end-of-stream marker|unexpected end of data": "it is not complete",
    r"does not support dtype (\S+?)\.": "its values are of the type {0}, not numbers",
    r"NoneType|cannot unpack|not iterable|not subscriptable": "a part of it is missing",
}
CLASS_NAME = re.compile(r"\b(?:\w+\.)*\w*(?:Error|Exception|Warning)\b:?\s*")
LIBRARY = re.compile(r"\s*(?:Error raised while|Above error raised|\[Errno -?\d+\]).*", re.DOTALL)


def foreign(path: Path) -> str | None:
    """What a file is by its first bytes, if that is none of the formats we read, and what to do."""
    if path.suffix.lower() in (".rds", ".rda", ".rdata"):
        return "a file of R; convert it to .h5ad"
    with path.open("rb") as handle:
        begins = handle.read(BEGINNING)
    if not begins.strip(b"\0"):
        return "empty; copy or download it again"
    for mark, what in MARKS.items():
        if begins.startswith(mark):
            return what
    if re.match(rb"\s*<(!doctype|html|\?xml)", begins, re.IGNORECASE):
        return "a web page; download the file itself"
    if zipfile.is_zipfile(path) or begins.startswith(b"PK\x03\x04"):
        excel = path.suffix.lower().startswith(".xls") or b"[Content_Types].xml" in begins
        return "a workbook of Excel; save it as CSV UTF-8" if excel else "a zip archive; unpack it"
    return None


def hdf5_fault(path: Path) -> str | None:
    """Why a file is no HDF5 file that can be opened."""
    if what := foreign(path):
        return f"it is {what}"
    with path.open("rb") as handle:
        if handle.read(len(HDF5)) != HDF5:
            return "it is no HDF5 file; is its ending right?"
    try:
        h5py.File(path, "r").close()
    except (OSError, RuntimeError):
        size = path.stat().st_size
        return f"it is damaged or not complete ({size:,} bytes); copy or download it again"
    return None


def reason_of(error: Exception) -> str:
    """What a library's exception reports about a file's content, in one line."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    for pattern, reason in REASONS.items():
        if found := re.search(pattern, text):
            return reason.format(*found.groups())
    if isinstance(error, KeyError):
        return f"it lacks {text!r}"
    if isinstance(error, MemoryError | OverflowError):
        return "its sizes make no sense"
    text = LIBRARY.sub("", CLASS_NAME.sub("", " ".join(text.split())))[:200]
    return text or "its content is damaged"


def read_object(directory: str | Path, name: str) -> dict[str, Any]:
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
