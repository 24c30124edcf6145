"""What is seen while the demo runs: a live view in a terminal, plain lines everywhere else."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtest.terminal import has_live_view

LINE_EVERY_S = 2.0
BAR_CELLS = 24


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One worker: its name, its process id, and how it ended, if it has."""

    name: str
    pid: int
    ended: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """All that is shown, at one moment. `queued` jobs wait in the queue; of the rest no more is known."""

    elapsed_s: float
    published: int
    ended: int
    sent: int
    pace_per_s: int
    limit_per_s: int
    limit_usual_per_s: int
    queued: int
    throttled: int
    reports: int
    replies: int
    in_doubt: int
    workers: tuple[WorkerSeen, ...]

    @property
    def backlog(self) -> int:
        """Jobs without an end."""
        return max(0, self.published - self.ended)


def line(moment: Moment) -> str:
    """Render the moment as one plain line."""
    parts = [
        f"{moment.elapsed_s:5.1f} s",
        f"{moment.sent} sent",
        f"{moment.pace_per_s} calls/s of {moment.limit_per_s}",
        f"backlog {moment.backlog}",
        f"{moment.throttled} 429s",
        f"{moment.reports} reports",
        f"{moment.replies} replies",
        *([f"{moment.in_doubt} in doubt"] if moment.in_doubt else []),
        *(f"{worker.name} {worker.ended}" for worker in moment.workers if worker.ended),
    ]
    return "  ".join(parts)


def view(moment: Moment, jobs: int) -> RenderableType:
    """Render the moment as a small board, at most 80 columns wide."""
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(f"{moment.ended} of {jobs} jobs done", style="bold"),
        ProgressBar(total=jobs, completed=moment.ended, width=BAR_CELLS + 8, complete_style="cyan"),
        Text(f"{moment.elapsed_s:.0f} s", style="dim"),
    )
    board = Table.grid(padding=(0, 2))
    board.add_column(style="dim", width=8)
    board.add_column(justify="right", width=5)
    board.add_column()
    board.add_row("sent", str(moment.sent), "")
    board.add_row("pace", str(moment.pace_per_s), _pace(moment))
    waiting = f"{moment.queued} in the queue, the rest held by workers or in a retry queue"
    board.add_row("backlog", str(moment.backlog), Text(waiting, style="dim"))
    board.add_row("429s", str(moment.throttled), "")
    board.add_row("reports", str(moment.reports), "")
    board.add_row("replies", str(moment.replies), "")
    doubt = "until a delivery report proves it was sent (up to a minute)" if moment.in_doubt else ""
    board.add_row("in doubt", str(moment.in_doubt), Text(doubt, style="dim"))
    for worker in moment.workers:
        board.add_row(worker.name, "", _worker(worker))
    return Group(head, board)


def _pace(moment: Moment) -> RenderableType:
    """Pace against the limit, over the usual one's width; more than the limit is red."""
    is_low = moment.limit_per_s < moment.limit_usual_per_s
    bar = Table.grid(padding=(0, 1))
    color = "red" if moment.pace_per_s > moment.limit_per_s else "green"
    words = f"of {moment.limit_per_s} calls/s" + (" (lowered for a moment)" if is_low else "")
    bar.add_row(
        ProgressBar(
            total=moment.limit_usual_per_s,
            completed=min(moment.pace_per_s, moment.limit_usual_per_s),
            width=BAR_CELLS,
            complete_style=color,
            finished_style=color,
        ),
        Text(words, style="yellow" if is_low else ""),
    )
    return bar


def _worker(worker: WorkerSeen) -> Text:
    if worker.ended is not None:
        return Text(worker.ended, style="bold red")
    return Text(f"runs; `kill -9 {worker.pid}` to see what happens then")


class Screen:
    """Shows moments as they come, for as long as the `with` block lasts."""

    def __init__(self, console: Console, jobs: int) -> None:
        self._console = console
        self._jobs = jobs
        self._next_line_at_s = 0.0
        # No thread of its own: it is drawn when there is something new.
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

    def show(self, moment: Moment) -> None:
        """Draw the moment, or print a line when the last one is a while ago."""
        if self._live is not None:
            self._live.update(view(moment, self._jobs), refresh=True)
        elif moment.elapsed_s >= self._next_line_at_s:
            self._next_line_at_s = moment.elapsed_s + LINE_EVERY_S
            self._console.print(line(moment), markup=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """Tell of something that happened, above the board."""
        # A terminal would break it in the middle of a word; elsewhere a line is a sentence.
        self._console.print(sentence, markup=False, soft_wrap=self._live is None)
