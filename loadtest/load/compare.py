"""What changed from one result to another (pure but for `draw_changes`)."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.load.differences import differences
from loadtest.load.figures import throttled_per_1000
from loadtest.load.result import Latency, Result

NOISE_SHARE = 0.05
"""What changes by less is called the same: two equal runs differ by some per cent."""


class Better(enum.Enum):
    """Which way is better; of some figures neither is."""

    MORE = "more"
    LESS = "less"
    NEITHER = "neither"


class Verdict(enum.StrEnum):
    """What a change means; the value is shown."""

    BETTER = "better"
    WORSE = "worse"
    SAME = ""
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a result. `noise`: a change of less is none, in the figure's own unit; None: NOISE_SHARE of it.

    `value`: None when it was looked for and not seen, as the pace that does not come back after a fault: that is worse
    than any number.
    """

    value: float | None
    unit: str
    better: Better
    noise: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both results; None where a result has none."""

    name: str
    before: Figure | None
    after: Figure | None

    @property
    def share(self) -> float | None:
        """By how much it changed, as a share of what it was; None when it was nothing, or is not there any more."""
        if self.before is None or self.after is None or not self.before.value or self.after.value is None:
            return None
        return self.after.value / self.before.value - 1

    @property
    def verdict(self) -> Verdict:
        """Better, worse, or neither."""
        if self.before is None or self.after is None:
            return Verdict.CHANGED
        was, now, better = self.before.value, self.after.value, self.after.better
        if _is_same(was, now, self.after.noise):
            return Verdict.SAME
        if better is Better.NEITHER:
            return Verdict.CHANGED
        if was is None or now is None:
            return Verdict.BETTER if was is None else Verdict.WORSE
        return Verdict.BETTER if (now > was) is (better is Better.MORE) else Verdict.WORSE


def _is_same(was: float | None, now: float | None, noise: float | None) -> bool:
    if was is None or now is None:
        return was is now
    return abs(now - was) <= (abs(was) * NOISE_SHARE if noise is None else noise)


def changes(before: Result, after: Result) -> list[Change]:
    """All figures, in the order of the tables."""
    old, new = dict(_figures(before)), dict(_figures(after))
    return [Change(name, old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new])]


def worse(found: list[Change], before: Result, after: Result) -> bool:
    """Whether something is: a figure, or a claim that held and does not."""
    return any(one.verdict is Verdict.WORSE for one in found) or bool(_broken(before, after))


def draw_changes(console: Console, before: Result, after: Result) -> list[Change]:
    """Print them, what is worse in red; they are handed back."""
    found = changes(before, after)
    for sentence in differences(before, after):
        console.print(Text(sentence, style="yellow"))
    title = Text(f"{before.title}: what changed", style="table.title")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    styles: Mapping[Verdict, str] = {Verdict.WORSE: "bold red", Verdict.BETTER: "green"}
    for one in found:
        style = styles.get(one.verdict, "")
        share = "" if one.share is None else f"{one.share:+.1%}"
        table.add_row(
            Text(one.name),
            _shown(one.before),
            _shown(one.after),
            Text(share, style=style),
            Text(one.verdict, style=style),
        )
    console.print(table)
    for claim in _broken(before, after):
        console.print(Text(f"Held before, and does not hold any more: {claim}.", style="bold red"))
    return found


def _broken(before: Result, after: Result) -> list[str]:
    held = {one.claim for one in before.claims if one.holds}
    return [one.claim for one in after.claims if not one.holds and one.claim in held]


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if figure.value is None:
        return "not seen"
    digits = 0 if figure.unit in ("jobs", "recipients", "calls") else 2
    return f"{figure.value:,.{digits}f} {figure.unit}".rstrip()


def _figures(result: Result) -> Iterator[tuple[str, Figure]]:
    books = result.correctness
    for one in result.accounts:
        prefix = f"{one.name}: " if len(result.accounts) > 1 else ""
        if one.limit_per_s is not None:
            share = None if one.share_of_limit is None else one.share_of_limit * 100
            yield f"{prefix}share of the limit", Figure(share, "%", Better.MORE, 0.5)
        yield f"{prefix}answers 429", Figure(throttled_per_1000(one), "per 1,000", Better.LESS, 0.5)
        yield f"{prefix}worst rolling second", Figure(one.worst_rolling_second, "calls", Better.LESS, 1)
        yield f"{prefix}calls", Figure(one.calls_per_s, "/s", Better.MORE)
        yield f"{prefix}recipients", Figure(one.recipients_per_s, "/s", Better.MORE)
    for time in result.latencies:
        yield from _latency_figures(time)
    for number, fault in enumerate(result.faults, 1):
        yield f"{number}. {fault.name}: back after", Figure(fault.recovered_s, "s", Better.LESS, 1.0)
    yield from _memory_figures(result)
    yield "published", Figure(books.published, "jobs", Better.NEITHER)
    yield "in doubt", Figure(books.in_doubt, "jobs", Better.LESS, 5)
    yield "lost", Figure(books.lost, "jobs", Better.LESS, 0)
    yield "sent twice", Figure(books.duplicated, "recipients", Better.LESS, 0)
    if result.preload is not None:
        yield "published before", Figure(result.preload.jobs_per_s, "jobs/s", Better.NEITHER)


def _latency_figures(time: Latency) -> Iterator[tuple[str, Figure]]:
    for name, value_ms in (("p50", time.p50_ms), ("p99", time.p99_ms), ("max", time.max_ms)):
        noise_ms = max(5.0, value_ms * 2 * NOISE_SHARE)
        # Without any times they are told as 0, which would be better than all that was ever measured.
        yield f"{time.name}, {name}", Figure(value_ms if time.count else None, "ms", Better.LESS, noise_ms)


def _memory_figures(result: Result) -> Iterator[tuple[str, Figure]]:
    for name, one in result.series.processes.items():
        cores = [value for value in one.cpu_cores if value is not None]
        memory_mb = [value for value in one.memory_mb if value is not None]
        if cores:
            yield f"{name}: CPU", Figure(sum(cores) / len(cores), "cores", Better.LESS, 0.05)
        if memory_mb:
            yield f"{name}: most memory", Figure(max(memory_mb), "MB", Better.LESS)
