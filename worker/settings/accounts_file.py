"""The accounts: whose keys are used, and how fast; from the one account's variables, or from a TOML file.

    [accounts.shop]
    app_key_file = "shop.key"      # or app_key, or app_key_env = "NAME_OF_A_VARIABLE"
    app_secret_env = "SHOP_SECRET" # the same three ways; may be left out
    rate_per_s = 15                # the default
    auth = "basic"                 # the default; or "appkey"
    in_doubt_rule = "hold"         # the default; or "resend" or "give_up"
    in_doubt_after_s = 86400       # the default: for how long a job is in doubt before the rule is carried out
    callback_token_file = "shop.token"  # or the other two ways; `receive` alone looks at it

File names in it are relative to the file.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from worker.settings.sentences import is_secret, nearest, sentences, shown
from worker.settings.values import (
    ACCOUNTS_FILE_BYTES_MAX,
    AccountName,
    AppKey,
    AppSecret,
    Auth,
    CallbackToken,
    DoubtRuleName,
    DoubtSeconds,
    RatePerS,
    Unreadable,
    read_secret,
    read_text,
)

ACCOUNTS_MAX: Final = 200
_HOW_KEYS_ARE_GIVEN: Final = ("", "_file", "_env")
# In the place of a secret whose absence is told already, so that the account's other mistakes are told with it.
STAND_IN_KEY: Final = "stand-in"
STAND_IN_TOKEN: Final = "stand-in-for-a-token"  # noqa: S105  it is none
_PLAIN_KEYS: Final = frozenset({"rate_per_s", "auth", "in_doubt_rule", "in_doubt_after_s"})
# `receive` alone reads the callback token; the others must not trip over it.
_KNOWN_KEYS: Final = frozenset(
    _PLAIN_KEYS
    | {f"{secret}{way}" for secret in ("app_key", "app_secret", "callback_token") for way in _HOW_KEYS_ARE_GIVEN}
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a value is missing: one sentence."""

    sentence: str


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """One account. `app_secret` is empty when there is none; `rate_per_s` is the API's limit in calls.

    `in_doubt_rule`: what becomes of a job that is in doubt for `in_doubt_after_s`. `callback_token`: the secret in the
    address that the vendor calls; empty for everybody but `receive`.
    """

    name: str
    app_key: SecretStr
    app_secret: SecretStr = SecretStr("")  # noqa: RUF009  SecretStr cannot be changed
    rate_per_s: float = 15.0
    auth: Literal["basic", "appkey"] = "basic"
    in_doubt_rule: Literal["hold", "resend", "give_up"] = "hold"
    in_doubt_after_s: int = 86_400
    callback_token: SecretStr = SecretStr("")  # noqa: RUF009  as above


class AccountFields(BaseModel):
    """What an account consists of: the variables `MMS_ACCOUNT`, `MMS_APP_KEY` …, and the keys in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    account: AccountName = Field("default", description="name of the one account, when there is no accounts file")
    app_key: AppKey = Field(description="the account's APPKEY, as the vendor gave it")
    app_secret: AppSecret = Field(SecretStr(""), description="password that goes with the key; mostly there is none")
    rate_per_s: RatePerS = Field(15.0, description="calls per second that the API allows the account")
    auth: Auth = Field(
        "basic", validate_default=True, description="basic (key as Basic user name) or appkey (header APPKEY)"
    )
    in_doubt_rule: DoubtRuleName = Field(
        "hold", description="hold, resend or give_up: what becomes of a job that stays in doubt"
    )
    in_doubt_after_s: DoubtSeconds = Field(86_400, description="for how long it is in doubt before that")

    @field_validator("auth")
    @classmethod
    def _fits_the_key(cls, auth: str, info: ValidationInfo) -> str:
        """RFC 7617, 2: a Basic user name ends at the first colon."""
        key = info.data.get("app_key")
        if auth == "basic" and isinstance(key, SecretStr) and ":" in key.get_secret_value():
            raise ValueError("cannot be basic, since the key holds a ':': use appkey, or check the key")
        return auth

    def frozen_settings(self) -> AccountSettings:
        """The same as the plain value that the rest of the worker knows."""
        return AccountSettings(
            self.account,
            self.app_key,
            self.app_secret,
            self.rate_per_s,
            self.auth,
            self.in_doubt_rule,
            self.in_doubt_after_s,
        )


class ReceivingAccountFields(AccountFields):
    """What an account consists of for `receive`."""

    callback_token: CallbackToken = Field(
        SecretStr(""), description="secret in the address that the vendor calls; required by receive"
    )

    def frozen_settings(self) -> AccountSettings:
        """As above."""
        return replace(super().frozen_settings(), callback_token=self.callback_token)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts that are right, what is wrong with the others, and the variables the file refers to."""

    accounts: tuple[AccountSettings, ...] = ()
    problems: tuple[str, ...] = ()
    variables_used: frozenset[str] = frozenset()


def single_account(values: Mapping[str, object], fields: type[AccountFields] = AccountFields) -> Accounts:
    """The one account of the environment; `values` by field name, secrets already read from their files."""
    made = _make({"app_key": STAND_IN_KEY, **values}, fields, where=None)
    problems = () if isinstance(made, AccountSettings) else made
    if "app_key" not in values:
        missing = (
            "MMS_APP_KEY is required: set it to the account's APPKEY, or MMS_APP_KEY_FILE to a file with it,"
            " or name several accounts in MMS_ACCOUNTS_FILE."
        )
        return Accounts(problems=(missing, *problems))
    return Accounts((made,) if isinstance(made, AccountSettings) else (), problems)


