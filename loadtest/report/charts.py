"""What the page's charts draw, as JSON has it (pure).

Colours are names: `page.css` says what they are by day and by night. The same thing has the same colour everywhere, and
what is allowed (the limit, the ideal) is always the dashed line in ink.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from loadtest.load.result import ALL, AccountSeries, FaultFigures, Latency, Result, Series
from loadtest.report.wording import HOUR_S, MS_PER_S

Shape = Literal["line", "area", "bar", "stack"]
Numbers = Sequence[float | None]
Drawn = dict[str, Any]

DIGITS = 5
"""That count; the rest would only make the page larger."""
PROCESS_COLOURS = {"simulator": "green", "rabbitmq": "orange", "redis": "red", "producer": "pink"}
WORKER_COLOURS = ("blue", "sky", "purple", "olive")
STRENGTHS = (0.8, 0.5, 0.3)
"""Of the first four workers, the next four, and all others."""
LATENCY_COLOURS = ("blue", "orange", "green", "purple", "red", "sky", "pink", "olive")
LATENCY_WIDTHS_PX = (3.2, 2.4, 1.8, 1.4)
SECONDS_FROM_MS = 10_000
LOG_FROM_RATIO = 30
"""A longest time of so many medians leaves nothing to see of the median otherwise."""
LOG_DECADES_MAX = 5
DECADE_MIN = 1e-9
WHOLE, PER_S, TENTHS = ",d", ",.4~r", ",.3~r"


def told(result: Result) -> Drawn:
    """All that `page.js` reads."""
    series = result.series
    # What is said of a step holds from its beginning: with the first one begins the line.
    first_s = series.t_s[0] - series.step_s if series.t_s else 0.0
    last_s = series.t_s[-1] if series.t_s else max(1.0, result.seconds)
    has_hours = last_s >= HOUR_S
    return {
        "t_ms": [round(t_s * MS_PER_S) for t_s in ((first_s, *series.t_s) if series.t_s else ())],
        "step_ms": round(series.step_s * MS_PER_S),
        "whole_ms": [round(min(0.0, first_s) * MS_PER_S), round(last_s * MS_PER_S)],
        "has_hours": has_hours,
        "faults": [_fault(number, fault) for number, fault in enumerate(result.faults, 1)],
        "phases_ms": [round(phase.began_s * MS_PER_S) for phase in result.phases[1:]],
        "charts": [*_charts(result)],
    }


def _charts(result: Result) -> Iterator[Drawn]:
    series = result.series
    choices = [{"name": name, "lines": [*_pace(series.accounts[name])]} for name in names_of(result)]
    yield {"id": "pace", "kind": "time", "y_title": "calls per second", "y_format": WHOLE, "choices": choices}
    yield _over_time("backlog", "jobs waiting", _backlog(series))
    yield _over_time("jobs", "jobs per second", _jobs(result))
    if any(latency.count for latency in result.latencies):
        yield _spectrum(result.latencies)
    if series.processes:
        yield _over_time("cpu", "cores", _cpu(series), y_format=TENTHS)
        yield _over_time("memory", "MB", _memory(series))


def names_of(result: Result) -> list[str]:
    """Whose pace can be shown: all together first when there are several accounts, else the one."""
    return [account.name for account in result.accounts if account.name in result.series.accounts] or [ALL]


def _over_time(name: str, y_title: str, lines: Iterator[Drawn], y_format: str = "~s") -> Drawn:
    return {"id": name, "kind": "time", "y_title": y_title, "y_format": y_format, "lines": [*lines]}


def _line(name: str, values: Numbers, colour: str, shape: Shape, number: str = PER_S, **more: Any) -> Drawn:
    """Over time; where the line begins it has the value of its first step. A bar stands for its step alone."""
    begin = (None,) if shape == "bar" and values else values[:1]
    return {"name": name, "y": short([*begin, *values]), "colour": colour, "shape": shape, "format": number, **more}


def short(values: Numbers) -> list[float | None]:
    """As many digits as can be seen; whole numbers without a point."""
    return [None if value is None else _short(value) for value in values]


def _short(value: float) -> float:
    if isinstance(value, int):
        return value
    cut = float(f"{value:.{DIGITS}g}")
    return int(cut) if cut.is_integer() else cut


def _pace(account: AccountSeries) -> Iterator[Drawn]:
    """What is refused lies in front; the limit over all."""
    yield _line("arrivals", account.arrivals_per_s, "blue", "area", is_stepped=True)
    yield _line("most in a rolling second", account.rolling_max, "orange", "line", WHOLE, width=1.4, is_stepped=True)
    if any(account.throttled_per_s):
        yield _line("answered 429", account.throttled_per_s, "red", "bar")
    if any(limit is not None for limit in account.limit_per_s):
        yield _line("limit", account.limit_per_s, "allowed", "line", WHOLE, dashed=True, is_stepped=True)


def _backlog(series: Series) -> Iterator[Drawn]:
    yield _line("backlog", series.backlog, "purple", "area", WHOLE)
    if series.ideal_backlog is not None:
        yield _line("ideal: the whole limit used", series.ideal_backlog, "allowed", "line", dashed=True)


def _jobs(result: Result) -> Iterator[Drawn]:
    if result.phases:
        yield _line("published, as intended", scheduled(result), "sky", "area", is_stepped=True)
    yield _line("ended", result.series.ended_per_s, "green", "line", is_stepped=True)


def scheduled(result: Result) -> Numbers:
    """Publications by schedule: what lay there before the start was published at once, in the first step."""
    published = result.series.published_per_s
    return (None, *published[1:]) if result.preload is not None and published else published


def _cpu(series: Series) -> Iterator[Drawn]:
    for name, colour, strength, _ in _coloured(series.processes):
        cores = [value or 0.0 for value in series.processes[name].cpu_cores]
        yield _line(name, cores, colour, "stack", TENTHS, strength=strength, unit="cores")


def _memory(series: Series) -> Iterator[Drawn]:
    for name, colour, _, is_dashed in _coloured(series.processes):
        yield _line(name, series.processes[name].memory_mb, colour, "line", PER_S, dashed=is_dashed, unit="MB")


def _coloured(names: Mapping[str, object]) -> Iterator[tuple[str, str, float, bool]]:
    """Each process with its colour, and what tells it from another of the same colour."""
    others = 0
    for name in names:
        if (colour := PROCESS_COLOURS.get(name)) is not None:
            yield name, colour, STRENGTHS[0], False
            continue
        turn = others // len(WORKER_COLOURS)
        yield name, WORKER_COLOURS[others % len(WORKER_COLOURS)], STRENGTHS[min(turn, len(STRENGTHS) - 1)], turn > 0
        others += 1


def _fault(number: int, fault: FaultFigures) -> Drawn:
    recovered_s = None if fault.recovered_s is None else fault.ended_s + fault.recovered_s
    return {
        "number": number,
        "from_ms": round(fault.began_s * MS_PER_S),
        "to_ms": round(fault.ended_s * MS_PER_S),
        "recovered_ms": None if recovered_s is None else round(recovered_s * MS_PER_S),
    }


def _spectrum(latencies: Sequence[Latency]) -> Drawn:
    """HdrHistogram's plot: to the right each step is ten times rarer."""
    measured = [latency for latency in latencies if latency.count]
    longest_ms = max(latency.max_ms for latency in measured)
    is_long = longest_ms >= SECONDS_FROM_MS
    unit, per_ms = ("s", 1 / MS_PER_S) if is_long else ("ms", 1.0)
    lines = [_percentiles(latency, place, per_ms, unit) for place, latency in enumerate(measured)]
    rarest = max(x for line in lines for x in line["x"])
    nines = max(1, math.ceil(math.log10(rarest)))
    spread = max(latency.max_ms / max(latency.p50_ms, 1e-3) for latency in measured)
    return {
        "id": "latency",
        "kind": "spectrum",
        "y_title": "seconds" if is_long else "milliseconds",
        "y_format": PER_S,
        "is_log": spread >= LOG_FROM_RATIO,
        "decades": _decades([ms for line in lines for ms in line["y"]]),
        "nines": math.log10(rarest) * 1.02 or 1.0,
        "ticks": [[10**power, _percentile_name(power)] for power in range(nines + 1)],
        "lines": lines,
    }


