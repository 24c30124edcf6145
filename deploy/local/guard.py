"""Starts servers for another process, its owner, and leaves nothing of them behind.

Run as a program of its own: `python -I -S guard.py OPTIONS`, with the owner at the other end of stdin. Where
the owner goes (its end of the pipe closes, or it is no longer the parent), every server is killed, the folder
is removed and the clean-up command is run, however the owner ended; SIGKILL is no exception.

OPTIONS is one JSON object: {"folder": path to remove or null, "cleanup": command line or null}.
One JSON object a line comes in, one goes back:
  {"do": "start", "name": N, "argv": [...], "env": {...}, "log": path} -> {"pid": P} or {"error": sentence}
  {"do": "signal", "name": N, "signal": S, "group": true|false}       -> {"sent": true|false}
  {"do": "poll", "name": N}                                           -> {"returncode": R or null}
  {"do": "end", "name": N}                                            -> {"returncode": R}
  {"do": "watch", "pid": P}                                           -> {"watched": true|false}

What is watched was started by the owner itself. It is the owner's to ask, to signal and to end; what is left of it when
the owner goes is killed with the rest.

Servers are asked about and signalled here, by the process that reaps them: a process id cannot be reused in
between. It uses the standard library only, one thread, and knows nothing of the rest of the project.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

OWNER_CHECK_S = 0.5
"""A forked child of the owner can hold the pipe open; the parent is asked about this often as well."""
SWEEP_S_MAX = 5.0
CLEANUP_S_MAX = 60.0
READ_BYTES = 65_536

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

Children = dict[str, subprocess.Popen[bytes]]
Watched = dict[int, str]


def _prctl() -> Callable[[int, int], object]:
    """Linux's prctl, looked up before any fork; elsewhere a function that does nothing."""
    if not sys.platform.startswith("linux"):
        return lambda _option, _value: None
    function: Callable[[int, int], object] = ctypes.CDLL(None).prctl
    return function


prctl = _prctl()


def die_with_guard() -> None:
    """In the new process, before exec: when the guard itself is killed, the server goes too."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def strays(session: int, children: Children) -> list[int]:
    """Processes left of a server: of its session, or orphans that the kernel has handed to the guard."""
    own = os.getpid()
    direct = {child.pid for child in children.values() if child.returncode is None}
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything; what follows it is: state, parent, group, session.
            state, parent, _, its_session = entry.read_text(errors="replace").rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue  # it ended while it was being read
        pid = int(entry.parent.name)
        # What has ended and waits for another parent to hear of it is gone.
        is_gone = state == "Z" and int(parent) != own
        if pid not in direct and not is_gone and (int(parent) == own or int(its_session) == session):
            found.append(pid)
    return found


def sweep(session: int, children: Children) -> None:
    give_up_at = time.monotonic() + SWEEP_S_MAX
    while (left := strays(session, children)) and time.monotonic() < give_up_at:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            except (ProcessLookupError, ChildProcessError, PermissionError):
                continue  # gone, or not the guard's own child: its parent reaps it
        time.sleep(0.005)


def returncode(child: subprocess.Popen[bytes], children: Children) -> int | None:
    """How it ended, if it has; the first time this is seen, whatever it left running is ended too."""
    if child.returncode is None and child.poll() is not None:
        sweep(child.pid, children)
    return child.returncode


def end(child: subprocess.Popen[bytes], children: Children) -> int | None:
    if returncode(child, children) is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        sweep(child.pid, children)
    return child.returncode


def start(command: dict[str, Any], children: Children) -> dict[str, Any]:
    try:
        with Path(command["log"]).open("ab") as log:
            child = subprocess.Popen(
                command["argv"],
                env=command["env"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_guard,  # noqa: PLW1509 - safe: the guard has one thread
            )
    except OSError as error:
        return {"error": f"{command['argv'][0]} cannot be started: {error.strerror}."}
    children[command["name"]] = child
    return {"pid": child.pid}


def began(pid: int) -> str | None:
    """When a process began, in ticks of the kernel: with its id, what no other process has. None: there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def watch(pid: int, watched: Watched) -> bool:
    if (when := began(pid)) is not None:
        watched[pid] = when
    return when is not None


def end_watched(watched: Watched, children: Children) -> None:
    """Each with its session, if it has one of its own."""
    for pid, when in watched.items():
        if began(pid) == when:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            sweep(pid, children)


def answer(command: dict[str, Any], children: Children, watched: Watched) -> dict[str, Any]:
    if command["do"] == "start":
        return start(command, children)
    if command["do"] == "watch":
        return {"watched": watch(command["pid"], watched)}
    child = children[command["name"]]
    if command["do"] == "poll":
        return {"returncode": returncode(child, children)}
    if command["do"] == "end":
        return {"returncode": end(child, children)}
    if returncode(child, children) is not None:
        return {"sent": False}
    (os.killpg if command["group"] else os.kill)(child.pid, command["signal"])
    return {"sent": True}


def reap_orphans(children: Children) -> None:
    """Forget what servers started and left, once it has ended; RabbitMQ does so every minute."""
    for child in children.values():
        returncode(child, children)
    direct = {child.pid for child in children.values()}
    try:
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in direct:
            os.waitpid(ended.si_pid, 0)
    except ChildProcessError:
        pass  # there are none


def serve(children: Children, watched: Watched) -> None:
    owner = os.getppid()
    pending = b""
    while os.getppid() == owner:
        if not select.select([0], [], [], OWNER_CHECK_S)[0]:
            reap_orphans(children)
            continue
        received = os.read(0, READ_BYTES)
        if not received:
            return
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            os.write(1, json.dumps(answer(json.loads(line), children, watched)).encode() + b"\n")


def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def main() -> None:
    options = json.loads(sys.argv[1])
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, stop)
    children: Children = {}
    watched: Watched = {}
    try:
        serve(children, watched)
    except BrokenPipeError:
        pass  # the owner went while it was being answered
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_watched(watched, children)
        for child in children.values():
            end(child, children)
        if options["folder"]:
            shutil.rmtree(options["folder"], ignore_errors=True)
        if options["cleanup"]:
            subprocess.run(
                options["cleanup"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=CLEANUP_S_MAX,
                check=False,
            )


if __name__ == "__main__":
    main()
