"""Which processes there are, and when they have ended, without polling by sleep."""

import os
import select
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

GONE_S_MAX = 10.0


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, as they are now."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def await_gone(pids: Iterable[int]) -> None:
    """Fails when one of them is still there after GONE_S_MAX."""
    for pid in pids:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                ended, _, _ = select.select([handle], [], [], GONE_S_MAX)
            finally:
                os.close(handle)
            assert ended, f"process {pid} is still there: {Path(f'/proc/{pid}/cmdline').read_text()}"