def accounts_in_file(path: Path, environ: Mapping[str, str], fields: type[AccountFields] = AccountFields) -> Accounts:
    """All accounts of the file. Never raises for what the file holds."""
    tables = _tables(path)
    if isinstance(tables, Problem):
        return Accounts(problems=(tables.sentence,))
    accounts: list[AccountSettings] = []
    problems: list[str] = []
    used: set[str] = set()
    for name, table in tables.items():
        where = f"account {shown(name)} in {shown(path)}"
        if not isinstance(table, dict):
            problems.append(f"MMS_ACCOUNTS_FILE: {where} must be a table: write [accounts.NAME] above its keys.")
            continue
        used |= {value for key, value in table.items() if key.endswith("_env") and isinstance(value, str)}
        values, wrong = _values_of_table(table, fields, where, path.parent, environ)
        made = _make({"app_key": STAND_IN_KEY, **values, "account": name}, fields, where)
        problems += wrong
        if not isinstance(made, AccountSettings):
            problems += made
        elif not wrong:
            accounts.append(made)
    return Accounts(tuple(accounts), tuple(problems), frozenset(used))


def _tables(path: Path) -> dict[str, Any] | Problem:
    """The content of `[accounts]`, name to table."""
    subject = f"MMS_ACCOUNTS_FILE {shown(path)}"
    text = read_text(path, bytes_max=ACCOUNTS_FILE_BYTES_MAX)
    if isinstance(text, Unreadable):
        return Problem(f"{subject} cannot be read ({text.why}): name a readable TOML file.")
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Only the place: the words of the error may quote a secret that stands there.
        place = re.search(r"at (line \d+, column \d+|end of document)", str(error))
        return Problem(f"{subject} is not TOML{f' at {place[1]}' if place else ''}: correct it there.")
    if unknown := content.keys() - {"accounts"}:
        return Problem(f"{subject} holds {shown(min(unknown))}: only tables [accounts.NAME] belong there.")
    tables = content.get("accounts")
    if not isinstance(tables, dict) or not tables:
        return Problem(f"{subject} names no account: add a table [accounts.NAME] with an app_key_file.")
    if len(tables) > ACCOUNTS_MAX:
        return Problem(f"{subject} names {len(tables)} accounts, more than {ACCOUNTS_MAX}: run a second worker.")
    return tables


def _values_of_table(
    table: Mapping[str, object], fields: type[AccountFields], where: str, folder: Path, environ: Mapping[str, str]
) -> tuple[dict[str, object], list[str]]:
    """Values by field name with the secrets read, and what is wrong with the keys."""
    problems: list[str] = []
    for key in sorted(table.keys() - _KNOWN_KEYS):
        near = nearest(key, _KNOWN_KEYS)
        hint = f"did you mean {near}?" if near else f"known are {', '.join(sorted(_KNOWN_KEYS))}."
        problems.append(f"MMS_ACCOUNTS_FILE: {where} has the unknown key {shown(key)}: {hint}")
    values = {key: table[key] for key in _PLAIN_KEYS if key in table}
    for secret in (name for name, field in fields.model_fields.items() if is_secret(field)):
        given = [f"{secret}{way}" for way in _HOW_KEYS_ARE_GIVEN if f"{secret}{way}" in table]
        if len(given) > 1:
            problems.append(f"MMS_ACCOUNTS_FILE: {where} has {' and '.join(given)}: keep one of them.")
        elif given:
            value = _secret_of_table(given[0], table[given[0]], where, folder, environ)
            if isinstance(value, Problem):
                problems.append(value.sentence)
            else:
                values[secret] = value
        elif secret == "app_key":  # noqa: S105  the name of a key in the file, not a secret
            problems.append(f"MMS_ACCOUNTS_FILE: {where} has no key: give app_key_file, app_key_env or app_key.")
    return values, problems


def _secret_of_table(key: str, value: object, where: str, folder: Path, environ: Mapping[str, str]) -> object | Problem:
    """The secret that the key gives or leads to; whether it is text is checked with the other fields."""
    subject = f"MMS_ACCOUNTS_FILE: {key} of {where}"
    if not key.endswith(("_file", "_env")):
        return value
    if not isinstance(value, str):
        return Problem(f"{subject} must be a name in quotes.")
    if key.endswith("_env"):
        return environ.get(value) or Problem(f"{subject} names the variable {shown(value)}, which is not set: set it.")
    secret = read_secret(folder / value)
    if isinstance(secret, Unreadable):
        return Problem(f"{subject} names {shown(value)}, which cannot be used ({secret.why}): correct it.")
    return secret


def _make(
    values: Mapping[str, object], fields: type[AccountFields], where: str | None
) -> AccountSettings | tuple[str, ...]:
    """The account, or what is wrong with its values; `where` in the file they stood, None for variables."""

    def subject(field: str) -> str:
        if where is None:
            return f"MMS_{field.upper()}"
        return f"MMS_ACCOUNTS_FILE: {'the name' if field == 'account' else field} of {where}"

    try:
        return fields.model_validate(dict(values)).frozen_settings()
    except ValidationError as error:
        return tuple(sentence for _, sentence in sentences(fields, error, subject))
