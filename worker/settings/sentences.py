"""Sentences for people about settings: which one, what is wrong, what to do; and what a setting takes."""

import difflib
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

SHOWN_CHARACTERS_MAX: Final = 80


def shown(value: object) -> str:
    """The value as it may stand in a sentence: quoted, escaped, bounded. Never for a secret."""
    text = repr(value) if isinstance(value, str) else repr(str(value))
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[: SHOWN_CHARACTERS_MAX - 2]}…'"


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that was most likely meant, None when none is near."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), None)


def is_secret(field: FieldInfo) -> bool:
    """Whether the setting's value must never be shown (and may be given as a file)."""
    return field.annotation is SecretStr


def _bound(field: FieldInfo, name: str) -> Any:
    return next((getattr(item, name) for item in field.metadata if hasattr(item, name)), None)


def taken_values(field: FieldInfo) -> str | None:
    """What a number or a choice may be, in words from its own bounds; None for the other kinds."""
    if get_origin(field.annotation) is Literal:
        return " or ".join(get_args(field.annotation))
    if field.annotation not in {int, float}:
        return None
    kind = "a whole number" if field.annotation is int else "a number"
    least, above, most = (_bound(field, name) for name in ("ge", "gt", "le"))
    lower = f"from {least}" if least is not None else f"above {above}"
    return f"{kind} {lower} {'to' if least is not None else 'and at most'} {most}"


def sentences(
    model: type[BaseModel], error: ValidationError, subject: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    """Each mistake as (field, sentence); `subject` is what the field is called where its value was given."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":  # its default hangs on a field that is wrong
            continue
        name = str(detail["loc"][0])
        field = model.model_fields[name]
        if detail["type"] == "missing":
            rest = f"is required: set it to {field.description}"
        elif detail["type"] == "value_error":
            rest = str(detail["ctx"]["error"])
        elif detail["type"] == "too_long":
            rest = f"holds more than {detail['ctx']['max_length']:,} entries: leave some out"
        elif taken := taken_values(field):
            rest = f"must be {taken}, not {shown(detail['input'])}"
        else:  # what it holds may be a secret, or an address with a password
            rest = "must be text (in a file: within quotes)"
        yield name, f"{subject(name)} {rest}."
