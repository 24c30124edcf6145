"""The worker as the first process of a container, which no signal ends by default: in a namespace of its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.places import ROOT

WAIT_S_MAX = 20.0
AGAIN_S = 0.05
ENTRY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["mms-worker"].replace(":main", "")


@contextmanager
def first_process(code: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """One that runs `code`, and its number outside; its standard input stays open. SIGTERM to it has no default."""
    command = ["unshare", "--fork", "--pid", "--kill-child", sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as outside:
        try:
            yield outside, _child_of(outside)
        finally:
            outside.kill()  # and with it whoever is in there


def _child_of(outside: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
    while outside.poll() is None:
        if told := children.read_text().split():
            return int(told[0])
    assert outside.stderr is not None
    pytest.skip(f"A process namespace cannot be made here: {outside.stderr.read().decode()}")


def ends_when_it_is_told(outside: subprocess.Popen[bytes], inside: int) -> int:
    """SIGTERM again and again, as it may be heard a moment later; the exit code."""
    for _ in range(int(WAIT_S_MAX / AGAIN_S)):
        # Its number is its own until `outside` has waited for it, and that is what is looked at.
        subprocess.run(["kill", "-TERM", str(inside)], capture_output=True, check=False)
        try:
            return outside.wait(AGAIN_S)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail(f"It has not ended within {WAIT_S_MAX:.0f} s.")


needs_namespaces = pytest.mark.skipif(shutil.which("unshare") is None, reason="There is no unshare here.")


@needs_namespaces
def test_a_first_process_would_not_hear_sigterm_by_itself() -> None:
    with first_process("import sys; print('up', file=sys.stderr, flush=True); sys.stdin.read()") as (outside, inside):
        assert outside.stderr is not None
        assert outside.stderr.readline() == b"up\n"
        subprocess.run(["kill", "-TERM", str(inside)], check=True)
        with pytest.raises(subprocess.TimeoutExpired):
            outside.wait(10 * AGAIN_S)


@needs_namespaces
def test_a_command_that_waits_ends_at_once_when_it_is_told() -> None:
    code = f"import sys; sys.argv = ['mms-worker', 'publish', '-']; from {ENTRY} import main; main()"
    with first_process(code) as (outside, inside):
        assert ends_when_it_is_told(outside, inside) == 128 + signal.SIGTERM


def test_the_signal_is_heard_before_anything_else_is_loaded() -> None:
    """All of the worker takes half a second to load, in which a container may have to stop."""
    code = f"import sys, os; before = set(sys.modules); import {ENTRY}; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in loaded.stdout.split() if name not in sys.stdlib_module_names} == {"worker", ENTRY}
