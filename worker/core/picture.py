"""The picture of a message: what the API takes (PNG, GIF or JPEG, at most 380 KB), told by its bytes."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field

from worker.core.quoting import quoted

#: The API says "380 KB" and not which; the smaller reading is safe.
PICTURE_BYTES_MAX = 380_000


class PictureKind(enum.Enum):
    """The kinds of picture that the API takes; the value is the content type."""

    PNG = "image/png"
    GIF = "image/gif"
    JPEG = "image/jpeg"

    @property
    def content_type(self) -> str:
        return self.value

    @property
    def extension(self) -> str:
        """For a file name, without the dot."""
        return "jpg" if self is PictureKind.JPEG else self.name.lower()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Picture:
    """A picture that can be sent: 1 to ``PICTURE_BYTES_MAX`` bytes that begin as their kind does.

    ``digest``: SHA-256 of them, worked out once, for whoever looks for an equal one or has to remember it.
    """

    data: bytes = field(repr=False)
    kind: PictureKind
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.data).digest())


@dataclass(frozen=True, slots=True)
class PictureRefused:
    """``reason`` continues a sentence that began with where the picture is: "is empty"."""

    reason: str


_KINDS_BY_CONTENT_TYPE = {kind.value: kind for kind in PictureKind} | {"image/jpg": PictureKind.JPEG}
#: What servers send when nobody told them what a file is (the second one is usual for object stores).
_SAYS_NOTHING = frozenset({"", "application/octet-stream", "binary/octet-stream"})

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_START = _PNG_MAGIC + b"\x00\x00\x00\x0dIHDR"
_PNG_HEADER_BYTES = len(_PNG_HEADER_START) + 13 + 4  # the fields of IHDR and its checksum
_GIF_MAGICS = (b"GIF87a", b"GIF89a")
_GIF_HEADER_BYTES = 6 + 7  # signature and logical screen descriptor
_GIF_FLAGS_AT = 10
_GIF_HAS_COLOUR_TABLE = 0x80
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_FILL = 0xFF  # may stand before a marker in any number
#: 0xC0 and up are segments; of these RST0-7, SOI and EOI (0xD0-0xD9) carry no length and cannot come first.
_JPEG_FIRST_MARKERS = frozenset(range(0xC0, 0xFF)) - frozenset(range(0xD0, 0xDA))

#: Not taken, but worth naming: what producers publish by mistake, and what a server sends in place of a file.
_OTHERS = (
    (0, b"RIFF", "a WebP picture or another RIFF file"),
    (4, b"ftyp", "a HEIC or AVIF picture, or a video"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\x00", "a TIFF picture"),
    (0, b"MM\x00*", "a TIFF picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"<", "an SVG picture or a web page"),
    (0, b"{", "JSON"),
)


def picture_from(data: bytes, *, content_type: str | None = None) -> Picture | PictureRefused:
    """Tell the kind of a picture by its bytes, and refuse what the API would refuse.

    Only the header is looked at: a cut-off end or a wrong checksum is not known to bother the API.
    ``content_type`` must agree with the bytes when it says anything: its parameters and letter case do not
    matter, and ``application/octet-stream`` says nothing.
    """
    if not data:
        return PictureRefused("is empty")
    if len(data) > PICTURE_BYTES_MAX:
        return PictureRefused(f"has {len(data):,} bytes; the API takes at most {PICTURE_BYTES_MAX:,}")
    kind = _kind_by_magic(data)
    if kind is None:
        return PictureRefused(f"{_description(data)}; the API takes PNG, GIF and JPEG")
    if not _is_header_whole(data, kind):
        return PictureRefused(f"begins as a {kind.name} does, but its header is damaged or cut off")
    said = (content_type or "").partition(";")[0].strip().lower()
    if said not in _SAYS_NOTHING and _KINDS_BY_CONTENT_TYPE.get(said) is not kind:
        return PictureRefused(f"is a {kind.name} ({kind.value}), but its content type says {quoted(said)}")
    return Picture(data, kind)


def _kind_by_magic(data: bytes) -> PictureKind | None:
    if data.startswith(_PNG_MAGIC):
        return PictureKind.PNG
    if data.startswith(_GIF_MAGICS):
        return PictureKind.GIF
    if data.startswith(_JPEG_MAGIC):
        return PictureKind.JPEG
    return None


def _is_header_whole(data: bytes, kind: PictureKind) -> bool:
    match kind:
        case PictureKind.PNG:
            width, height = data[16:20], data[20:24]
            return len(data) >= _PNG_HEADER_BYTES and data.startswith(_PNG_HEADER_START) and any(width) and any(height)
        case PictureKind.GIF:
            if len(data) <= _GIF_HEADER_BYTES:
                return False
            flags = data[_GIF_FLAGS_AT]
            colours_bytes = 3 << ((flags & 0x07) + 1) if flags & _GIF_HAS_COLOUR_TABLE else 0
            return len(data) > _GIF_HEADER_BYTES + colours_bytes
        case PictureKind.JPEG:
            return _is_first_jpeg_segment_whole(data)


def _is_first_jpeg_segment_whole(data: bytes) -> bool:
    at = 2
    while at < len(data) and data[at] == _JPEG_FILL:
        at += 1
    if at >= len(data) or data[at] not in _JPEG_FIRST_MARKERS:
        return False
    length = int.from_bytes(data[at + 1 : at + 3], "big")  # counts its own two bytes
    return length >= 2 and at + 1 + length <= len(data)  # noqa: PLR2004 - explained one line up


def _description(data: bytes) -> str:
    for at, magic, name in _OTHERS:
        if data.startswith(magic, at):
            return f"looks like {name}"
    return "is no picture that we know by its bytes"
