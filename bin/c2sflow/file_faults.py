"""What is wrong with a file that cannot be read, in words for its user: no library's exceptions."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import h5py

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
# What libraries say, and what it means.
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
    """What a library's exception has to say of a file's content, in one line."""
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