def _decades(times: Sequence[float]) -> list[float]:
    """From where to where a logarithmic axis goes, as powers of ten: what hardly took time must not fill it."""
    above = math.log10(max([*times, DECADE_MIN]))
    lowest = min((time for time in times if time > 0), default=1.0)
    return [max(math.log10(lowest), math.ceil(above) - LOG_DECADES_MAX) - 0.1, above + 0.1]


def _percentiles(latency: Latency, place: int, per_ms: float, unit: str) -> Drawn:
    """The longest of n is one in n: that is where 100 % ends, which has no place on such an axis."""
    inner = [(1 / (1 - percentile / 100), percentile, ms) for percentile, ms in latency.spectrum if percentile < 100]  # noqa: PLR2004
    last = max([float(latency.count), 1.0, *(x for x, _, _ in inner)])
    points = [*inner, (last, 100.0, latency.max_ms)]
    return {
        "name": latency.name,
        "x": [_short(x) for x, _, _ in points],
        "y": [_short(ms * per_ms) for _, _, ms in points],
        "told": [f"{percentile:.7g} %" for _, percentile, _ in points],
        "colour": LATENCY_COLOURS[place % len(LATENCY_COLOURS)],
        "shape": "line",
        "format": PER_S,
        "unit": unit,
        # Thinner and thinner: two that are alike are both to be seen.
        "width": LATENCY_WIDTHS_PX[min(place, len(LATENCY_WIDTHS_PX) - 1)],
    }


def _percentile_name(power: int) -> str:
    """How the axis calls one in ten to this power."""
    if power == 0:
        return "0 %"
    digits = "9" * power
    return f"{digits[:2]}.{digits[2:]} %" if power > 2 else f"{100 - 10 ** (2 - power)} %"  # noqa: PLR2004 - 99 % has two nines
