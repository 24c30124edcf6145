"""Foreign values inside sentences for people: short, on one line, and harmless to print."""

from __future__ import annotations

import re

_QUOTED_CHARACTERS_MAX = 40
_IN_QUOTES = re.compile(r"'[^']*'|\"[^\"]*\"")
_QUOTED_DIGITS_MAX = 3
#: A moment, which stays, or five digits and more with what people write between those of a phone number.
_MOMENT_OR_NUMBER = re.compile(r"(?P<moment>\b\d{4}-\d\d-\d\dT[\d:.]+)|\+?\d(?:[\s().-]{0,2}\d){4,}")


def quoted(value: str) -> str:
    """``value`` in quotes: shortened, with everything that does not print written as an escape.

    So a line break, a text direction override or half a surrogate pair does nothing to whoever reads it.
    """
    if len(value) <= _QUOTED_CHARACTERS_MAX:
        return repr(value)
    return repr(value[: _QUOTED_CHARACTERS_MAX - 1]) + "…"


def without_numbers(words: str) -> str:
    """``words`` without anything that may be a phone number: a number that was refused is quoted in the reason."""
    unquoted = _IN_QUOTES.sub(
        lambda found: "'…'" if sum(map(str.isdigit, found.group())) > _QUOTED_DIGITS_MAX else found.group(), words
    )
    return _MOMENT_OR_NUMBER.sub(lambda found: found["moment"] or "…", unquoted)
