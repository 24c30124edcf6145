"""Foreign values inside sentences for people: short, on one line, and harmless to print."""

from __future__ import annotations

_QUOTED_CHARACTERS_MAX = 40


def quoted(value: str) -> str:
    """``value`` in quotes: shortened, with everything that does not print written as an escape.

    So a line break, a text direction override or half a surrogate pair does nothing to whoever reads it.
    """
    if len(value) <= _QUOTED_CHARACTERS_MAX:
        return repr(value)
    return repr(value[: _QUOTED_CHARACTERS_MAX - 1]) + "…"
