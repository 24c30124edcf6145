"""All settings of the worker: one field is one variable, `MMS_` and the field's name in capitals.

`load` is the way in. It checks every value, then how values relate, and answers with either the settings or
every mistake at once. Secrets are SecretStr: no repr, log line or error shows them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.accounts_file import (
    STAND_IN_KEY,
    AccountFields,
    Accounts,
    AccountSettings,
    accounts_in_file,
    single_account,
)
from worker.setting_relations import LANES_PER_ACCOUNT, relations
from worker.setting_sentences import is_secret, nearest, sentences, shown
from worker.setting_values import (
    AmqpUrl,
    ApiUrl,
    CaFile,
    Host,
    LogFormat,
    LogLevel,
    MediaHosts,
    Port,
    RedisUrl,
    Region,
    Seconds,
    Unreadable,
    WholeSeconds,
    read_secret,
)

__all__ = ["AccountSettings", "SettingDoc", "Settings", "SettingsProblems", "load", "settings_reference"]

PREFIX: Final = "MMS_"
_FILE: Final = "_FILE"
_ACCOUNTS_FILE: Final = "MMS_ACCOUNTS_FILE"
DRAIN_MARGIN_S: Final = 5.0
# Variables of `receive`, which share the environment with `run`.
_OF_RECEIVE: Final = frozenset(
    {
        "MMS_RECEIVE_HOST",
        "MMS_RECEIVE_PORT",
        "MMS_CALLBACK_TOKEN",
        "MMS_CALLBACK_TOKEN_FILE",
        "MMS_REPLIES_POLL_S",
    }
)
# Kubernetes sets these in every pod for a Service whose name begins with mms-.
_SERVICE_LINK: Final = re.compile(
    r"MMS_\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")


_AMQP_URL: Final = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
_REDIS_URL: Final = SecretStr("redis://127.0.0.1:6379/0")


def _longest_call(fields: dict[str, Any]) -> float:
    return float(fields["connect_timeout_s"] + fields["read_timeout_s"] + DRAIN_MARGIN_S)


class BrokerSettings(BaseSettings):
    """What it takes to publish jobs, and no more. Made by `load_broker`; reads nothing by itself."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    amqp_url: AmqpUrl = Field(_AMQP_URL, description="broker; amqps:// for TLS")
    publish_timeout_s: Seconds = Field(10.0, description="how long the broker may take to confirm a publish")
    region: Region = Field("AU", description="how national numbers (04…) are read; any country code is taken")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: no .env file, and no second reading of the environment."""
        return (init_settings,)


class Settings(BrokerSettings):
    """Valid settings. Made by `load`, which also checks the relations; reads nothing by itself."""

    redis_url: RedisUrl = Field(_REDIS_URL, description="limiter and journal; rediss:// for TLS, or unix://")
    redis_timeout_s: Seconds = Field(2.0, description="how long Redis may take to answer")

    api_url: ApiUrl = Field(description="the API's base address, https only; calls go to {MMS_API_URL}/send-mms")
    api_ca_file: CaFile | None = Field(None, description="CA bundle to trust for the API; never turned off")
    api_keepalive_s: Seconds = Field(15.0, description="idle API connections are closed by us after this")
    connect_timeout_s: Seconds = Field(10.0, description="how long name look-up, connect and TLS may take")
    read_timeout_s: Seconds = Field(30.0, description="how long an answer may take; after it: in doubt")

    accounts: Annotated[tuple[AccountSettings, ...], Field(min_length=1)]
    recipients_per_call_max: int = Field(1_000, ge=1, le=1_000, description="1 turns batching off")
    calls_max: int = Field(64, ge=1, le=1_000, description="calls under way in this process: its connections")
    prefetch: int = Field(128, ge=1, le=10_000, description="deliveries held per queue, fewer if it is slow")
    hold_s_max: Seconds = Field(600.0, description="how long a delivery may wait here before it is put back")
    attempts_max: int = Field(8, ge=1, le=100, description="attempts before a job is dead-lettered")
    deduplication_s: WholeSeconds = Field(604_800, description="how long the id of a job is remembered")
    media_hosts_allowed: MediaHosts = Field((), description="hosts or networks of media, with commas between")
    media_ca_file: CaFile | None = Field(None, description="CA bundle to trust when media is fetched")

    admin_host: Host = Field("127.0.0.1", description="where /metrics, /healthz and /readyz are served")
    admin_port: Port = Field(9_464, description="their port; 0 takes any free one")
    drain_s_max: Seconds = Field(default_factory=_longest_call, description="how long SIGTERM waits for calls")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    log_format: LogFormat = Field("json", description="json (one object a line) or console")

    def prefetch_for(self, account: AccountSettings) -> int:
        """Deliveries to hold of each of the account's queues: `prefetch`, or fewer when the account is slow.

        The last delivery of a full lane waits until all before it were called, one a slot, and the account's
        lanes share its slots. At 0.1 calls per second, two lanes of 128 would hold it for 43 minutes: the
        broker would take it back, and no other worker could have it before. So no more are held than leave
        within `hold_s_max` when every job needs a call of its own.
        """
        sent_while_held = floor(account.rate_per_s * self.hold_s_max / LANES_PER_ACCOUNT)
        return max(1, min(self.prefetch, sent_while_held))


@dataclass(frozen=True, slots=True)
class SettingsProblems:
    """Every mistake, one sentence each: which variable, what is wrong, what to do. Never a secret's value."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One variable, for people. A secret may also be given in a file, which NAME_FILE names."""

    name: str
    default: str
    meaning: str
    is_secret: bool


