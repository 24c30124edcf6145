"""Reading the settings: every value is checked, then how values relate; all mistakes are told at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from pydantic import SecretStr, ValidationError

from worker.settings.accounts_file import (
    STAND_IN_KEY,
    STAND_IN_TOKEN,
    AccountFields,
    Accounts,
    AccountSettings,
    ReceivingAccountFields,
    accounts_in_file,
    single_account,
)
from worker.settings.model import BrokerSettings, ReceiverSettings, Settings
from worker.settings.relations import broker_relations, relations
from worker.settings.sentences import is_secret, nearest, sentences, shown
from worker.settings.values import Unreadable, read_secret

PREFIX: Final = "MMS_"
_FILE: Final = "_FILE"
_ACCOUNTS_FILE: Final = "MMS_ACCOUNTS_FILE"
# Kubernetes sets these in every pod for a Service whose name begins with mms-.
_SERVICE_LINK: Final = re.compile(
    r"MMS_\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")

Loaded = TypeVar("Loaded", bound=Settings)


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
    """Read and check all settings but those that `receive` alone has. An empty variable counts as one that is not set.

    Files that variables name are read (secrets, accounts, certificates); nothing else is touched.
    """
    return _load(environ, Settings, AccountFields)


def load_receiver(environ: Mapping[str, str]) -> ReceiverSettings | SettingsProblems:
    """Read and check all settings, as `load` does, and those of `receive` too."""
    return _load(environ, ReceiverSettings, ReceivingAccountFields)


def _load(
    environ: Mapping[str, str], model: type[Loaded], account_fields: type[AccountFields]
) -> Loaded | SettingsProblems:
    given = {name: value for name, value in environ.items() if value.strip() and not _is_service_link(name, value)}
    values, file_problems = _values_by_field(given, _variables(model, account_fields))
    accounts = _accounts(given, values, account_fields)
    unknown_problems = _unknown_variables(given, accounts.variables_used)
    own = {name: value for name, value in values.items() if name in model.model_fields}
    settings, faulty, value_problems = _check_values(model, own, accounts.accounts)
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
    given = {name: value for name, value in environ.items() if value.strip() and {name, name.removesuffix(_FILE)} & own}
    values, problems = _values_by_field(given, _variables(Settings, AccountFields))
    try:
        settings = BrokerSettings(**values)  # type: ignore[arg-type]  # texts
    except ValidationError as error:
        problems += [sentence for _, sentence in sentences(BrokerSettings, error, _variable)]
    else:
        problems += [relation.otherwise for relation in broker_relations(settings) if not relation.holds]
    return SettingsProblems(tuple(problems)) if problems else settings


def settings_reference() -> list[SettingDoc]:
    """Every variable of the worker, in the order in which people want to read about them."""
    reference: list[SettingDoc] = []
    for name in ReceiverSettings.model_fields:
        reference += _account_docs() if name == "accounts" else [_doc(ReceiverSettings, name)]
    return reference


_STAND_INS: Final = {"app_key": STAND_IN_KEY, "callback_token": STAND_IN_TOKEN}
_DEFAULT_IN_WORDS: Final = {
    "amqp_ca_file": "system store",
    "redis_ca_file": "system store",
    "api_ca_file": "system store",
    "media_ca_file": "system store",
    "drain_s_max": "covers the longest call",
}


def _doc(model: type[Settings | AccountFields], name: str) -> SettingDoc:
    field = model.model_fields[name]
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if field.is_required():
        words = "none: required" if issubclass(model, Settings) else "none"
    elif isinstance(default, float | int):
        words = f"{default:g}" if isinstance(default, float) else str(default)
    else:
        words = _DEFAULT_IN_WORDS.get(name) or (str(default) if default else "none")
    return SettingDoc(_variable(name), words, field.description or "", is_secret=is_secret(field))


def _account_docs() -> list[SettingDoc]:
    return [
        *(_doc(ReceivingAccountFields, name) for name in ReceivingAccountFields.model_fields),
        SettingDoc(_ACCOUNTS_FILE, "none", "TOML file of several accounts, [accounts.NAME]", is_secret=False),
    ]


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _variables(model: type[Settings], account_fields: type[AccountFields]) -> dict[str, str]:
    """Every variable with the field it gives, the files of secrets included."""
    variables = {}
    for name, field in [*account_fields.model_fields.items(), *model.model_fields.items()]:
        if name == "accounts":  # has no variable: it is made of the others
            continue
        variables[_variable(name)] = name
        if is_secret(field):
            variables[f"{_variable(name)}{_FILE}"] = name
    return variables


def _values_by_field(given: Mapping[str, str], variables: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """Field to text, of both models, with the secrets' files read; and what is wrong with those files."""
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
        if name in _STAND_INS:  # so that it is not told as missing, too
            values[name] = _STAND_INS[name]
    return values, problems


