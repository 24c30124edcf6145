"""Several measurements at a time: where each is, waiting that ends when all is to end, and the bars for people."""

import threading
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from loadtest.terminal import has_live_view


class StoppedError(Exception):
    """The whole run is to end; no figure was had."""


class Stage:
    """One measurement's own: used by its thread alone."""

    def __init__(self, show: Callable[[str, float, float], None], stopped: threading.Event) -> None:
        self._show = show
        self._stopped = stopped

    def show(self, doing: str, done: float = 0.0, total: float = 1.0) -> None:
        """Say where it is. Raises StoppedError when it is to end."""
        self.check()
        self._show(doing, done, total)

    def wait(self, seconds: float) -> None:
        """Wait so long. Raises StoppedError as soon as it is to end."""
        if self._stopped.wait(seconds):
            raise StoppedError

    def check(self) -> None:
        """Raise StoppedError when it is to end."""
        if self._stopped.is_set():
            raise StoppedError


class Board:
    """The bars of all that runs now; drawn by the thread that calls `draw`, and nowhere but in a terminal."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.stopped = threading.Event()
        self._total = total
        self._done = 0
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._all = self._progress.add_task("all", total=total)
        self._is_live = has_live_view(console)

    def __enter__(self) -> Self:
        if self._is_live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_live:
            self._progress.stop()

    def stage(self, title: str) -> tuple[Stage, Callable[[], None]]:
        """A new one, and what to call when it is over."""
        task: TaskID = self._progress.add_task(title)

        def show(doing: str, done: float, total: float) -> None:
            self._progress.update(task, description=f"{title}: {doing}", completed=done, total=total)

        return Stage(show, self.stopped), lambda: self._progress.remove_task(task)

    def draw(self) -> None:
        """Draw them as they are now."""
        if self._is_live:
            self._progress.update(self._all, description=f"all: {self._done} of {self._total}", completed=self._done)
            self._progress.refresh()

    def count_done(self, line: str) -> None:
        """One more is over; the line says with what."""
        self._done += 1
        self.console.print(f"{self._done}/{self._total} {line}", markup=False, soft_wrap=True)
