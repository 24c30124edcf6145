"""Phone numbers are normalised to E.164, and never by a guess."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.phone import NumberRefused, normalise

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
MOBILE = phonenumbers.PhoneNumberType.MOBILE
#: Of all countries but one, which has no mobile numbers.
EXAMPLES = {
    region: example
    for region in REGIONS
    if (example := phonenumbers.example_number_for_type(region, MOBILE)) is not None
}


@pytest.mark.parametrize(
    ("region", "written", "number"),
    [
        ("AU", "+61412345678", "+61412345678"),
        ("AU", "61412345678", "+61412345678"),
        ("AU", "0412345678", "+61412345678"),
        ("AU", "0412 345 678", "+61412345678"),
        ("AU", "(04) 12-34.56 78", "+61412345678"),
        ("AU", "+61 (0)412 345 678", "+61412345678"),
        ("AU", "61 0412 345 678", "+61412345678"),
        ("AU", "(+61) 412-345-678", "+61412345678"),
        ("AU", "0011 61 412 345 678", "+61412345678"),
        ("AU", "+61999999999", "+61999999999"),  # no such range today; the API decides
        ("AU", "+14155552671", "+14155552671"),
        ("AU", "14155552671", "+14155552671"),
        ("AU", "6421123456", "+6421123456"),
        ("AU", "+49 0151 1234567", "+491511234567"),  # 11 digits would fit with the zero, too
        ("AU", "+64 021 123 4567", "+64211234567"),
        ("AU", "+39 312 345 6789", "+393123456789"),
        ("AU", "+225 07 12 34 56 78", "+2250712345678"),  # the zero is part of the number
        ("NZ", "021 123 456", "+6421123456"),
        ("NZ", "6421123456", "+6421123456"),
        ("GB", "07911 123456", "+447911123456"),
        ("GB", "00 61 412 345 678", "+61412345678"),
        ("US", "(415) 555-2671", "+14155552671"),
        ("US", "1 415 555 2671", "+14155552671"),
        ("US", "011 61 412 345 678", "+61412345678"),
        ("RU", "8 912 345-67-89", "+79123456789"),
        ("HU", "06 30 123 4567", "+36301234567"),
        ("AR", "011 15 2345 6789", "+5491123456789"),
        ("AU", "+54 11 15 2345 6789", "+5491123456789"),
        ("AU", "+54 9 11 2345 6789", "+5491123456789"),
        ("AU", "+298 108830", "+298108830"),  # begins like a carrier code, and is none
        ("SG", "8123 4567", "+6581234567"),
        ("IT", "312 345 6789", "+393123456789"),
        ("CI", "07 12 34 56 78", "+2250712345678"),
    ],
)
def test_a_number_with_one_reading_is_taken(region: str, written: str, number: str) -> None:
    assert normalise(written, region=region) == number


@pytest.mark.parametrize(
    ("region", "written", "reason"),
    [
        (
            "AU",
            "412345678",
            (
                "'412345678' is no mobile number of this region, nor one with a country code; "
                "if +61412345678 is meant, write that"
            ),
        ),
        (
            "AU",
            "12345",
            "'12345' is no mobile number of this region, nor one with a country code; write it like +61412345678",
        ),
        ("AU", "+614123", "'+614123' does not have the length of a mobile number of +61"),
        ("AU", "+6141234567890", "'+6141234567890' does not have the length of a mobile number of +61"),
        ("AU", "+61061412345", "'+61061412345' does not have the length of a mobile number of +61"),
        ("AU", "+999123456789", "'+999123456789' does not begin with the code of a country"),
        ("AU", "+0061412345678", "'+0061412345678' does not begin with the code of a country"),
        (
            "AU",
            "0412 CALL ME",
            "'0412 CALL ME' is no phone number; write digits with the country code, such as +61412345678",
        ),
        ("AU", "1" * 41, "'111111111111111111111111111111111111111'… is longer than 40 characters"),
        (
            "CN",
            "13912345678",
            "'13912345678' can be read as +13912345678 or +8613912345678; write the one meant, with its +",
        ),
        (
            "RU",
            "84912345678",
            "'84912345678' can be read as +84912345678 or +74912345678; write the one meant, with its +",
        ),
        (
            "US",
            "6505552671",
            "'6505552671' can be read as +6505552671 or +16505552671; write the one meant, with its +",
        ),
        (
            "AU",
            "431234567",
            "'431234567' can be read as +431234567 or +61431234567; write the one meant, with its +",
        ),
    ],
)
def test_a_number_with_no_reading_or_two_is_refused_with_what_to_write(region: str, written: str, reason: str) -> None:
    refused = normalise(written, region=region)
    assert isinstance(refused, NumberRefused)
    assert refused.reason == reason


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "+", "++61412345678", "61+412345678", "+61412345678+", "+61412345678 ext 5", "+61412345678;5",
        "+61412345678x5", "tel:+61412345678", "+61412345678,", "+61/412/345678", "+61\u00a0412345678", "+61412345678\n",
        "\uff0b61412345678", "+\u0666\u0661412345678", "0061412345678", "0061412345", "131234", "1300123456",
        "000", "0", "+1", "+61", "61", "+800 1234 5678", "\ud800", "٠٤١٢٣٤٥٦٧٨", "6.1412345678e10",
    ],
)  # fmt: skip
def test_what_is_no_plain_mobile_number_is_refused(written: str) -> None:
    assert isinstance(normalise(written, region="AU"), NumberRefused)


@pytest.mark.parametrize("region", EXAMPLES)
def test_the_example_number_of_every_country_is_taken_as_written_from_anywhere(region: str) -> None:
    example = EXAMPLES[region]
    number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    international = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    assert normalise(number, region="AU") == number
    assert normalise(international, region="AU") == number


@pytest.mark.parametrize("region", sorted(set(EXAMPLES) - {"AD", "TK", "WS"}))
def test_bare_digits_with_the_regions_own_calling_code_are_taken(region: str) -> None:
    """Not in three small countries, where national numbers have no prefix and two lengths: ambiguous."""
    example = EXAMPLES[region]
    number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    assert normalise(number[1:], region=region) == number


def test_an_unknown_region_is_a_programming_mistake() -> None:
    with pytest.raises(ValueError, match="'XX' is no region"):
        normalise("+61412345678", region="XX")


def test_a_refusal_does_not_print_the_number() -> None:
    assert repr(normalise("0412", region="AU")) == "NumberRefused()"


@given(
    written=st.text(max_size=45) | st.text("0123456789+ -().", max_size=20),
    region=st.sampled_from(REGIONS),
)
def test_nothing_makes_it_raise_and_what_is_taken_is_possible_and_stable(written: str, region: str) -> None:
    number = normalise(written, region=region)
    if isinstance(number, NumberRefused):
        assert number.reason.isprintable()
        return
    parsed = phonenumbers.parse(number, None)
    possible = phonenumbers.is_possible_number_for_type_with_reason(parsed, MOBILE)
    assert possible == phonenumbers.ValidationResult.IS_POSSIBLE
    assert normalise(number, region=region) == number
    assert normalise(number, region="AU") == number


@given(
    code=st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)), national=st.text("0123456789", max_size=13)
)
def test_with_a_plus_the_result_is_what_was_written_or_what_the_library_reads(code: int, national: str) -> None:
    number = normalise(f"+{code}{national}", region="AU")
    if isinstance(number, NumberRefused) or number == f"+{code}{national}":
        return
    parsed = phonenumbers.parse(f"+{code}{national}", None)
    assert number == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@given(digits=st.text("0123456789", min_size=1, max_size=14), region=st.sampled_from(REGIONS))
def test_bare_digits_are_never_taken_for_one_country_when_another_reading_exists(digits: str, region: str) -> None:
    """Unless they begin with the region's own calling code, which is how the contract writes numbers (614…)."""
    number = normalise(digits, region=region)
    code = str(phonenumbers.country_code_for_region(region))
    if isinstance(number, NumberRefused) or digits.startswith(code):
        return
    for reading in (normalise(f"+{digits}", region=region), normalise(f"+{code}{digits}", region=region)):
        assert isinstance(reading, NumberRefused) or reading == number
