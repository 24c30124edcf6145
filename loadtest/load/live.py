"""How a run stands, for people: drawn over again in a terminal, else a line now and then."""

import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtest.load.scenario import Scenario
from loadtest.terminal import has_live_view

LINE_EVERY_S, LINES_OF_SCHEDULE = 10.0, 60
"""Without a terminal: a line so often, and in a long schedule no more than so many."""
OVER_S = 5.0
"""The pace that is shown is of so long."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`since_s` from the run's zero; `ended`: jobs, as far as it is known; `now`: faults that last."""

    since_s: float
    published: int
    ended: int
    calls: int
    throttled: int
    now: tuple[str, ...]

    @property
    def backlog(self) -> int:
        """Jobs that were published and have not ended."""
        return max(0, self.published - self.ended)


class LiveView:
    """From the start of the `with` block to its end; `jobs`: so many will be published in all."""

    def __init__(self, console: Console, scenario: Scenario, jobs: int) -> None:
        self._console = console
        self._scenario = scenario
        self._jobs = jobs
        self._doing = ""
        self._last: Progress | None = None
        self._seen: deque[tuple[float, Progress]] = deque()
        self._line_every_s = max(LINE_EVERY_S, scenario.seconds / LINES_OF_SCHEDULE)
        self._next_line_at_s = time.monotonic() + self._line_every_s
        # No thread of its own, which would take time from what is measured.
        self._live = Live(console=console, auto_refresh=False, transient=True) if has_live_view(console) else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def doing(self, words: str) -> None:
        """What is being done beside the run itself."""
        self._doing = words
        if self._last is not None:
            self._draw(self._last)

    def show(self, progress: Progress) -> None:
        """Draw how it stands."""
        now_s = time.monotonic()
        self._seen.append((now_s, progress))
        while self._seen[0][0] < now_s - OVER_S:
            self._seen.popleft()
        self._doing = self._phase(progress)
        self._last = progress
        self._draw(progress)

    def _draw(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(self._drawn(progress), refresh=True)
        elif time.monotonic() >= self._next_line_at_s:
            self._next_line_at_s = time.monotonic() + self._line_every_s
            self._console.print(f"  {self._line(progress)}", markup=False, soft_wrap=True)

    def _line(self, progress: Progress) -> str:
        calls_per_s, _ = self._pace()
        line = f"{progress.since_s:.0f} s, {self._doing}: {progress.published:,} published, {progress.ended:,} ended"
        line += f", {calls_per_s:,.0f} calls/s, left {self._left(progress)}"
        return line + (f"; now {', '.join(progress.now)}" if progress.now else "")

    def _drawn(self, progress: Progress) -> Group:
        calls_per_s, _ = self._pace()
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="right", min_width=10)
        table.add_column()
        bar = ProgressBar(total=max(1, self._jobs), completed=progress.published, width=30)
        table.add_row("published", f"{progress.published:,}", bar)
        bar = ProgressBar(total=max(1, self._jobs), completed=progress.ended, width=30)
        table.add_row("ended", f"{progress.ended:,}", bar)
        table.add_row("backlog", f"{progress.backlog:,}", f"left {self._left(progress)}")
        table.add_row(
            "calls/s", f"{calls_per_s:,.1f}", f"{progress.throttled:,} answered 429" * bool(progress.throttled)
        )
        head = Text.assemble(
            (self._scenario.title, "bold"),
            f"  {progress.since_s:.0f} s, {self._doing}",
            (self._faults(progress), "red"),
        )
        return Group(head, table)

    def _faults(self, progress: Progress) -> str:
        return f"  {', '.join(progress.now)}" if progress.now else ""

    def _phase(self, progress: Progress) -> str:
        began_s = 0.0
        for number, phase in enumerate(self._scenario.phases, 1):
            began_s += phase.seconds
            if progress.since_s < began_s:
                return f"phase {number} of {len(self._scenario.phases)} ({phase.words()})"
        return "draining"

    def _pace(self) -> tuple[float, float]:
        """Calls and ended jobs, a second."""
        if not self._seen:
            return 0.0, 0.0
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        span_s = max(last_s - first_s, 1e-3)
        return (last.calls - first.calls) / span_s, (last.ended - first.ended) / span_s

    def _left(self, progress: Progress) -> str:
        """The rest of the schedule, or what is to be sent at the limit or at this pace, whichever is longer."""
        _, ended_per_s = self._pace()
        limits = [limit for limit in self._scenario.limits_per_s if limit is not None]
        # A pace that a fault has brought down says nothing of the time after it.
        per_s = max(ended_per_s, float(sum(limits)))
        schedule_s = max(0.0, self._scenario.seconds - progress.since_s)
        drain_s = (self._jobs - progress.ended) / per_s if per_s else 0.0
        left_s = max(schedule_s, drain_s)
        return f"{left_s / 60:.0f} min" if left_s > 120 else f"{left_s:.0f} s"  # noqa: PLR2004 - as people say it
