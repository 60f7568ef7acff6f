"""Imports what EMBED imports, once; a fork of it then runs each task: the pipeline's own code.

Five of the six CPU seconds that a task of some cells takes are imports, the same in all of them.
Run as `server.py SOCKET`. A task is a process in its own folder that can be killed as any other.
"""

import array
import json
import os
import signal
import socket
import sys
import threading

import torch  # noqa: F401
import transformers  # noqa: F401
from transformers import AutoTokenizer  # noqa: F401  (imported on demand)

import c2sflow.cli
import c2sflow.model.embed_shards
import c2sflow.steps.embed


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
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = ["c2s", *call["arguments"]]
    try:
        c2sflow.cli.main()
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([status]))


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
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
