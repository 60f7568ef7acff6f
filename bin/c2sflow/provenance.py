"""What made a result, and writing results whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from c2sflow.errors import UserError

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


def write_json(target: str | Path, content: object) -> None:
    """Write JSON (UTF-8, indented), whole or not at all."""
    with write_beside(target) as partial:
        partial.write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_json(path: str | Path) -> dict | list:
    """Content of a JSON file that an earlier step wrote.

    Raises
    ------
    UserError
        If it is missing or broken.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path.name} is missing ({error}); run with -resume") from None
    except ValueError as error:
        raise UserError(f"{path.name} is broken ({error}); {remedy(path)}") from None


def remedy(path: str | Path) -> str:
    """What to do about a damaged file of an earlier step: -resume alone takes it as it is."""
    return f"delete {Path(path).resolve()} and run again with -resume, which makes it anew"


def unreadable(path: str | Path, error: Exception) -> UserError:
    """The error for a file of an earlier step that cannot be read.

    A file is not blamed, nor to be deleted, where the system refuses to open it.
    """
    path = Path(path)
    if mend := REFUSALS.get(getattr(error, "errno", None)):
        return UserError(f"{path.name} cannot be opened ({error}); {mend}")
    return UserError(f"{path.name} is missing or broken ({error}); {remedy(path)}")


def file_digest(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def software_versions(packages: tuple[str, ...] = SOFTWARE) -> dict[str, str]:
    """Installed version of each package, without importing any of them."""
    return {package: version(package) for package in packages}
