"""What the programs here show while they work, in a terminal and elsewhere."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

LINE_EVERY_S = 5.0


def has_live_view(console: Console) -> bool:
    """Whether lines can be drawn over again."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def step(console: Console, doing: str) -> Iterator[None]:
    """Say what is being done, turning while it lasts, and that it is done."""
    turning: AbstractContextManager[object] = nullcontext()
    if has_live_view(console):
        turning = console.status(f"{doing} …", spinner="line" if console.options.ascii_only else "dots")
    with turning:
        yield
    done = Text("ok" if console.options.ascii_only else "✓", style="green")
    console.print(done, doing)


class CountedStep:
    """A progress bar for as long as the `with` block lasts; without a terminal, a line now and then."""

    def __init__(self, console: Console, doing: str, total: int) -> None:
        self._console = console
        self._doing = doing
        self._total = total
        self._next_line_at_s = time.monotonic() + LINE_EVERY_S
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # No thread of its own, which would take time from what is measured.
        self._progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task = self._progress.add_task(doing, total=total)
        self._is_live = has_live_view(console)

    def __enter__(self) -> Self:
        if self._is_live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            self._progress.stop()

    def show(self, done: int) -> None:
        """Draw how far it is."""
        if self._is_live:
            self._progress.update(self._task, completed=done, refresh=True)
        elif time.monotonic() >= self._next_line_at_s:
            self._next_line_at_s += LINE_EVERY_S
            self._console.print(f"  {self._doing}: {done} of {self._total}", markup=False)
