"""The command ``c2s``: a step of the pipeline each, imported when it is called.

What is not a bug ends with one clear message; the log goes to stderr.
"""

import errno
import gc
import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import click

from c2sflow import __version__, steps
from c2sflow.common.errors import UserError

# Importing torch and transformers makes half a million objects that stay: to search them again and
# again took an eighth of the imports' CPU time.
OBJECTS_BETWEEN_COLLECTIONS = 50_000
# The status that the kernel's own killing gives: Nextflow tries again with more.
OUT_OF_MEMORY = 137
WRITING = {
    number: os.strerror(number)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
}


class Steps(click.Group):
    """A command for each module of `c2sflow.steps`; a module is imported when it is called."""

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        """Names of the steps: the modules' own, with hyphens."""
        modules = pkgutil.iter_modules(steps.__path__)
        return sorted(module.name.replace("_", "-") for module in modules if not module.ispkg)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The click command of a step, or None if there is no such step."""
        if name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"c2sflow.steps.{name.replace('-', '_')}").main


@click.command(cls=Steps)
@click.version_option(__version__, prog_name="c2s")
@click.pass_context
def c2s(context: click.Context) -> None:
    """Run one step of c2sflow: Cell2Sentence-Scale on any AnnData file."""
    expected = os.environ.get("C2SFLOW_VERSION", __version__)
    if expected != __version__:
        raise UserError(
            f"c2sflow {__version__} is installed where c2sflow {expected} runs: uninstall it "
            "(pip uninstall c2sflow) or install the same version"
        )
    record = os.environ.get("C2SFLOW_PROGRESS")
    if record and context.invoked_subcommand != "versions":  # which a task asks for at its end
        from c2sflow.common.progress import RECORDER  # imports tqdm

        RECORDER.start(record, str(context.invoked_subcommand))


def main() -> None:
    """Run ``c2s`` with the arguments of the process."""
    run(c2s)


def run(command: click.Command) -> None:
    """Run a click command, and exit with its status.

    A UserError or a fault of the disk ends it with status 1, memory that ran out with 137, each
    with one message and no traceback.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("c2sflow").setLevel(logging.INFO)
    sys.excepthook = _without_disk_faults(sys.__excepthook__)
    sys.unraisablehook = _without_disk_faults(sys.__unraisablehook__)
    try:
        sys.exit(command.main(standalone_mode=False))
    except UserError as error:
        sys.exit(f"error: {error}")
    except click.Abort:
        sys.exit("error: interrupted")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if _is_out_of_memory(error):
            _end(f"error: out of memory: {_first_line(error)}", OUT_OF_MEMORY)
        if reason := _disk_fault(error):
            where = getattr(error, "filename", None) or "the work directory"
            _end(
                f"error: {where} cannot be read or written: {reason}; "
                "fix this and run again with -resume",
                1,
            )
        raise


def _end(message: str, status: int) -> None:
    """End at once: HDF5 crashes when it tidies up a file that it could not write."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


def _without_disk_faults(hook: Callable) -> Callable:
    """A hook of Python that drops the errors HDF5 repeats for each object of a broken file."""

    def report(*caught: Any) -> None:
        error = caught[1] if len(caught) == 3 else caught[0].exc_value
        if _disk_fault(error) is None:
            hook(*caught)

    return report


def _is_out_of_memory(error: BaseException) -> bool:
    """Also torch's own kinds, without importing torch: on a GPU, and a plain RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or "can't allocate memory" in str(error)
    )


def _disk_fault(error: BaseException | None) -> str | None:
    """The fault of the disk; HDF5 reports it only in the text, or in an earlier error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in WRITING:
            return WRITING[error.errno]
        if isinstance(error, OSError | RuntimeError):
            for reason in WRITING.values():
                if f"error message = '{reason}'" in str(error):
                    return reason
        error = error.__context__
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
