"""Pictures kept for a while by URL, bounded in bytes and in time. Pure: the caller passes `now_s`."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

# What an entry costs besides the picture and its URL: the objects themselves, rounded up.
ENTRY_BYTES: Final = 1_000
# A host that forbids keeping is still asked at most once in this time: a campaign would otherwise ask it for
# the same picture once for every job.
FRESH_S_MIN: Final = 1.0

_MAX_AGE: Final = re.compile(r"max-age=\"?([0-9]{1,9})\"?")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    size_bytes: int
    until_s: float


class Kept(Generic[Value]):
    """Values by URL; the least recently used leave first when `bytes_max` would be passed."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: OrderedDict[str, _Entry[Value]] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, url: str, *, now_s: float) -> Value | None:
        """The value, if it is kept and `now_s` is before its end."""
        entry = self._entries.get(url)
        if entry is None:
            return None
        if now_s >= entry.until_s:
            self._drop(url)
            return None
        self._entries.move_to_end(url)
        return entry.value

    def put(self, url: str, value: Value, *, value_bytes: int, until_s: float) -> None:
        """Keep `value` until `until_s` in place of what was kept for `url`, unless it alone is too large."""
        if url in self._entries:
            self._drop(url)
        size_bytes = value_bytes + len(url) + ENTRY_BYTES
        if size_bytes > self._bytes_max:
            return
        while self._size_bytes + size_bytes > self._bytes_max:
            self._drop(next(iter(self._entries)))
        self._entries[url] = _Entry(value, size_bytes, until_s)
        self._size_bytes += size_bytes

    def _drop(self, url: str) -> None:
        self._size_bytes -= self._entries.pop(url).size_bytes


def fresh_s(cache_control: str, *, ttl_s: float) -> float:
    """How long an answer with this Cache-Control is kept: `ttl_s`, less when the host says so (RFC 9111)."""
    directives = [directive.strip().lower() for directive in cache_control.split(",")]
    wanted_s = ttl_s
    if "no-store" in directives or "no-cache" in directives:
        wanted_s = 0.0
    for directive in directives:
        if match := _MAX_AGE.fullmatch(directive):
            wanted_s = min(wanted_s, float(match[1]))
    return min(ttl_s, max(wanted_s, FRESH_S_MIN))