def load(environ: Mapping[str, str]) -> Settings | SettingsProblems:
    """Read and check all settings. An empty variable counts as one that is not set.

    Files that variables name are read (secrets, accounts, certificates); nothing else is touched.
    """
    given = {name: value for name, value in environ.items() if value.strip()}
    values, file_problems = _values_by_field(given)
    accounts = _accounts(given, values)
    unknown_problems = _unknown_variables(given, accounts.variables_used)
    own = {name: value for name, value in values.items() if name in Settings.model_fields}
    settings, faulty, value_problems = _check_values(own, accounts.accounts)
    relation_problems = [
        relation.otherwise
        for relation in relations(settings)
        if not relation.holds and faulty.isdisjoint(relation.fields)
    ]
    problems = [*unknown_problems, *file_problems, *value_problems, *accounts.problems, *relation_problems]
    return SettingsProblems(tuple(problems)) if problems else settings


def load_broker(environ: Mapping[str, str]) -> BrokerSettings | SettingsProblems:
    """Read and check what publishing takes; the worker's other variables are not looked at."""
    own = {_variable(name) for name in BrokerSettings.model_fields}
    given = {name: value for name, value in environ.items() if value.strip() and name.removesuffix(_FILE) in own}
    values, problems = _values_by_field(given)
    try:
        settings = BrokerSettings(**values)  # type: ignore[arg-type]  # texts
    except ValidationError as error:
        problems += [sentence for _, sentence in sentences(BrokerSettings, error, _variable)]
    return SettingsProblems(tuple(problems)) if problems else settings


def settings_reference() -> list[SettingDoc]:
    """Every variable of the worker, in the order in which people want to read about them."""
    reference: list[SettingDoc] = []
    for name in Settings.model_fields:
        reference += _account_docs() if name == "accounts" else [_doc(Settings, name)]
    return reference


_DEFAULT_IN_WORDS: Final = {
    "api_ca_file": "system store",
    "media_ca_file": "system store",
    "drain_s_max": "covers the longest call",
}


def _doc(model: type[Settings | AccountFields], name: str) -> SettingDoc:
    field = model.model_fields[name]
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if field.is_required():
        words = "none: required" if model is Settings else "none"
    elif isinstance(default, float | int):
        words = f"{default:g}" if isinstance(default, float) else str(default)
    else:
        words = _DEFAULT_IN_WORDS.get(name) or (str(default) if default else "none")
    return SettingDoc(_variable(name), words, field.description or "", is_secret=is_secret(field))


