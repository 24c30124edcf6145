"""JSON as the API writes it: with texts that were cut in the middle of a character (pure)."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HALVES = re.compile("[\ud800-\udfff]")
#: A whole number with more digits does not fit into 64 bits, and could not be written into an event.
_DIGITS_MAX = 18


class NotJsonError(ValueError):
    """It cannot be read; why, in a sentence's rest that quotes nothing of it."""


def read_json(body: bytes) -> Any:
    """What the JSON says. Raises ``NotJsonError``, and nothing else.

    A text with half a pair of surrogates (an emoji that was cut in two), or not in UTF-8, is read with a mark in the
    place of what is broken: nothing must be lost for it. Whatever is read can be written as JSON again.
    """
    try:
        return orjson.loads(body.removeprefix(_BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        pass
    try:
        text = body.removeprefix(_BYTE_ORDER_MARK).decode(errors="replace")
        return whole(_TOLERANT.decode(text.strip()))
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    except ValueError as error:
        at = f" at character {error.pos + 1:,}" if isinstance(error, json.JSONDecodeError) else ""
        raise NotJsonError(f"not JSON{at}") from None


def whole_text(text: str) -> str:
    """``text`` with a mark in the place of each half of a pair of surrogates."""
    return _HALVES.sub("\ufffd", text) if not text.isascii() else text


def whole(value: Any) -> Any:
    """The same of every text in what JSON says."""
    match value:
        case str():
            return whole_text(value)
        case list():
            return [whole(one) for one in value]
        case dict():
            return {whole_text(name): whole(one) for name, one in value.items()}
        case _:
            return value


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS_MAX else float(digits)


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number in JSON")


#: Without its own idea of what a number may be.
_TOLERANT = json.JSONDecoder(parse_int=_whole_number, parse_constant=_no_number)
