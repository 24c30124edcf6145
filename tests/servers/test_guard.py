"""The guard ends all that a server started, whoever goes first."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.failure import ServerError
from deploy.local.guarded import Command, Guard
from tests.servers.process_table import await_gone, descendants

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
os.wait()
os.write(int(sys.argv[2]), b".") if len(sys.argv) > 2 else None
time.sleep(60)
"""

FAMILY = """
import os, sys, time
os.setsid()
if child := os.fork():
    os.write(int(sys.argv[1]), f" {child} ".encode())
time.sleep(60)
"""
FAMILY_AND_GUARD = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def guard(folder: Path) -> Iterator[Guard]:
    made = Guard(folder=folder)
    yield made
    made.close()


def python(folder: Path, code: str, *arguments: str) -> Command:
    argv = (sys.executable, "-I", "-S", "-c", code, *arguments)
    return Command(name="server", argv=argv, env={}, log=folder / "server.log")


def start_daemon(guard: Guard, folder: Path) -> tuple[int, int]:
    """A server that has put a process of its own into another session, and that process."""
    told = folder.parent / "pid"
    os.mkfifo(told)
    pid = guard.start(python(folder, DAEMON, str(told)))
    return pid, int(told.read_text())


def test_what_a_server_put_into_the_background_ends_with_it(guard: Guard, folder: Path) -> None:
    pid, daemon = start_daemon(guard, folder)
    guard.end("server")
    await_gone([pid, daemon])
    assert folder.exists()


def test_closing_ends_all_and_removes_the_folder(guard: Guard, folder: Path) -> None:
    pid, daemon = start_daemon(guard, folder)
    guard.close()
    await_gone([pid, daemon, guard.pid])
    assert not folder.exists()


def test_a_paused_server_ends_too(guard: Guard, folder: Path) -> None:
    pid = guard.start(python(folder, "import time; time.sleep(60)"))
    assert guard.signal("server", signal.SIGSTOP, group=True)
    guard.end("server")
    await_gone([pid])


def test_a_guard_that_is_killed_takes_its_servers_along(guard: Guard, folder: Path) -> None:
    pid = guard.start(python(folder, "import time; time.sleep(60)"))
    os.kill(guard.pid, signal.SIGKILL)
    await_gone([pid])
    with pytest.raises(ServerError, match="guard of the local servers has ended"):
        guard.has_ended("server")


def test_a_server_that_has_ended_is_not_signalled(guard: Guard, folder: Path) -> None:
    pid = guard.start(python(folder, "pass"))
    await_gone([pid])
    assert guard.has_ended("server")
    assert not guard.signal("server", signal.SIGTERM, group=False)


def test_a_program_that_does_not_exist_is_named(guard: Guard, folder: Path) -> None:
    command = Command(name="server", argv=("/no/such/server",), env={}, log=folder / "log")
    with pytest.raises(ServerError, match="/no/such/server cannot be started: No such file"):
        guard.start(command)


@pytest.mark.parametrize("closes_it", [False, True], ids=["killed", "closing"])
def test_what_the_owner_started_itself_goes_with_the_owner(*, closes_it: bool) -> None:
    told_at, tell_at = os.pipe()
    owner = os.fork()
    if owner == 0:
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", FAMILY, str(tell_at)], pass_fds=(tell_at,))
        held = Guard.over(child.pid)
        os.write(tell_at, f" {held.pid} {child.pid} ".encode())
        if closes_it:
            held.close()
            os._exit(0)
        signal.pause()
    pids: list[int] = []
    while len(pids) < FAMILY_AND_GUARD:
        pids += map(int, os.read(told_at, 100).split())
    if not closes_it:
        os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    for end in (told_at, tell_at):
        os.close(end)
    await_gone(pids)


def test_a_forked_child_that_holds_the_pipe_does_not_keep_the_servers(folder: Path) -> None:
    """The owner dies while a child that it forked still has its end of the guard's pipe."""
    told_at, tell_at = os.pipe()
    owner = os.fork()
    if owner == 0:
        held = Guard(folder=folder)
        server = held.start(python(folder, "import time; time.sleep(60)"))
        holder = os.fork()
        if holder == 0:
            signal.pause()
        os.write(tell_at, f"{held.pid} {server} {holder}".encode())
        signal.pause()
    guard_pid, server, holder = map(int, os.read(told_at, 100).split())
    os.close(told_at)
    os.close(tell_at)
    assert {guard_pid, server, holder} <= set(descendants(owner))
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    try:
        await_gone([server, guard_pid])
    finally:
        os.kill(holder, signal.SIGKILL)
    assert not folder.exists()