def _account_docs() -> list[SettingDoc]:
    return [
        *(_doc(AccountFields, name) for name in AccountFields.model_fields),
        SettingDoc(_ACCOUNTS_FILE, "none", "TOML file of several accounts, [accounts.NAME]", is_secret=False),
    ]


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _variables() -> dict[str, str]:
    """Every variable with the field it gives, the files of secrets included."""
    variables = {}
    for name, field in [*AccountFields.model_fields.items(), *Settings.model_fields.items()]:
        if name == "accounts":  # has no variable: it is made of the others
            continue
        variables[_variable(name)] = name
        if is_secret(field):
            variables[f"{_variable(name)}{_FILE}"] = name
    return variables


def _values_by_field(given: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """Field to text, of both models, with the secrets' files read; and what is wrong with those files."""
    variables = _variables()
    values: dict[str, object] = {
        name: given[_variable(name)] for name in variables.values() if _variable(name) in given
    }
    problems: list[str] = []
    for variable, name in variables.items():
        if variable == _variable(name) or variable not in given:
            continue
        if name in values:
            problems.append(f"{_variable(name)} and {variable} are both set: keep one of them.")
            continue
        if "://" in given[variable]:
            problems.append(f"{variable} must be the name of a file: set an address itself as {_variable(name)}.")
            continue
        secret = read_secret(Path(given[variable]))
        if not isinstance(secret, Unreadable):
            values[name] = secret
            continue
        problems.append(f"{variable} names {shown(given[variable])}, which cannot be used ({secret.why}): correct it.")
        if name == "app_key":  # so that it is not told as missing, too
            values[name] = STAND_IN_KEY
    return values, problems


def _accounts(given: Mapping[str, str], values: Mapping[str, object]) -> Accounts:
    """The accounts of the file when one is named, else the one account of the variables."""
    single = {name: value for name, value in values.items() if name in AccountFields.model_fields}
    if _ACCOUNTS_FILE not in given:
        return single_account(single)
    accounts = accounts_in_file(Path(given[_ACCOUNTS_FILE]), given)
    variables = {name for name, field in _variables().items() if field in AccountFields.model_fields}
    if both := sorted(variables & given.keys() - accounts.variables_used):
        problem = f"{_ACCOUNTS_FILE} and {', '.join(both)} are both set: keep the file or the variables."
        return replace(accounts, problems=(problem, *accounts.problems))
    return accounts


def _unknown_variables(given: Mapping[str, str], variables_used: frozenset[str]) -> list[str]:
    """A misspelt variable must not pass as a default."""
    known = _variables().keys() | {_ACCOUNTS_FILE} | _OF_RECEIVE
    problems = []
    for name in sorted(given):
        if not name.upper().startswith(PREFIX) or name in known or name in variables_used:
            continue
        if _SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_LINK_VALUE.fullmatch(given[name])):
            continue
        near = nearest(name.upper(), known)
        hint = f"did you mean {near}?" if near else "remove it; `mms-worker run --help` lists all."
        problems.append(f"{shown(name)[1:-1]} is no setting: {hint}")
    return problems


def _check_values(
    values: Mapping[str, object], accounts: tuple[AccountSettings, ...]
) -> tuple[Settings, frozenset[str], list[str]]:
    """The settings, the fields that are wrong, and why.

    Wrong fields hold their defaults, so that the relations between the right ones can still be checked.
    """
    faulty = set() if accounts else {"accounts"}
    some_accounts = accounts or (AccountSettings(STAND_IN_KEY, SecretStr(STAND_IN_KEY)),)
    try:
        return Settings(**values, accounts=some_accounts), frozenset(faulty), []  # type: ignore[arg-type]  # texts
    except ValidationError as error:
        told = list(sentences(Settings, error, _variable))
    faulty |= {name for name, _ in told}
    right = {name: value for name, value in values.items() if name not in faulty}
    right.setdefault("api_url", "https://stand-in.invalid")
    settings = Settings(**right, accounts=some_accounts)  # type: ignore[arg-type]  # texts, as above
    return settings, frozenset(faulty), [sentence for _, sentence in told]
