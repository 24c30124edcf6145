"""Numbers as Grafana writes them, by unit, and the round numbers for an axis (pure)."""

import math

DIGITS = 3
SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3_600.0, 86_400.0
_TIMES = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
_SHORT = ((1e9, "Bil"), (1e6, "Mil"), (1e3, "K"))
_ROUND_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200)
_SUFFIXES = {"reqps": " req/s", "cps": " c/s", "cpm": " c/m"}


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """As it stands in a panel."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "percentunit":
        return f"{_plain(value * 100, 1 if decimals is None else decimals)}%"
    if unit == "s":
        return _scaled(value, _TIMES, " ", "0 s", decimals)
    if unit == "bytes":
        return _scaled(value, _BYTES, " ", f"{_plain(value, decimals)} B", decimals)
    if unit == "short":
        return _scaled(value, _SHORT, " ", _plain(value, decimals), decimals)
    return _plain(value, decimals) + _SUFFIXES.get(unit, "")


def _scaled(value: float, scales: tuple[tuple[float, str], ...], space: str, below: str, decimals: int | None) -> str:
    for size, name in scales:
        if abs(value) >= size:
            return f"{_plain(value / size, decimals)}{space}{name}"
    return below


def _plain(value: float, decimals: int | None) -> str:
    if decimals is None:
        decimals = 0 if value == int(value) else max(0, DIGITS - len(str(int(abs(value)))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ticks(low: float, high: float, count: int, unit: str = "none") -> list[float]:
    """Round numbers from `low` or below to `high` or above, some `count` of them; round times, of times."""
    span = high - low or abs(high) or 1.0
    rough = span / max(1, count)
    size = 10.0 ** math.floor(math.log10(rough))
    sizes = [size * factor for factor in (1, 2, 5, 10)]
    if unit == "s" and rough > SECOND:
        sizes = [*_ROUND_TIMES, *(DAY * each for each in sizes)]
    step = next(each for each in sizes if each >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * n for n in range(first, max(last, first + 1) + 1)]
