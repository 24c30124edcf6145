"""The body of a call is the documented form, and no content can break out of its part."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st
from multipart import MultipartParser

from tests.jobs import A_PICTURE
from worker.core.multipart import content_type, encode_call
from worker.core.picture import Picture, PictureKind

BOUNDARY = "0123456789abcdef0123456789abcdef"


def parts_of(body: bytes) -> list[tuple[str, str | None, str | None, bytes]]:
    import io  # noqa: PLC0415 - this function alone

    parser = MultipartParser(io.BytesIO(body), BOUNDARY)
    return [(part.name, part.filename, part.headers.get("Content-Type"), part.raw) for part in parser]


def test_the_parts_are_the_documented_ones_in_order() -> None:
    body = encode_call(
        boundary=BOUNDARY, subject="Hi", text="a\r\nb", picture=A_PICTURE, numbers=["+61400000001", "+61400000002"]
    )
    assert parts_of(body) == [
        ("subject", None, None, b"Hi"),
        ("mms_text", None, None, b"a\r\nb"),
        ("mms_file", "picture.png", "image/png", A_PICTURE.data),
        ("numbers", None, None, b'["+61400000001","+61400000002"]'),
    ]
    assert content_type(BOUNDARY) == f"multipart/form-data; boundary={BOUNDARY}"


def test_a_job_without_a_subject_sends_no_subject() -> None:
    body = encode_call(boundary=BOUNDARY, subject=None, text="a", picture=A_PICTURE, numbers=["+1"])
    assert [name for name, *_ in parts_of(body)] == ["mms_text", "mms_file", "numbers"]


@given(
    subject=st.text(min_size=1, max_size=40),
    text=st.text(max_size=200),
    data=st.binary(max_size=300),
    kind=st.sampled_from(PictureKind),
)
def test_any_content_comes_out_as_it_went_in(subject: str, text: str, data: bytes, kind: PictureKind) -> None:
    picture = Picture(data, kind)
    body = encode_call(boundary=BOUNDARY, subject=subject, text=text, picture=picture, numbers=["+61400000001"])
    raw = {name: content for name, _, _, content in parts_of(body)}
    assert raw["subject"].decode() == subject
    assert raw["mms_text"].decode() == text
    assert raw["mms_file"] == data
    assert orjson.loads(raw["numbers"]) == ["+61400000001"]
