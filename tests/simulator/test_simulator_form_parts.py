"""The quick way to read a form says what the library says, of whatever it takes upon itself."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.form import PICTURES_REMEMBERED, PictureDigests, sha256_of
from loadtest.simulator.form_parts import (
    PARTS_MAX,
    Part,
    UnreadableFormError,
    parts_by_library,
    read_parts,
    usual_parts,
)
from tests.simulator.sending import BOUNDARY, CONTENT_TYPE, PNG, form, part

END = f"--{BOUNDARY}--\r\n".encode()

#: What forms are made of, whole and broken: pieces that a reader takes for something.
PIECES = st.sampled_from(
    [
        f"--{BOUNDARY}".encode(),
        f"\r\n--{BOUNDARY}".encode(),
        b"\r\n",
        b"\n",
        b"--",
        b'Content-Disposition: form-data; name="mms_text"',
        b'Content-Disposition: form-data; name="mms_file"; filename="a.png"',
        b'Content-Disposition: form-data; name=""',
        b'Content-Disposition: form-data; name="a%22b"; filename="c:\\d.png"',
        b"Content-Type: image/png",
        b"Content-Length: 3",
        b"x" * 3,
        PNG[:20],
        BOUNDARY.encode(),
    ]
)
PARTS = st.tuples(st.sampled_from(["subject", "mms_text", "mms_file"]), st.binary(max_size=30), st.booleans())


def by_library(body: bytes) -> object:
    try:
        return parts_by_library(BOUNDARY, body)
    except UnreadableFormError as error:
        return str(error)


@given(st.lists(PARTS, min_size=1, max_size=PARTS_MAX + 2))
def test_it_reads_forms_as_they_are_usually_written(parts: list[tuple[str, bytes, bool]]) -> None:
    body = b"".join(part(name, content, "a.png" if is_file else None) for name, content, is_file in parts) + END
    read = usual_parts(BOUNDARY.encode(), body)
    assert (read is not None) == (len(parts) <= PARTS_MAX)
    if read is not None:
        assert read == by_library(body)
        assert sum(map(len, read.values())) == len(parts)


@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_what_it_takes_upon_itself_the_library_reads_in_the_same_way(body: bytes) -> None:
    read = usual_parts(BOUNDARY.encode(), body)
    assert read is None or read == by_library(body)


@given(st.data())
def test_a_form_with_a_byte_changed_cut_or_added_is_read_as_the_library_reads_it(data: st.DataObject) -> None:
    body = form(picture=PNG[:30])
    place = data.draw(st.integers(0, len(body)))
    cut = data.draw(st.integers(0, 3))
    changed = body[:place] + data.draw(st.binary(max_size=3)) + body[place + cut :]
    read = usual_parts(BOUNDARY.encode(), changed)
    assert read is None or read == by_library(changed)


@pytest.mark.parametrize("behind", [b"", b"\r", b"xx", b"  ", b"-\n", b"--", b"\n\n"])
def test_a_boundary_with_something_else_behind_it_is_left_to_the_library(behind: bytes) -> None:
    boundary = BOUNDARY.encode()
    body = part("subject", b"Hello") + form().replace(boundary + b"\r\n", boundary + behind, 1)
    read = usual_parts(boundary, body)
    assert read is None or (read == by_library(body) and behind == b"--")
    if behind != b"--":
        with pytest.raises(UnreadableFormError):
            read_parts(CONTENT_TYPE, body)


@pytest.mark.parametrize(
    "content_type",
    [
        f'multipart/form-data; boundary="{BOUNDARY}"',
        f"Multipart/Form-Data; boundary={BOUNDARY}",
        f"multipart/form-data; charset=utf-8; boundary={BOUNDARY}",
        f"multipart/form-data;boundary={BOUNDARY}",
    ],
)
def test_other_ways_to_write_the_content_type_are_read_too(content_type: str) -> None:
    assert read_parts(content_type, form()) == read_parts(CONTENT_TYPE, form())


def test_a_part_with_a_head_of_its_own_is_left_to_the_library() -> None:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="mms_text"\r\nContent-Language: en\r\n\r\n'
    body = head.encode() + b"Hello\r\n" + END
    assert usual_parts(BOUNDARY.encode(), body) is None
    assert read_parts(CONTENT_TYPE, body) == {"mms_text": [Part(b"Hello", is_file=False)]}


@pytest.mark.parametrize("different", [1, 2, PICTURES_REMEMBERED, 3 * PICTURES_REMEMBERED])
def test_a_picture_is_told_by_its_digest_whether_it_is_remembered_or_not(different: int) -> None:
    chance = random.Random(different)  # noqa: S311 - repeatable, and no secret
    # Of one length, and alike but for the last byte.
    pictures = [PNG + bytes([number]) for number in range(different)]
    digests = PictureDigests()
    for _ in range(10 * different):
        picture = chance.choice(pictures)
        assert digests.of(bytes(picture)) == sha256_of(picture)
