"""Numbers as people read them (pure)."""

from datetime import datetime

NOTHING = "\u2013"
NARROW_SPACE = "\u202f"
HOUR_S, MINUTE_S = 3_600, 60
MS_PER_S = 1_000
DAYS_FIRST = "%-d %B %Y, %H:%M:%S UTC"


def rounded(value: float) -> str:
    """Three digits that count, and thousands apart: 0.0123, 4.56, 78.9, 1,234."""
    if value == 0:
        return "0"
    if abs(value) >= 100:  # noqa: PLR2004 - three digits before the point
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):.10f}".rstrip("0").rstrip(".")


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent; cut and not rounded, so that 100 % means all of it."""
    if share is None:
        return NOTHING
    units = 10**digits
    return f"{int(share * 100 * units + 1e-6) / units:,.{digits}f}{NARROW_SPACE}%"


def measure(value: float, unit: str) -> tuple[str, str]:
    """The number and its unit apart, so that they can look different."""
    return rounded(value), unit


def milliseconds(value_ms: float) -> tuple[str, str]:
    """In the unit that keeps the number short: ms, s or min."""
    if value_ms < MS_PER_S:
        return measure(value_ms, "ms")
    if value_ms < 10 * MINUTE_S * MS_PER_S:
        return measure(value_ms / MS_PER_S, "s")
    return measure(value_ms / MS_PER_S / MINUTE_S, "min")


def latency(value_ms: float) -> str:
    """The number with its unit."""
    return NARROW_SPACE.join(milliseconds(value_ms))


def lasting(seconds: float) -> str:
    """How long something lasts: 8.5 s, 2 min 30 s, 1 h 5 min."""
    if seconds < MINUTE_S:
        return f"{rounded(round(seconds, 1))}{NARROW_SPACE}s"
    whole = round(seconds)
    hours, minutes, rest = whole // HOUR_S, whole % HOUR_S // MINUTE_S, whole % MINUTE_S
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{number}{NARROW_SPACE}{unit}" for number, unit in parts if number)


def clock(seconds: float) -> str:
    """A moment of the run as the charts' axes have it: 0:08, 12:30, 1:05:00."""
    sign, whole = "-" if seconds < -0.5 else "", abs(round(seconds))  # noqa: PLR2004 - half of a second
    hours, minutes, rest = whole // HOUR_S, whole % HOUR_S // MINUTE_S, whole % MINUTE_S
    return f"{sign}{hours}:{minutes:02}:{rest:02}" if hours else f"{sign}{minutes}:{rest:02}"


def several(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun: 1 worker, 20 workers."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def moment(iso: str) -> str:
    """A moment in words; as it is when it cannot be read."""
    try:
        return datetime.fromisoformat(iso).strftime(DAYS_FIRST)
    except ValueError:
        return iso
