"""What ``dead-letters`` and ``in-doubt`` share: going through a queue, choosing, and acting on what is chosen.

Whatever changes something is a dry run first: it shows what would be done, and says how to do it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.adapters.rabbitmq_connection import BrokerAddress
from worker.adapters.rabbitmq_walk import Walk, open_walk
from worker.closing import ClosingStack
from worker.commands.held_table import Row, as_json, drawn, row_of
from worker.commands.publish import EXIT_INTERRUPTED
from worker.commands.terminal import error_console, refuse, run_async
from worker.core.held_jobs import Filters, HeldJob, Holding, printable, read_held
from worker.core.redrive import Asked, Decision, Done, Kept
from worker.flow.ports import WalkFailed
from worker.parts import broker_address
from worker.settings import BrokerSettings, SettingsProblems, load_broker

EXIT_NOT_ALL = 1
#: Jobs shown unless a limit is given, and reasons why some stay.
SHOWN_MAX = 100
#: What goes back to the accounts' queues does so at this pace: whoever watches can stop what was a mistake.
PER_S = 50.0
STAYING_SHOWN_MAX = 20

#: Why a job would stay although it is meant, without doing anything; None: it would not.
Preview = Callable[[HeldJob], Kept | None]
Decide = Callable[[HeldJob], Awaitable[Decision]]
#: Hears of what was done with a job, once it is published and acknowledged.
Hear = Callable[[HeldJob, Done], None]


class Stopped(Exception):  # noqa: N818 - named for what happened
    """Nothing more can be decided: one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """``decide``: what is done with a job. ``hear``: once it is done; decisions are carried out one at a time."""

    decide: Decide
    hear: Hear = lambda _held, _done: None


