"""Whatever the bytes: no exception, bounded reasons, and agreement with the published schema."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.job import Job, Rejected, decode, job_schema

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
SCHEMA = jsonschema.Draft202012Validator(job_schema())

lines = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40)
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\r\n"), min_size=1, max_size=500)
numbers = st.from_regex(r"(\+61|61|0)4[0-9]{8}", fullmatch=True)
times = st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat)  # noqa: DTZ001 - a bound
media = st.fixed_dictionaries({"url": st.sampled_from(["https://a.example/", "https://[::1]:8443/a?b#c"])}) | (
    st.fixed_dictionaries(
        {"data": st.binary(max_size=50).map(lambda tail: base64.b64encode(PNG + tail).decode())},
        optional={"content_type": st.sampled_from(["image/png", "IMAGE/PNG", "application/octet-stream"])},
    )
)
jobs = st.fixed_dictionaries(
    {
        "id": lines.filter(str.strip),
        "to": st.lists(numbers, min_size=1, max_size=20),
        "text": texts.filter(str.strip),
        "media": media,
    },
    optional={"subject": lines, "reference": lines, "created_at": times, "expires_at": times},
)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
# Strings near the rules' edges, so that mutated jobs are taken about as often as refused.
near_misses = json_values | st.sampled_from(
    ["", " ", "\n", "a\n", "\u2028", "https://a.example", "https://a@b/", "+61412345678", "04", "iVBORw==",
     "2026-11-22T03:04:05Z", "2026-11-22T03:04:05Z\n", [], ["0412345678"], {}, {"url": "https://a.example\n"}]
)  # fmt: skip
FIELDS = ["id", "to", "text", "media", "subject", "created_at", "expires_at", "reference", "colour"]


def check(body: bytes) -> Job | Rejected:
    """Decode, and check what must hold for every body."""
    decoded = decode(body, region="AU")
    match decoded:
        case Rejected(reasons):
            assert 1 <= len(reasons) <= 20
            for reason in reasons:
                assert len(reason) <= 200
                assert reason.isprintable()
                reason.encode()
        case Job():
            published = json.loads(body)
            SCHEMA.validate(published)
            assert 1 <= len(decoded.to) <= 1_000
            assert len(set(decoded.to)) == len(decoded.to)
            assert all(number.startswith("+") and number[1:].isdigit() for number in decoded.to)
            assert 1 <= len(decoded.text) <= 1_000
            assert "\n" not in decoded.text.replace("\r\n", "")
            assert "\r" not in decoded.text.replace("\r\n", "")
            assert decoded.text.splitlines() == published["text"].splitlines()
            assert decoded.id == published["id"]
    return decoded


@given(st.binary(max_size=300))
@example(b"\xff")
@example(b'{"id": "\\ud800"}')
def test_no_bytes_make_it_raise(body: bytes) -> None:
    check(body)


@given(json_values)
def test_no_json_makes_it_raise(value: object) -> None:
    check(json.dumps(value).encode())


@given(jobs, st.sampled_from(["escapes", "plain"]))
def test_every_job_that_keeps_the_rules_is_taken_and_fits_the_schema(fields: dict[str, Any], encoding: str) -> None:
    decoded = check(json.dumps(fields, ensure_ascii=encoding == "escapes").encode())
    assert isinstance(decoded, Job), decoded.reasons


@given(jobs, st.sampled_from(FIELDS), near_misses)
def test_a_job_with_any_field_replaced_is_taken_by_the_schema_or_refused(
    fields: dict[str, Any], name: str, value: object
) -> None:
    check(json.dumps({**fields, name: value}).encode())


@given(jobs, st.sampled_from(["url", "data", "content_type", "colour"]), near_misses)
def test_a_job_with_any_field_of_media_replaced_is_taken_by_the_schema_or_refused(
    fields: dict[str, Any], name: str, value: object
) -> None:
    check(json.dumps({**fields, "media": {**fields["media"], name: value}}).encode())


@given(jobs, st.data())
def test_a_job_damaged_in_any_byte_never_makes_it_raise(fields: dict[str, Any], data: st.DataObject) -> None:
    body = bytearray(json.dumps(fields, ensure_ascii=False).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check(bytes(body))


@given(jobs, st.data())
def test_a_job_cut_short_is_refused(fields: dict[str, Any], data: st.DataObject) -> None:
    body = json.dumps(fields).encode()
    assert isinstance(check(body[: data.draw(st.integers(0, len(body) - 1))]), Rejected)


def test_the_schema_is_valid_and_its_example_is_a_job() -> None:
    schema: dict[str, Any] = job_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    (published,) = schema["examples"]
    assert isinstance(check(json.dumps(published).encode()), Job)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""}, {"id": " "}, {"id": "a" * 129}, {"id": "a\tb"}, {"to": []}, {"to": ["hello"]}, {"text": ""},
        {"text": "a\tb"}, {"text": "a" * 1_001}, {"subject": "a" * 41}, {"subject": "a\nb"}, {"subject": None},
        {"media": {}}, {"media": {"url": "http://a.example/"}}, {"media": {"url": "https://a@b.example/"}},
        {"media": {"url": "https://a.example/", "data": "AAAA"}}, {"media": {"data": "A-_A"}}, {"colour": 1},
        {"media": {"url": "https://a.example/", "content_type": "image/png"}}, {"expires_at": "2026-11-22"},
        {"reference": "a" * 256},
    ],
    ids=str,
)  # fmt: skip
def test_the_schema_tells_producers_of_the_usual_mistakes(changes: dict[str, Any]) -> None:
    schema: dict[str, Any] = job_schema()
    (published,) = schema["examples"]
    assert not SCHEMA.is_valid({**published, **changes})


def test_each_field_of_the_schema_is_described() -> None:
    schema: dict[str, Any] = job_schema()
    assert list(schema["properties"]) == FIELDS[:-1]
    assert all(field["description"] for field in schema["properties"].values())
