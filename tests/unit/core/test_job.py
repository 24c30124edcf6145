"""A body is read as a job, or refused with every reason in a sentence that a producer understands."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker.core.job import JOB_BYTES_MAX, Job, MediaUrl, Rejected, decode
from worker.core.picture import PICTURE_BYTES_MAX, Picture, PictureKind

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
PNG_BASE64 = base64.b64encode(PNG).decode()
MINIMAL: dict[str, object] = {
    "id": "a",
    "to": ["+61412345678"],
    "text": "Hello",
    "media": {"url": "https://cdn.example.com/a.png"},
}


def job(**changes: object) -> bytes:
    """The body of a job that is good but for ``changes``; a field set to ... is left out."""
    fields = {**MINIMAL, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def accepted(body: bytes, region: str = "AU") -> Job:
    decoded = decode(body, region=region)
    assert isinstance(decoded, Job), decoded.reasons
    return decoded


def reasons(body: bytes) -> list[str]:
    decoded = decode(body, region="AU")
    assert isinstance(decoded, Rejected)
    return list(decoded.reasons)


def numbers(count: int, prefix: str = "+614") -> list[str]:
    return [f"{prefix}{index:08}" for index in range(count)]


def test_the_job_of_the_contract_is_read_field_by_field() -> None:
    body = (
        b'{"id": "order-8841-shipped", "to": ["+61412345678"], "text": "Your parcel is on its way",\n'
        b' "subject": "Shipped", "media": {"url": "https://cdn.example.com/parcel.png"},\n'
        b' "created_at": "2026-11-22T03:04:05Z", "expires_at": "2026-11-22T09:00:00Z", "reference": "crm:8841"}'
    )
    assert accepted(body) == Job(
        id="order-8841-shipped",
        to=("+61412345678",),
        text="Your parcel is on its way",
        media=MediaUrl("https://cdn.example.com/parcel.png"),
        subject="Shipped",
        created_at=datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC),
        expires_at=datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC),
        reference="crm:8841",
    )


def test_optional_fields_may_be_left_out() -> None:
    decoded = accepted(job())
    assert (decoded.subject, decoded.created_at, decoded.expires_at, decoded.reference) == (None,) * 4


def test_a_picture_in_the_job_is_decoded() -> None:
    decoded = accepted(job(media={"data": PNG_BASE64, "content_type": "image/png"}))
    assert decoded.media == Picture(PNG, PictureKind.PNG)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body: is empty; a job is a JSON object"),
        (b"not JSON", "body: is not JSON: it cannot be read at line 1, character 1"),
        (b'{"id": "a",\n "to": }', "body: is not JSON: it cannot be read at line 2, character 8"),
        (b'{"id": "a"} {}', "body: is not JSON: it cannot be read at line 1, character 13"),
        (b'{"text": "a\nb"}', "body: is not JSON: it cannot be read at line 1, character 12"),
        (b'{"id": "caf\xe9"}', "body: is not UTF-8: byte 12 cannot be read"),
        (b"\xef\xbb\xbf{}", "body: begins with a byte order mark; publish UTF-8 without one"),
        (b"[]", "body: must be a JSON object, not a list"),
        (b"null", "body: must be a JSON object, not null"),
        (b"NaN", "body: must be a JSON object, not a number"),
        (b"1" * 9_999, "body: must be a JSON object, not a number"),
        (b'"job"', "body: must be a JSON object, not a string"),
        (
            b"[" * 100_000,
            "body: is nested too deeply; a job is a JSON object with one object, media, in it",
        ),
        (
            b'{"a":' * 100_000,
            "body: is nested too deeply; a job is a JSON object with one object, media, in it",
        ),
        (b" " * (JOB_BYTES_MAX + 1), "body: has 1,600,001 bytes; a job has at most 1,600,000"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_as_a_whole(body: bytes, reason: str) -> None:
    assert decode(body, region="AU") == Rejected((reason,), None, None)


NO_FIELD_OF_A_JOB = "is not a field of a job, which has id, to, text, media, subject, created_at, expires_at, reference"
FAULTS: list[tuple[dict[str, object], str]] = [
    ({"id": ...}, "id: is missing"),
    ({"id": ""}, "id: is empty"),
    ({"id": " "}, "id: is empty"),
    ({"id": 8841}, "id: must be a string, not a number"),
    ({"id": None}, "id: must be a string, not null"),
    ({"id": "a" * 129}, "id: has 129 characters; at most 128 are allowed"),
    ({"id": "a\u0000"}, "id: has a NUL (U+0000) at character 2, which is not allowed"),
    ({"to": ...}, "to: is missing"),
    ({"to": None}, "to: must be a list of strings, not null"),
    ({"to": "+61412345678"}, "to: must be a list of strings, not a string"),
    ({"to": []}, "to: is empty; it needs at least one number"),
    ({"to": [61412345678]}, "to[0]: must be a string, not a number"),
    ({"to": ["+61412345678", None]}, "to[1]: must be a string, not null"),
    (
        {"to": ["+61412345678", "+61498765432", "hello"]},
        "to[2]: 'hello' is no phone number; write digits with the country code, such as +61412345678",
    ),
    ({"to": numbers(1_001)}, "to: has 1,001 different numbers; at most 1,000 fit in a job"),
    ({"to": ["+61412345678"] * 10_001}, "to: has 10,001 entries; at most 1,000 numbers fit in a job"),
    ({"text": ...}, "text: is missing"),
    ({"text": ""}, "text: is empty"),
    ({"text": " \n\u00a0"}, "text: is empty"),
    ({"text": ["Hello"]}, "text: must be a string, not a list"),
    ({"text": "a" * 1_001}, "text: has 1,001 characters; at most 1,000 are allowed"),
    (
        {"text": "a" * 999 + "\n"},
        "text: has 1,001 characters, line breaks counted as two; at most 1,000 are allowed",
    ),
    ({"text": "Hi\tthere"}, "text: has a tab (U+0009) at character 3, which is not allowed"),
    ({"text": "Hi\u0000"}, "text: has a NUL (U+0000) at character 3, which is not allowed"),
    ({"text": "\u001b[1m"}, "text: has an escape (U+001B) at character 1, which is not allowed"),
    ({"text": "a\u0085"}, "text: has a line break (U+0085) at character 2, which is not allowed"),
    ({"text": "a\u0007"}, "text: has a control character (U+0007) at character 2, which is not allowed"),
    ({"text": "a\ud83d"}, "text: has half of a surrogate pair (U+D83D) at character 2, which is not allowed"),
    ({"subject": None}, "subject: is null; leave the field out instead"),
    ({"subject": "a" * 41}, "subject: has 41 characters; at most 40 are allowed"),
    (
        {"subject": "Hi\r\nBcc: you"},
        "subject: has a line break (U+000D) at character 3, which is not allowed",
    ),
    ({"subject": "Hi\u2028"}, "subject: has a line break (U+2028) at character 3, which is not allowed"),
    ({"subject": True}, "subject: must be a string, not true or false"),
    ({"reference": "a" * 256}, "reference: has 256 characters; at most 255 are allowed"),
    ({"reference": {}}, "reference: must be a string, not an object"),
    ({"expires_at": None}, "expires_at: is null; leave the field out instead"),
    ({"expires_at": 1_790_000_000}, "expires_at: must be a string, not a number"),
    (
        {"expires_at": "2026-11-22T09:00:00"},
        "expires_at: '2026-11-22T09:00:00' is not a time with a zone, such as 2026-11-22T03:04:05Z (RFC 3339)",
    ),
    (
        {"created_at": "2026-02-30T09:00:00Z"},
        "created_at: '2026-02-30T09:00:00Z' names a day, time or zone that does not exist",
    ),
    (
        {"created_at": "0001-01-01T00:00:00+23:59"},
        "created_at: '0001-01-01T00:00:00+23:59' names a day, time or zone that does not exist",
    ),
    ({"media": ...}, "media: is missing"),
    ({"media": "https://cdn.example.com/a.png"}, "media: must be an object, not a string"),
    ({"media": {}}, "media: has neither url nor data; give one of them"),
    (
        {"media": {"url": "https://a.example/", "data": PNG_BASE64}},
        "media: has both url and data; give one of them",
    ),
    ({"media": {"url": None}}, "media.url: is null; leave the field out instead"),
    (
        {"media": {"url": "https://a.example/", "content_type": "image/png"}},
        "media.content_type: belongs to data, not to url; leave it out",
    ),
    (
        {"media": {"url": "https://a.example/", "colour": 1}},
        "media.colour: is not a field of media, which has url, data, content_type",
    ),
    ({"media": {"url": "http://a.example/a.png"}}, "media.url: must begin with https://"),
    ({"media": {"url": "file:///etc/passwd"}}, "media.url: must begin with https://"),
    ({"media": {"url": ""}}, "media.url: must begin with https://"),
    (
        {"media": {"url": "https://me:pass@a.example/"}},
        "media.url: has a user name or password in it, which is not allowed",
    ),
    (
        {"media": {"url": "https:///a.png"}},
        "media.url: has no valid host name, address or port after https://",
    ),
    (
        {"media": {"url": "https://a.example:65536/"}},
        "media.url: has no valid host name, address or port after https://",
    ),
    (
        {"media": {"url": "https://a.example:0/"}},
        "media.url: has no valid host name, address or port after https://",
    ),
    (
        {"media": {"url": "https://[::1::]/"}},
        "media.url: has no valid host name, address or port after https://",
    ),
    (
        {"media": {"url": "https://a.example/my pic.png"}},
        "media.url: has ' ' at character 21, which must be percent-encoded in a URL",
    ),
    (
        {"media": {"url": "https://a.example/\r\nHost: b"}},
        "media.url: has '\\r' at character 19, which must be percent-encoded in a URL",
    ),
    (
        {"media": {"url": "https://a.example\\@b.example/"}},
        "media.url: has '\\\\' at character 18, which must be percent-encoded in a URL",
    ),
    (
        {"media": {"url": "https://a.example/" + "a" * 2_031}},
        "media.url: has 2,049 characters; at most 2,048 are allowed",
    ),
    ({"media": {"data": ""}}, "media.data: is empty"),
    ({"media": {"data": 5}}, "media.data: must be a string, not a number"),
    (
        {"media": {"data": "data:image/png;base64," + PNG_BASE64}},
        "media.data: is a data: address; give only the base64 after its comma",
    ),
    (
        {"media": {"data": PNG_BASE64[:8] + "\n" + PNG_BASE64[8:]}},
        "media.data: is not base64: '\\n' at character 9 is not in its alphabet",
    ),
    (
        {"media": {"data": "ab-_"}},
        "media.data: is not base64: '-' at character 3 is not in its alphabet",
    ),
    (
        {"media": {"data": "iVBORw"}},
        "media.data: is not base64: its end is missing or its padding (=) is wrong",
    ),
    (
        {"media": {"data": "iVBORw==AAAA"}},
        "media.data: is not base64: its end is missing or its padding (=) is wrong",
    ),
    (
        {"media": {"data": "SGVsbG8="}},
        "media.data: is no picture that we know by its bytes; the API takes PNG, GIF and JPEG",
    ),
    (
        {"media": {"data": PNG_BASE64, "content_type": "image/gif"}},
        "media.data: is a PNG (image/png), but its content type says 'image/gif'",
    ),
    (
        {"media": {"data": PNG_BASE64, "content_type": None}},
        "media.content_type: is null; leave the field out instead",
    ),
    (
        {"media": {"data": base64.b64encode(PNG.ljust(PICTURE_BYTES_MAX + 1, b"0")).decode()}},
        "media.data: has 380,001 bytes; the API takes at most 380,000",
    ),
    (
        {"media": {"data": "A" * 600_000}},
        "media.data: is too long; a picture has at most 380,000 bytes",
    ),
    (
        {"account": "default"},
        f"account: {NO_FIELD_OF_A_JOB}",
    ),
    (
        {"x\u202e\n": 1},
        f"'x\\u202e\\n': {NO_FIELD_OF_A_JOB}",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), FAULTS, ids=range(len(FAULTS)))
def test_each_mistake_is_one_sentence_that_names_the_field(changes: dict[str, Any], reason: str) -> None:
    assert reasons(job(**changes)) == [reason]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("one\ntwo", "one\r\ntwo"),
        ("one\rtwo", "one\r\ntwo"),
        ("one\r\ntwo", "one\r\ntwo"),
        ("one\n\r\n\rtwo", "one\r\n\r\n\r\ntwo"),
        ("שלום \u200f👩‍👩‍👧", "שלום \u200f👩‍👩‍👧"),
        ("a" * 998 + "\n", "a" * 998 + "\r\n"),
        ("😀" * 1_000, "😀" * 1_000),
        (" padded ", " padded "),
        ("[[fault:never]]", "[[fault:never]]"),
    ],
)
def test_line_breaks_become_cr_lf_and_all_other_text_stays(written: str, sent: str) -> None:
    assert accepted(job(text=written)).text == sent


def test_a_number_written_twice_counts_once_in_the_order_of_the_producer() -> None:
    decoded = accepted(job(to=["+61498765432", "0412 345 678", "61498765432", "+61412345678"]))
    assert decoded.to == ("+61498765432", "+61412345678")


def test_the_thousand_numbers_are_counted_after_merging() -> None:
    assert len(accepted(job(to=numbers(1_000) + numbers(1_000, "04"))).to) == 1_000


def test_national_numbers_are_read_as_those_of_the_region() -> None:
    assert accepted(job(to=["021 123 456"]), region="NZ").to == ("+6421123456",)


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com", "HTTPS://CDN.example.com/a.png", "https://10.0.0.1:8443/a.png?x=1#y",
        "https://[2001:db8::1]:443/a", "https://a_b.example./", "https://a.example?x=@", "https://a.example/@b:c",
        "https://a.example/" + "a" * 2_030,
    ],
)  # fmt: skip
def test_an_https_url_with_a_host_is_taken_unchanged(url: str) -> None:
    assert accepted(job(media={"url": url})).media == MediaUrl(url)


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-11-22T03:04:05Z", datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)),
        ("2026-11-22t03:04:05.5z", datetime(2026, 11, 22, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("2026-11-22T03:04:05.123456789Z", datetime(2026, 11, 22, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-11-22T03:04:05+10:30", datetime(2026, 11, 21, 16, 34, 5, tzinfo=UTC)),
        ("2026-11-22T03:04:05-00:00", datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_time_is_kept_in_utc(written: str, time: datetime) -> None:
    expires_at = accepted(job(expires_at=written)).expires_at
    assert expires_at == time
    assert expires_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-22", "20261122T030405Z", "2026-W47-7T03:04:05Z", "2026-11-22 03:04:05Z", "2026-11-22T03:04Z",
        "2026-11-22T03:04:05", "2026-11-22T03:04:05,5Z", "2026-11-22T03:04:05+1000", "2026-11-22T25:00:00Z",
        "2026-11-22T03:04:05+25:00", "2026-11-22T03:04:05Z\n", "٢٠٢٦-11-22T03:04:05Z", "", "tomorrow",
    ],
)  # fmt: skip
def test_what_is_no_rfc_3339_time_is_refused(written: str) -> None:
    (reason,) = reasons(job(created_at=written))
    assert reason.startswith("created_at: ")


def test_an_empty_subject_is_no_subject() -> None:
    assert accepted(job(subject="")).subject is None


def test_a_field_given_twice_is_refused_at_any_place() -> None:
    body = (
        b'{"id": "a", "id": "b", "to": ["+61412345678"], "text": "t", "media": {"url": "https://a.example/", '
        b'"url": "https://b.example/"}}'
    )
    assert reasons(body) == ["media.url: is given more than once", "id: is given more than once"]


def test_every_mistake_is_reported_at_once() -> None:
    body = job(id="", to=["x"], text="", subject="a\tb", media={"url": "ftp://a"}, expires_at="soon", colour=1)
    assert [reason.split(":")[0] for reason in reasons(body)] == [
        "id", "text", "subject", "media.url", "expires_at", "colour", "to[0]",
    ]  # fmt: skip


def test_both_mistakes_of_one_field_are_reported() -> None:
    assert reasons(job(subject="\t" * 41)) == [
        "subject: has 41 characters; at most 40 are allowed",
        "subject: has a tab (U+0009) at character 1, which is not allowed",
    ]


def test_many_mistakes_are_summed_up_and_bad_numbers_do_not_hide_others() -> None:
    found = reasons(job(to=["x"] * 50, text=""))
    assert len(found) == 20
    assert found[0] == "text: is empty"
    assert found[-1] == "and 32 more mistakes"


def test_a_list_of_bad_numbers_is_not_read_to_its_end() -> None:
    assert reasons(job(to=["x"] * 10_000))[-1] == "and 82 more mistakes"


def test_unknown_fields_are_named_up_to_a_bound() -> None:
    found = reasons(job(**{f"x{index}": 1 for index in range(500)}))
    assert found[-1] == "495 more fields are not fields of a job"
    assert len(found) == 6


def test_long_foreign_values_are_shortened() -> None:
    (reason,) = reasons(job(**{"x" * 5_000: 1}))
    assert reason.startswith(f"'{'x' * 39}'…: is not a field of a job")
    assert len(reason) <= 200


@pytest.mark.parametrize(
    ("changes", "job_id", "reference"),
    [
        ({"text": ""}, "a", None),
        ({"text": "", "reference": "crm:1"}, "a", "crm:1"),
        ({"id": "\n", "reference": "crm:1"}, None, "crm:1"),
        ({"id": 5, "reference": "a\nb"}, None, None),
        ({"reference": "a\nb"}, "a", None),
    ],
)
def test_a_rejection_keeps_the_id_and_the_reference_that_are_good(
    changes: dict[str, Any], job_id: str | None, reference: str | None
) -> None:
    rejected = decode(job(**changes), region="AU")
    assert isinstance(rejected, Rejected)
    assert (rejected.job_id, rejected.reference) == (job_id, reference)


def test_neither_a_job_nor_a_rejection_prints_what_is_private() -> None:
    shown = repr(decode(job(subject="Secret", media={"url": "https://a.example/?sig=1"}), region="AU"))
    assert shown == "Job(id='a', media=MediaUrl(), created_at=None, expires_at=None, reference=None)"
    assert repr(decode(job(to=["0412"]), region="AU")) == "Rejected(job_id='a', reference=None)"


def test_the_largest_job_in_its_longest_form_is_within_the_bound_on_bytes() -> None:
    picture = b"\x89PNG" + PNG[4:] + b"\xff" * (PICTURE_BYTES_MAX - len(PNG))  # "/" throughout
    fields: dict[str, object] = {
        "id": "😀" * 128,
        "to": ["+61 (0)4 - 12 - 34 - 56 - 78 - - - - - -"] * 10_000,
        "text": "😀" * 1_000,
        "subject": "😀" * 40,
        "media": {"data": base64.b64encode(picture).decode(), "content_type": "image/png"},
        "created_at": "2026-11-22T03:04:05.123456789+10:00",
        "expires_at": "2026-11-22T03:04:05.123456789+10:00",
        "reference": "😀" * 255,
    }
    body = json.dumps(fields).replace("/", "\\/").encode()
    assert 1_400_000 < len(body) <= JOB_BYTES_MAX
    assert accepted(body).to == ("+61412345678",)


def test_many_different_names_with_one_given_twice_are_read_in_linear_time() -> None:
    fields = ",".join(f'"{index}":1' for index in range(100_000))
    assert reasons(f'{{{fields},"7":1}}'.encode())[-1] == "to: is missing"
