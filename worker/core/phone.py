"""Phone numbers as producers write them, normalised to E.164 without ever guessing.

A message to a wrong person is worse than a refusal. So every way to read the digits is tried, a reading
counts when its length is that of a mobile number of its country, and a number is taken when exactly one
reading is left. Lengths, not number ranges: a range handed out after our copy of the numbering plans was made
must not be refused here. Whether the number exists is for the API to say.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, NumberParseException, PhoneMetadata, PhoneNumberType

from worker.core.quoting import quoted

#: More than any way to write a number needs.
_WRITTEN_CHARACTERS_MAX = 40
_CALLING_CODE_DIGITS_MAX = 3
_E164_DIGITS_MAX = 15
_CALLING_CODES = frozenset(str(code) for code in COUNTRY_CODE_TO_REGION_CODE)
#: All calling codes there are (about 215), and all countries, fit with room to spare.
_PLANS_MAX = 512

_SEPARATORS = str.maketrans("", "", " -().")
_SHAPE = re.compile(r"\+?[0-9]+")


@dataclass(frozen=True, slots=True)
class NumberRefused:
    """``reason`` names the number: it is for the producer (event, header), and must never reach a log."""

    reason: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What of a country's numbering plan we rely on."""

    mobile_lengths: frozenset[int]  # of the digits after the calling code
    national_prefix: re.Pattern[str] | None  # what those must not begin with, and often are written with


@dataclass(frozen=True, slots=True)
class _Home:
    """How numbers without a plus are dialled in the configured region."""

    calling_code: str
    international_prefix: re.Pattern[str]
    national_prefix: str  # "" where there is none, and nothing marks a national number as one
    example: str


def normalise(number: str, *, region: str) -> str | NumberRefused:
    """Return ``number`` as E.164 with ``+``, or why not.

    Taken are ``+614…``, ``614…`` (bare digits with the calling code of any country) and what is dialled in
    ``region``: ``04…``, ``0011 61 4…``. Spaces, hyphens, dots and round brackets do not matter. Digits that
    can be read in two ways are refused. ``region`` (``AU``) is a setting: an unknown one raises ValueError.
    """
    home = _home(region)
    if len(number) > _WRITTEN_CHARACTERS_MAX:
        return NumberRefused(f"{quoted(number)} is longer than {_WRITTEN_CHARACTERS_MAX} characters")
    compact = number.translate(_SEPARATORS)
    if not _SHAPE.fullmatch(compact):
        return _refused_shape(number, home)
    if compact.startswith("+"):
        reading = _international(compact[1:])
        return reading[0] if len(reading) == 1 else _refused(number, reading, home)
    readings = _bare(compact, home)
    return readings[0] if len(readings) == 1 else _refused(number, readings, home)


def _bare(digits: str, home: _Home) -> list[str]:
    """All readings of digits without a plus, each once."""
    readings = _international(digits)
    prefix = home.international_prefix.match(digits)
    if prefix:
        readings += _international(digits[prefix.end() :])
    as_national = _international(home.calling_code + digits)
    if digits.startswith(home.national_prefix) or home.national_prefix == home.calling_code:
        readings += as_national
    elif readings and not digits.startswith(home.calling_code):
        # Abroad, or at home with the prefix left out: 13912345678 is plausible in the USA and in China.
        readings += as_national
    return list(dict.fromkeys(readings))


def _international(digits: str) -> list[str]:
    """Readings of digits that begin with a calling code: normally none or one."""
    code = _calling_code_of(digits)
    return _with_calling_code(code, digits[len(code) :]) if code else []


def _calling_code_of(digits: str) -> str:
    """The calling code at the start, or "". No code is the beginning of another one."""
    for end in range(1, _CALLING_CODE_DIGITS_MAX + 1):
        if digits[:end] in _CALLING_CODES:
            return digits[:end]
    return ""


def _with_calling_code(code: str, national: str) -> list[str]:
    plan = _plan(code)
    candidates = [national]
    prefix = plan.national_prefix.match(national) if plan.national_prefix else None
    if prefix and prefix.group():  # some plans' prefixes are all optional
        candidates.append(_without_national_prefix(code, national, prefix))
    return [
        f"+{code}{candidate}"
        for candidate in dict.fromkeys(candidates)
        if len(candidate) in plan.mobile_lengths and not _is_zero_left_over(candidate, plan)
    ]


def _without_national_prefix(code: str, national: str, prefix: re.Match[str]) -> str:
    """+61 (0)4… without its zero; the library knows where more changes (Argentina: 11 15 … is 9 11 …)."""
    if not prefix.lastindex:
        return national[prefix.end() :]
    try:
        return phonenumbers.national_significant_number(phonenumbers.parse(f"+{code}{national}", None))
    except NumberParseException:
        return ""


def _is_zero_left_over(national: str, plan: _Plan) -> bool:
    """Whether a zero in front is that of a prefix; in some countries (Italy) it is part of the number."""
    return (
        national.startswith("0")
        and plan.national_prefix is not None
        and plan.national_prefix.match(national) is not None
    )


@functools.lru_cache(maxsize=_PLANS_MAX)
def _plan(calling_code: str) -> _Plan:
    code = int(calling_code)
    region = phonenumbers.region_code_for_country_code(code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    mobile = metadata.mobile if metadata else None
    lengths = frozenset(mobile.possible_length) if mobile else frozenset()
    prefix = metadata.national_prefix_for_parsing if metadata else None
    return _Plan(
        mobile_lengths=frozenset(n for n in lengths if 0 < n <= _E164_DIGITS_MAX - len(calling_code)),
        national_prefix=re.compile(prefix) if prefix else None,
    )


@functools.lru_cache(maxsize=_PLANS_MAX)
def _home(region: str) -> _Home:
    metadata = PhoneMetadata.metadata_for_region(region)
    if metadata is None:
        raise ValueError(f"{region!r} is no region that phone numbers are known for")
    example = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
    return _Home(
        calling_code=str(metadata.country_code),
        international_prefix=re.compile(metadata.international_prefix or r"(?!)"),
        national_prefix=metadata.national_prefix or "",
        example=phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164) if example else "+…",
    )


def _refused_shape(number: str, home: _Home) -> NumberRefused:
    return NumberRefused(
        f"{quoted(number)} is no phone number; write digits with the country code, such as {home.example}"
    )


def _refused(number: str, readings: list[str], home: _Home) -> NumberRefused:
    if readings:
        choice = " or ".join(readings)
        return NumberRefused(f"{quoted(number)} can be read as {choice}; write the one meant, with its +")
    compact = number.translate(_SEPARATORS)
    if not compact.startswith("+"):
        unmarked = _international(home.calling_code + compact)
        hint = f"if {unmarked[0]} is meant, write that" if unmarked else f"write it like {home.example}"
        return NumberRefused(
            f"{quoted(number)} is no mobile number of this region, nor one with a country code; {hint}"
        )
    code = _calling_code_of(compact[1:])
    if code:
        return NumberRefused(f"{quoted(number)} does not have the length of a mobile number of +{code}")
    return NumberRefused(f"{quoted(number)} does not begin with the code of a country")
