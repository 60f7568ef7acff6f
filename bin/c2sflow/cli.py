"""What every c2s_<step>.py shares: one clear message for what is not a bug, a log on stderr."""

import errno
import logging
import os
import sys
from collections.abc import Callable

import click

from c2sflow.common.errors import UserError

# The status that the kernel's own killing gives: Nextflow tries again with more.
OUT_OF_MEMORY = 137
WRITING = {
    number: os.strerror(number)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
}


def run(command: click.Command) -> None:
    """Run a click command as a script.

    A UserError or a fault of the disk ends it with status 1, memory that ran out with 137, each
    with one message and no traceback.
    """
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
            _end(f"error: {where} cannot be read or written: {reason}; mend that and -resume", 1)
        raise


def _end(message: str, status: int) -> None:
    """End at once: HDF5 crashes when it tidies up a file that it could not write."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


def _without_disk_faults(hook: Callable) -> Callable:
    """A hook of Python that leaves out what HDF5 says anew for each object of a broken file."""

    def report(*caught: object) -> None:
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
    """What is wrong with the disk; HDF5 says it in the text only, or in an error before."""
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
