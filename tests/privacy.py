"""What nobody may read in a log, a metric, an error or what a command says: phone numbers and secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: An Australian mobile number as it may be written, with what people write between its digits taken out; not what
#: follows a decimal point.
_NUMBER = re.compile(r"(?<![\d.])(?:\+?61|0)4\d{8}(?!\d)")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[ ()-](?=\d)")
_PUNCTUATION = re.compile(r"[\s()./+-]")
_SECRETS = ("MMS_APP_KEY", "MMS_APP_SECRET", "MMS_CALLBACK_TOKEN")
_ADDRESSES = ("MMS_AMQP_URL", "MMS_REDIS_URL")
#: What our own sentences say how to write a number; no test sends anything there.
EXAMPLE = "+61412345678"
#: Shorter ones may stand anywhere by chance.
_SECRET_CHARACTERS_MIN = 6


def private_in(words: str, secrets: Iterable[str]) -> set[str]:
    """What of ``words`` is a number, but for the one in our examples, or one of ``secrets``, however it is spaced."""
    numbers = set(_NUMBER.findall(_BETWEEN_DIGITS.sub("", words)))
    bare = _bare(words)
    return {secret for secret in secrets if _bare(secret) in bare} | (numbers - {EXAMPLE})


def _bare(words: str) -> str:
    return _PUNCTUATION.sub("", words)


def secrets_in(environment: Mapping[str, str]) -> set[str]:
    """The secrets that the product is given there and in files, those within addresses among them."""
    given = {_given(environment, name) for name in _SECRETS}
    given |= {unquote(urlsplit(_given(environment, name)).password or "") for name in _ADDRESSES}
    return {secret for secret in given if len(secret) >= _SECRET_CHARACTERS_MIN}


def _given(environment: Mapping[str, str], name: str) -> str:
    file = environment.get(f"{name}_FILE")
    return environment.get(name) or (Path(file).read_text().strip() if file else "")
