"""The form of send-mms: every rule of the API's document, one row each."""

import hashlib
import json

import pytest

from loadtest.simulator.form import Refusal, SendForm, normal_number, read_send_form
from tests.simulator.sending import CONTENT_TYPE, NUMBER, PNG, form, part

MANY = [f"+614{place:08d}" for place in range(1_001)]
LARGE = b"\xff\xd8\xff" + bytes(379_997)


def test_a_good_form_is_read_whole() -> None:
    read = read_send_form(CONTENT_TYPE, form(subject="Hé", text="a\r\nb", numbers=[NUMBER, "0412345678"]))
    assert read == SendForm("Hé", "a\r\nb", hashlib.sha256(PNG).digest(), (NUMBER, "0412345678"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(form(subject=None), id="no subject"),
        pytest.param(form(subject="é" * 40), id="40 characters of subject"),
        pytest.param(form(text="é" * 1_000), id="1000 characters of text"),
        pytest.param(form(picture=LARGE), id="380000 bytes of picture"),
        pytest.param(form(picture=b"GIF87a"), id="GIF87a"),
        pytest.param(form(picture=b"GIF89a"), id="GIF89a"),
        pytest.param(form(numbers=MANY[:1_000]), id="1000 numbers"),
        pytest.param(form(more=part("unknown", b"x")), id="unknown field"),
    ],
)
def test_what_is_just_within_the_rules_is_taken(body: bytes) -> None:
    assert isinstance(read_send_form(CONTENT_TYPE, body), SendForm)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (form(subject="s" * 41), "FIELD_INVALID", "subject"),
        (form(text=None), "FIELD_EMPTY", "mms_text"),
        (form(text=""), "FIELD_EMPTY", "mms_text"),
        (form(text="t" * 1_001), "FIELD_INVALID", "mms_text"),
        (form(more=part("mms_text", b"twice")), "FIELD_INVALID", "mms_text"),
        (form(text=None, more=part("mms_text", b"\xff\xfe")), "FIELD_INVALID", "mms_text"),
        (form(picture=None), "FIELD_INVALID", "mms_file"),
        (form(picture=None, more=part("mms_file", PNG)), "FIELD_INVALID", "mms_file"),
        (form(more=part("mms_file", PNG, "second.png")), "FIELD_INVALID", "mms_file"),
        (form(picture=LARGE + b"x"), "FIELD_INVALID", "mms_file"),
        (form(picture=b"RIFF....WEBP"), "FIELD_INVALID", "mms_file"),
        (form(numbers=None), "FIELD_EMPTY", "numbers"),
        (form(numbers=""), "FIELD_EMPTY", "numbers"),
        (form(numbers="[]"), "FIELD_EMPTY", "numbers"),
        (form(numbers=NUMBER), "FIELD_INVALID", "numbers"),
        (form(numbers=json.dumps({"to": NUMBER})), "FIELD_INVALID", "numbers"),
        (form(numbers="[61412345678]"), "FIELD_INVALID", "numbers"),
        (form(numbers=MANY), "FIELD_INVALID", "numbers"),
        (form()[:-20], "FIELD_INVALID", "form"),
        (b"", "FIELD_INVALID", "form"),
    ],
)
def test_each_broken_rule_has_its_code_and_names_the_field(body: bytes, code: str, field: str) -> None:
    read = read_send_form(CONTENT_TYPE, body)
    assert isinstance(read, Refusal)
    assert read.code == code
    assert field in read.description


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "text/plain; boundary=x"])
def test_what_is_no_form_has_no_fields(content_type: str) -> None:
    read = read_send_form(content_type, form())
    assert isinstance(read, Refusal)
    assert read.code == "FIELD_EMPTY"


@pytest.mark.parametrize(
    ("sent_as", "number"),
    [
        ("+61412345678", 61412345678),
        ("61412345678", 61412345678),
        ("0412345678", 61412345678),
        ("+12345678", 12345678),
        ("123456789012345", 123456789012345),
        ("1234567", None),
        ("1234567890123456", None),
        ("+0412345678", None),
        ("+61 412 345 678", None),
        ("٠٤١٢٣٤٥٦٧٨", None),
        ("", None),
        ("+61412345678\n", None),
    ],
)
def test_a_number_has_8_to_15_digits(sent_as: str, number: int | None) -> None:
    assert normal_number(sent_as) == number
