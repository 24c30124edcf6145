"""What a producer writes into a message's properties must not be able to end the connection that brings it.

pamqp raises on a time stamp beyond its calendar (microseconds where AMQP wants seconds), and on names that are not
UTF-8; aiormq then gives the connection up, the broker hands the same message out again, and so on for ever. So these
decoders are made tolerant, once: what cannot be read counts as absent.
"""

from __future__ import annotations

import struct
from typing import Any

from pamqp import decode

_TIMESTAMP_BYTES = 8
_UNREADABLE = (ValueError, OverflowError, OSError, struct.error, TypeError, RecursionError)


def tolerate_odd_properties() -> None:
    """Put the tolerant decoders in place; doing so again changes nothing."""
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["shortstr"] = _short_string
    decode.METHODS["longstr"] = decode.TABLE_MAPPING[b"S"] = _long_string
    decode.METHODS["table"] = decode.TABLE_MAPPING[b"F"] = _table


def _timestamp(value: bytes) -> tuple[int, Any]:
    try:
        return decode.timestamp(value)
    except _UNREADABLE:
        return _TIMESTAMP_BYTES, None


def _short_string(value: bytes) -> tuple[int, Any]:
    try:
        return decode.short_str(value)
    except UnicodeDecodeError:
        length = value[0]
        return 1 + length, value[1 : 1 + length].decode(errors="replace")


def _long_string(value: bytes) -> tuple[int, Any]:
    """What is not UTF-8 would come as bytes, which pamqp can read and not write: no copy could be made."""
    consumed, text = decode.long_str(value)
    return consumed, text.decode(errors="replace") if isinstance(text, bytes) else text


def _table(value: bytes) -> tuple[int, Any]:
    try:
        return decode.field_table(value)
    except _UNREADABLE:
        return 4 + int.from_bytes(value[:4], "big"), {}
