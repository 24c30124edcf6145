"""Pictures are told by their bytes, and what the API would refuse is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.picture import PICTURE_BYTES_MAX, Picture, PictureKind, PictureRefused, picture_from

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + b"\x00\x00\x00\xff\xff\xff" + b";"
GIF_WITHOUT_COLOURS = b"GIF87a\x00\x00\x00\x00\x00\x00\x00;"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, PictureKind.PNG),
        (GIF, PictureKind.GIF),
        (GIF_WITHOUT_COLOURS, PictureKind.GIF),
        (JPEG, PictureKind.JPEG),
        (b"\xff\xd8\xff\xff\xff\xe1\x00\x04ab", PictureKind.JPEG),  # padded marker
        (b"\xff\xd8\xff\xdb\x00\x02", PictureKind.JPEG),  # tables first, no JFIF and no Exif
        (PNG + b"anything after the header", PictureKind.PNG),
    ],
)
def test_the_bytes_tell_the_kind(data: bytes, kind: PictureKind) -> None:
    assert picture_from(data) == Picture(data, kind)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"plain words", "is no picture that we know by its bytes; the API takes PNG, GIF and JPEG"),
        (
            b"RIFF\x10\x00\x00\x00WEBPVP8 ",
            "looks like a WebP picture or another RIFF file; the API takes PNG, GIF and JPEG",
        ),
        (
            b"\x00\x00\x00\x18ftypheic",
            "looks like a HEIC or AVIF picture, or a video; the API takes PNG, GIF and JPEG",
        ),
        (b"<!doctype html>", "looks like an SVG picture or a web page; the API takes PNG, GIF and JPEG"),
        (b"GIF88a" + bytes(20), "is no picture that we know by its bytes; the API takes PNG, GIF and JPEG"),
        (PNG[:32], "begins as a PNG does, but its header is damaged or cut off"),
        (
            PNG.replace(b"IHDR", b"IDAT") + bytes(99),
            "begins as a PNG does, but its header is damaged or cut off",
        ),
        (PNG[:16] + bytes(4) + PNG[20:], "begins as a PNG does, but its header is damaged or cut off"),
        (PNG[:20] + bytes(4) + PNG[24:], "begins as a PNG does, but its header is damaged or cut off"),
        (GIF[:13], "begins as a GIF does, but its header is damaged or cut off"),
        (GIF[:-1], "begins as a GIF does, but its header is damaged or cut off"),
        (JPEG[:3], "begins as a JPEG does, but its header is damaged or cut off"),
        (JPEG[:15], "begins as a JPEG does, but its header is damaged or cut off"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "begins as a JPEG does, but its header is damaged or cut off"),
        (b"\xff\xd8\xff\xd9" + bytes(99), "begins as a JPEG does, but its header is damaged or cut off"),
    ],
)
def test_what_is_no_whole_picture_is_refused_in_words(data: bytes, reason: str) -> None:
    assert picture_from(data) == PictureRefused(reason)


@pytest.mark.parametrize("size_bytes", [PICTURE_BYTES_MAX - 1, PICTURE_BYTES_MAX])
def test_a_picture_of_the_largest_size_is_taken(size_bytes: int) -> None:
    assert isinstance(picture_from(PNG.ljust(size_bytes, b"\0")), Picture)


def test_one_byte_more_is_refused() -> None:
    refused = picture_from(PNG.ljust(PICTURE_BYTES_MAX + 1, b"\0"))
    assert refused == PictureRefused("has 380,001 bytes; the API takes at most 380,000")


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (PNG, None),
        (PNG, ""),
        (PNG, "image/png"),
        (PNG, " Image/PNG ; charset=binary"),
        (JPEG, "image/jpeg"),
        (JPEG, "image/jpg"),
        (GIF, "IMAGE/GIF"),
        (GIF, "application/octet-stream"),
        (GIF, "binary/octet-stream; x=y"),
    ],
)
def test_a_content_type_that_agrees_or_says_nothing_is_taken(data: bytes, content_type: str | None) -> None:
    assert isinstance(picture_from(data, content_type=content_type), Picture)


@pytest.mark.parametrize(
    ("data", "content_type", "reason"),
    [
        (PNG, "image/jpeg", "is a PNG (image/png), but its content type says 'image/jpeg'"),
        (JPEG, "image/PNG; q=1", "is a JPEG (image/jpeg), but its content type says 'image/png'"),
        (GIF, "text/html", "is a GIF (image/gif), but its content type says 'text/html'"),
    ],
)
def test_a_content_type_that_disagrees_is_refused(data: bytes, content_type: str | None, reason: str) -> None:
    assert picture_from(data, content_type=content_type) == PictureRefused(reason)


def test_each_kind_has_the_extension_and_content_type_of_its_files() -> None:
    assert [(kind.extension, kind.content_type) for kind in PictureKind] == [
        ("png", "image/png"),
        ("gif", "image/gif"),
        ("jpg", "image/jpeg"),
    ]


def test_a_picture_does_not_print_its_bytes() -> None:
    assert repr(picture_from(PNG)) == "Picture(kind=<PictureKind.PNG: 'image/png'>)"


@given(
    start=st.sampled_from([PNG, GIF, JPEG, PNG[:8], GIF[:6], JPEG[:3], b""]),
    cut=st.integers(0, 40),
    tail=st.binary(max_size=40),
    content_type=st.none() | st.text(max_size=30),
)
def test_no_bytes_make_it_raise_and_what_is_taken_is_unchanged(
    start: bytes, cut: int, tail: bytes, content_type: str | None
) -> None:
    data = start[:cut] + tail
    match picture_from(data, content_type=content_type):
        case Picture(taken, kind):
            assert taken == data
            assert data.startswith({"PNG": b"\x89PNG", "GIF": b"GIF8", "JPEG": b"\xff\xd8\xff"}[kind.name])
        case PictureRefused(reason):
            assert reason
            assert reason.isprintable()
