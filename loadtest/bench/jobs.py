"""The jobs that are measured with, made up by their number (pure)."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ACCOUNT = "default"
SUBSCRIBERS = 1_000_000
"""Numbers are +61 400 and six digits."""

USUAL_PICTURE_SIDE_PX = 81
"""As noise, some 20,000 bytes: the size that pictures in messages usually have."""
SMALL_PICTURE_SIDE_PX = 8

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_BITS_PER_CHANNEL, _COLOUR_RGB = 8, 2
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class BenchJob:
    """One job as it is published."""

    name: str
    routing_key: str
    body: bytes = field(repr=False)


def noise_png(side_px: int, *, seed: int) -> bytes:
    """A square picture of coloured noise, 3 bytes a pixel since noise does not compress; the same for a seed."""
    chance = random.Random(seed)
    header = struct.pack(">IIBBBBB", side_px, side_px, _BITS_PER_CHANNEL, _COLOUR_RGB, 0, 0, 0)
    rows = b"".join(b"\0" + chance.randbytes(side_px * _CHANNELS) for _ in range(side_px))
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _PNG_MAGIC + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def inline(picture: bytes) -> dict[str, str]:
    """The picture as a job carries it."""
    return {"data": base64.b64encode(picture).decode()}


def make_jobs(count: int, *, media: Mapping[str, str], recipients: int, are_equal: bool = False) -> Iterator[BenchJob]:
    """Jobs number 1 to `count`, each with a text of its own, so that none can share a call with another.

    `are_equal`: all with one text, so that they can.
    """
    for number in range(1, count + 1):
        name = f"bench-{number:07}"
        first = number * recipients
        body = {
            "id": name,
            "to": [f"+61400{(first + place) % SUBSCRIBERS:06}" for place in range(recipients)],
            "text": "Your parcel is on its way." if are_equal else f"Your parcel {number} is on its way.",
            "media": media,
        }
        yield BenchJob(name, ACCOUNT, json.dumps(body).encode())
