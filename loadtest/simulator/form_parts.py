"""The parts of a multipart form.

A form as clients usually write it is read in one pass. Whatever is unusual in any way is left to a library that
knows all of the standard and is strict: what is refused, and why, is always its word.
"""

import re
from typing import NamedTuple

from multipart import MultipartError, PushMultipartParser, parse_options_header

PARTS_MAX = 16

_USUAL_TYPE = re.compile(r"multipart/form-data; boundary=([0-9A-Za-z_-]{1,70})", re.ASCII)
_USUAL_HEAD = re.compile(
    rb'Content-Disposition: form-data; name="([A-Za-z0-9_]{1,40})"(; filename="[A-Za-z0-9_.-]{1,100}")?\r\n'
    rb"(?:Content-Type: [A-Za-z0-9/+.-]{1,100}\r\n)?\r\n"
)


class Part(NamedTuple):
    """One part; `is_file` says whether it came with a file name."""

    content: bytes
    is_file: bool


Parts = dict[str, list[Part]]


class UnreadableFormError(Exception):
    """There is a form, and it cannot be read; the text says why."""


def read_parts(content_type: str, body: bytes) -> Parts | None:
    """All parts by name, in order; None when `content_type` is of no form. Raises UnreadableFormError."""
    usual = _USUAL_TYPE.fullmatch(content_type)
    if usual is not None and (parts := usual_parts(usual[1].encode(), body)) is not None:
        return parts
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        return None
    return parts_by_library(boundary, body)


def usual_parts(boundary: bytes, body: bytes) -> Parts | None:
    """The parts of a form without anything unusual; None of any other."""
    delimiter = b"\r\n--" + boundary
    at = len(delimiter)  # where a head begins: without the line break before the first, with the one behind each
    if not body.startswith(delimiter[2:] + b"\r\n"):
        return None
    parts: Parts = {}
    for _ in range(PARTS_MAX):
        if (head := _USUAL_HEAD.match(body, at)) is None:
            return None
        end = body.find(delimiter, head.end())
        if end < 0:
            return None
        parts.setdefault(head[1].decode(), []).append(Part(body[head.end() : end], head[2] is not None))
        at = end + len(delimiter) + 2
        behind = body[at - 2 : at]
        if behind == b"--":
            return parts  # what is behind it is nobody's
        if behind != b"\r\n":
            return None
    return None


def parts_by_library(boundary: str, body: bytes) -> Parts:
    """The parts of any form. Raises UnreadableFormError."""
    parts: Parts = {}
    name, is_file = "", False
    pieces: list[bytes | bytearray] = []
    try:
        with PushMultipartParser(boundary, len(body), max_segment_count=PARTS_MAX, strict=True) as parser:
            for event in parser.parse(body):
                if event is None:
                    parts.setdefault(name, []).append(Part(b"".join(pieces), is_file))
                elif isinstance(event, (bytes, bytearray)):
                    pieces.append(event)
                else:
                    name, is_file, pieces = event.name or "", event.filename is not None, []
    except MultipartError as error:
        raise UnreadableFormError(str(error)) from error
    return parts
