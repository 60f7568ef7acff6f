"""Imports what the steps import, once; a fork of it then runs each task: the pipeline's own code.

Five of the six CPU seconds that a small task of EMBED takes are imports, the same in every task.
Run as `server.py SOCKET`. A task is a process in its own folder that can be killed as any other.
"""

import array
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import threading
from contextlib import suppress

import c2sflow
from c2sflow import cli

# What libraries import on demand in nearly every task.
ON_DEMAND = (
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gemma2.modeling_gemma2",
    "sklearn.linear_model",
    "multiqc.core.update_config",
)


def import_all() -> None:
    """The steps, and what they import when they are called."""
    ours = (name for _, name, _ in pkgutil.walk_packages(c2sflow.__path__, "c2sflow."))
    for name in (*ours, *ON_DEMAND):
        with suppress(ImportError):  # what this environment lacks, a task may need or not
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def die_with(connection: socket.socket) -> None:
    """As a child process of the task, which is killed with it."""
    connection.recv(1)  # nothing comes but the end
    os.kill(os.getpid(), signal.SIGKILL)


def run(connection: socket.socket) -> None:
    """One task, in a process of its own."""
    _, found, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * 4))
    descriptors = array.array("i")
    descriptors.frombytes(found[0][2])
    text = b""
    while not text.endswith(b"\n"):
        text += connection.recv(2**16)
    call = json.loads(text)
    threading.Thread(target=die_with, args=(connection,), daemon=True).start()
    os.chdir(call["folder"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    threads = os.environ["NUMBA_NUM_THREADS"]  # numba has read it, and takes no other then
    os.environ.clear()
    os.environ.update(call["environment"] | {"NUMBA_NUM_THREADS": threads})
    sys.argv = ["c2s", *call["arguments"]]
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([status]))


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    import_all()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(sys.argv[1])
        door.listen(64)
        print("ready", flush=True)
        while True:
            connection, _ = door.accept()
            with connection:
                if os.fork() == 0:
                    door.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    try:
                        run(connection)
                    finally:
                        os._exit(1)


main()
