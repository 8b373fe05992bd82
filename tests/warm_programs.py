"""`torchrun` and `python -m fromnoise` as programs on a PATH, forked from a process that has imported everything.

A start of a real one costs seconds, nearly all of them imports. A program here is a short one that sends its words, its
environment and its files to that process; what is forked there does the work, gets the program's signals, and its end is
the program's end.
"""

import json
import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

PROGRAM = """#!{python} -SE
import array, json, os, signal, socket, struct, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = json.dumps([{name!r}, *sys.argv[1:]]), json.dumps(dict(os.environ)), os.getcwd()
request = json.dumps(words).encode()
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM, signal.SIGINT}})
server.sendmsg([struct.pack("!I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(request)
pid = struct.unpack("!i", server.recv(4, socket.MSG_WAITALL))[0]
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGTERM, signal.SIGINT}})
status = struct.unpack("!i", server.recv(4, socket.MSG_WAITALL))[0]
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


def install(folder: Path) -> multiprocessing.process.BaseProcess:
    """`torchrun` and `warm-python` in a folder; kill the process that is returned when they are no longer needed."""
    address = str(folder / "warm.socket")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["fromnoise.app.cli.evaluating", "fromnoise.app.runs.training", "torch._dynamo", "torch.distributed.run"]
    )
    for name in ("torchrun", "warm-python"):
        (folder / name).write_text(PROGRAM.format(python=sys.executable, address=address, name=name))
        (folder / name).chmod(0o755)
    server = context.Process(target=serve, args=(address,))
    server.start()
    while not os.path.exists(f"{address}.ready"):
        assert server.is_alive()
        server.join(0.02)
    return server


def serve(address: str) -> None:

    import fromnoise.app.runs.training  # noqa: F401

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(16)
    Path(f"{address}.ready").touch()
    while True:
        connection = listening.accept()[0]
        head, files, _, _ = socket.recv_fds(connection, 4, 3)
        request = connection.recv(struct.unpack("!I", head)[0], socket.MSG_WAITALL)
        words, environment, folder = json.loads(request)
        pid = os.fork()
        if not pid:
            listening.close()
            _run(json.loads(words), json.loads(environment), folder, files)
        for file in files:
            os.close(file)
        connection.sendall(struct.pack("!i", pid))
        threading.Thread(target=_answer, args=(connection, pid), daemon=True).start()


def _answer(connection: socket.socket, pid: int) -> None:
    code = os.waitpid(pid, 0)[1]
    connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(code)))
    connection.close()


def _run(words: list[str], environment: dict[str, str], folder: str, files: list[int]) -> None:
    status = 70
    try:
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.environ.clear()
        os.environ |= environment
        os.chdir(folder)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        status = _torchrun(words[1:]) if words[0] == "torchrun" else _python(words[1:])
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        os._exit(status or 0)


def _torchrun(words: list[str]) -> int:
    from torch.distributed.run import main

    main(words)
    return 0


def _python(words: list[str]) -> int:
    import torch

    from fromnoise.app.cli import main

    assert words[:3] == ["-u", "-m", "fromnoise"], words
    torch.set_num_threads(1)
    return main(words[3:])