#: Opens what deciding takes; the stack closes it.
Open = Callable[[ClosingStack], Awaitable[Deciding]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs are meant: of those held in ``holding`` that fit the filters the first ``limit`` (None: all)."""

    holding: Holding
    filters: Filters
    limit: int | None

    @property
    def shown_max(self) -> int:
        """How many a table shows."""
        return SHOWN_MAX if self.limit is None else self.limit

    def is_within(self, fitting: int) -> bool:
        """Whether the job that is the ``fitting``-th to fit is meant."""
        return self.limit is None or fitting <= self.limit


@dataclass(slots=True)
class Tally:
    """What was found and done so far. ``passed``: messages looked at. ``fitting``: of them, those that fit."""

    total: int = 0
    passed: int = 0
    fitting: int = 0
    shown: int = 0
    done: Counter[str] = field(default_factory=Counter)
    staying: int = 0
    sentences: list[str] = field(default_factory=list)
    is_cut_short: bool = False
    failure: str | None = None

    def stays(self, held: HeldJob, kept: Kept) -> None:
        """Note a job that stays where it is."""
        self.staying += 1
        if len(self.sentences) < STAYING_SHOWN_MAX:
            name = "a job without an id" if held.job_id is None else printable(held.job_id)
            self.sentences.append(f"{name} stays: {kept.why}.")


def kept_of(decision: Decision | Asked) -> Kept | None:
    """Why the job would stay, or None."""
    return decision if isinstance(decision, Kept) else None


def broker_settings_or_exit() -> BrokerSettings:
    """What it takes to reach the broker; every mistake at once otherwise."""
    settings = load_broker(os.environ)
    if isinstance(settings, SettingsProblems):
        refuse(*settings.problems)
    return settings


def list_held(settings: BrokerSettings, choice: Choice, *, is_json: bool) -> int:
    """Show the jobs that are meant; returns the exit code: 0, 1 when not all could be looked at, 130."""
    tally = Tally()
    if is_json:
        code = _run(_look(settings, choice, tally, _write_line), tally)
        sys.stdout.flush()
    else:
        code = _show_table(settings, choice, tally)
    # Beside JSON the sentences must not be read as such.
    _say(_totals(tally, choice), error_console() if is_json else _plain_console())
    return code


def preview_act(settings: BrokerSettings, choice: Choice, preview: Preview, *, what: str) -> int:
    """Show what an act would do, and do nothing; returns the exit code as ``list_held`` does."""
    tally = Tally()
    code = _show_table(settings, choice, tally, preview)
    hint = f"Nothing was changed. Add --yes to {what}." if tally.shown else "There is nothing to do."
    _say([*_staying(tally), *_totals(tally, choice), hint], _plain_console())
    return code


def act(settings: BrokerSettings, choice: Choice, opened: Open, *, per_s: float) -> int:
    """Act on the jobs that are meant, at most ``per_s`` a second.

    Returns the exit code: 0 when each was done with, 1 when some stay or the broker or Redis failed, 130.
    """
    tally = Tally()
    code = _run(_act(settings, choice, tally, opened, per_s), tally)
    done = ", ".join(f"{count:,} {what}" for what, count in tally.done.items()) or "none done"
    if tally.staying:
        done += f", {tally.staying:,} left where they were"
    _say([*_staying(tally), *_cut_short(tally), f"{done}."], error_console())
    return code or (EXIT_NOT_ALL if tally.staying else 0)


# --- On the way ------------------------------------------------------------------------------------------


def _show_table(settings: BrokerSettings, choice: Choice, tally: Tally, preview: Preview = lambda _: None) -> int:
    rows: list[Row] = []
    code = _run(_look(settings, choice, tally, rows.append, preview, shown_max=choice.shown_max), tally)
    if rows:
        Console().print(drawn(rows, choice.holding))
    return code


def _write_line(row: Row) -> None:
    sys.stdout.write(as_json(row))


async def _look(
    settings: BrokerSettings,
    choice: Choice,
    tally: Tally,
    show: Callable[[Row], None],
    preview: Preview = lambda _: None,
    *,
    shown_max: int = sys.maxsize,
) -> int:
    async with open_walk(_address(settings), choice.holding.value) as walk:
        with _progress("Looking", walk, tally) as passed:
            async for message in walk.messages():
                held = read_held(message, choice.holding)
                at = datetime.now(UTC)
                if choice.filters.fit(held, at):
                    tally.fitting += 1
                    if choice.is_within(tally.fitting):
                        if (kept := preview(held)) is not None:
                            tally.stays(held, kept)
                        elif tally.shown < shown_max:
                            tally.shown += 1
                            show(row_of(held, at))
                passed()
        tally.is_cut_short = walk.is_cut_short
    return EXIT_NOT_ALL if tally.is_cut_short else 0


async def _act(settings: BrokerSettings, choice: Choice, tally: Tally, opened: Open, per_s: float) -> int:
    loop = asyncio.get_running_loop()
    async with ClosingStack() as stack:
        deciding = await opened(stack)
        walk = await stack.enter_async_context(open_walk(_address(settings), choice.holding.value))
        passed = stack.enter_context(_progress("Working", walk, tally))
        next_at_s = loop.time()
        async for message in walk.messages():
            held = read_held(message, choice.holding)
            if choice.filters.fit(held, datetime.now(UTC)):
                tally.fitting += 1
                await asyncio.sleep(max(0.0, next_at_s - loop.time()))
                next_at_s = max(next_at_s, loop.time()) + 1 / per_s
                match await deciding.decide(held):
                    case Done(publications, what) as done:
                        await walk.settle(message, publications)
                        tally.done[what] += 1
                        deciding.hear(held, done)
                    case Kept() as kept:
                        tally.stays(held, kept)
            passed()
            if tally.fitting == choice.limit:
                break
        tally.is_cut_short = walk.is_cut_short
    return EXIT_NOT_ALL if tally.is_cut_short else 0


def _run(work: Coroutine[Any, Any, int], tally: Tally) -> int:
    """Run ``work`` to its exit code; what it had done until it failed or was interrupted is in ``tally``."""
    try:
        return run_async(work)
    except KeyboardInterrupt:
        tally.failure = "Interrupted."
        return EXIT_INTERRUPTED
    except (WalkFailed, Stopped) as error:
        tally.failure = str(error)
        return EXIT_NOT_ALL


def _address(settings: BrokerSettings) -> BrokerAddress:
    return broker_address(settings, name=f"mms-worker operator {os.getpid()}")


# --- For people ------------------------------------------------------------------------------------------


def _totals(tally: Tally, choice: Choice) -> list[str]:
    filtered = "" if choice.filters == Filters() else ", chosen by the filters"
    sentences = [*_cut_short(tally), f"{tally.fitting:,} of {tally.passed:,} in {choice.holding.value}{filtered}."]
    if tally.fitting > tally.shown + tally.staying:
        because = "" if choice.limit is None else f" (--limit {choice.limit})"
        sentences.append(f"Only the first {choice.shown_max:,} are shown{because}.")
    return sentences


def _cut_short(tally: Tally) -> list[str]:
    sentences = [tally.failure] if tally.failure else []
    if tally.is_cut_short:
        sentences.append(f"Time was up after {tally.passed:,} of {tally.total:,}: run it again for the others.")
    return sentences


def _staying(tally: Tally) -> list[str]:
    more = tally.staying - len(tally.sentences)
    return [*tally.sentences, *([f"… and {more:,} more stay."] if more else [])]


def _say(sentences: list[str], console: Console) -> None:
    for sentence in sentences:
        console.print(sentence, markup=False)


def _plain_console() -> Console:
    return Console(highlight=False, soft_wrap=True)


@contextmanager
def _progress(title: str, walk: Walk, tally: Tally) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, as long as it takes; yields what to call after each message."""
    tally.total = walk.total
    console = error_console()
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,}, {task.fields[fitting]} chosen"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=walk.total, fitting=0)

        def show() -> None:
            tally.passed += 1
            bar.update(task, completed=tally.passed, fitting=tally.fitting)

        yield show