def _accounts(given: Mapping[str, str], values: Mapping[str, object], fields: type[AccountFields]) -> Accounts:
    """The accounts of the file when one is named, else the one account of the variables."""
    single = {name: value for name, value in values.items() if name in fields.model_fields}
    if _ACCOUNTS_FILE not in given:
        return single_account(single, fields)
    accounts = accounts_in_file(Path(given[_ACCOUNTS_FILE]), given, fields)
    if "callback_token" in single:
        accounts = _with_token(accounts, single_account(_token_alone(single), fields))
    variables = {
        name for name, field in _variables(Settings, AccountFields).items() if field in AccountFields.model_fields
    }
    if both := sorted(variables & given.keys() - accounts.variables_used):
        problem = f"{_ACCOUNTS_FILE} and {', '.join(both)} are both set: keep the file or the variables."
        return replace(accounts, problems=(problem, *accounts.problems))
    return accounts


def _token_alone(single: Mapping[str, object]) -> dict[str, object]:
    return {"app_key": STAND_IN_KEY, "callback_token": single["callback_token"]}


def _with_token(accounts: Accounts, stand_in: Accounts) -> Accounts:
    """`accounts`, of which those without a token of their own have that of `stand_in`, which is made of it alone."""
    token = stand_in.accounts[0].callback_token if stand_in.accounts else SecretStr(STAND_IN_TOKEN)
    return replace(
        accounts,
        accounts=tuple(
            account if account.callback_token.get_secret_value() else replace(account, callback_token=token)
            for account in accounts.accounts
        ),
        problems=(*stand_in.problems, *accounts.problems),
    )


def _unknown_variables(given: Mapping[str, str], variables_used: frozenset[str]) -> list[str]:
    """A misspelt variable must not pass as a default."""
    known = _variables(ReceiverSettings, ReceivingAccountFields).keys() | {_ACCOUNTS_FILE}
    problems = []
    for name in sorted(given):
        if not name.upper().startswith(PREFIX) or name in known or name in variables_used:
            continue
        near = nearest(name.upper(), known)
        hint = f"did you mean {near}?" if near else "remove it; the README lists all."
        problems.append(f"{shown(name)[1:-1]} is no setting: {hint}")
    return problems


def _is_service_link(name: str, value: str) -> bool:
    """Whether it is Kubernetes' word: a Service called mms-receive gives MMS_RECEIVE_PORT to every pod, too."""
    return bool(_SERVICE_LINK.fullmatch(name)) or (
        name.startswith(PREFIX) and name.endswith("_PORT") and bool(_SERVICE_LINK_VALUE.fullmatch(value))
    )


def _check_values(
    model: type[Loaded], values: Mapping[str, object], accounts: tuple[AccountSettings, ...]
) -> tuple[Loaded, frozenset[str], list[str]]:
    """The settings, the fields that are wrong, and why.

    Wrong fields hold their defaults, so that the relations between the right ones can still be checked.
    """
    faulty = set() if accounts else {"accounts"}
    some_accounts = accounts or (AccountSettings(STAND_IN_KEY, SecretStr(STAND_IN_KEY)),)
    try:
        return model(**values, accounts=some_accounts), frozenset(faulty), []  # type: ignore[arg-type]  # texts
    except ValidationError as error:
        told = list(sentences(model, error, _variable))
    faulty |= {name for name, _ in told}
    right = {name: value for name, value in values.items() if name not in faulty}
    right.setdefault("api_url", "https://stand-in.invalid")
    settings = model(**right, accounts=some_accounts)  # type: ignore[arg-type]  # texts, as above
    return settings, frozenset(faulty), [sentence for _, sentence in told]
