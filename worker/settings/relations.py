"""How settings depend on each other: values that are right alone and wrong together."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from worker.core.journal import JOURNAL_SLACK_S
from worker.settings.accounts_file import AccountSettings
from worker.settings.model import LANES_PER_ACCOUNT, BrokerSettings, ReceiverSettings, Settings
from worker.settings.sentences import shown
from worker.settings.values import certificate_fault

# Jobs of one recipient that fill a call must be held while those of the call before are settled.
CALLS_HELD_MIN: Final = 2

# Far longer than the longest call, whose answer would say what a rule can only guess; and so early that the journal
# has forgotten nothing of it by the time that somebody comes by.
DOUBT_CALLS_MIN: Final = 10
DOUBT_SHARE_MAX: Final = 2

# The vendor's family of APIs repeats a report for a day, and the last report on a message can be a day late itself.
REPORTS_S_MIN: Final = 172_800

# RabbitMQ takes a delivery back that is unacknowledged for 30 minutes, and closes the channel. Waiting in a
# lane, calling and settling must together end well before that.
UNACKNOWLEDGED_S_MAX: Final = 1_500.0


@dataclass(frozen=True, slots=True)
class Relation:
    """The fields it is about, whether it holds, and what to say otherwise."""

    fields: tuple[str, ...]
    holds: bool
    otherwise: str


def relations(s: Settings) -> Iterator[Relation]:
    """Every relation, with its verdict."""
    call_s = s.connect_timeout_s + s.read_timeout_s
    yield Relation(
        ("prefetch", "calls_max"),
        s.prefetch >= s.calls_max,
        f"MMS_PREFETCH ({s.prefetch}) must be at least MMS_CALLS_MAX ({s.calls_max}), or one account could"
        " never have all calls under way: raise the one or lower the other.",
    )
    held_for_calls = CALLS_HELD_MIN * s.recipients_per_call_max
    yield Relation(
        ("prefetch", "recipients_per_call_max"),
        s.prefetch >= held_for_calls,
        f"MMS_PREFETCH ({s.prefetch}) must be at least {CALLS_HELD_MIN} times MMS_RECIPIENTS_PER_CALL_MAX"
        f" ({s.recipients_per_call_max}), or jobs of one recipient could not fill a call while others are settled:"
        " raise the one or lower the other.",
    )
    yield Relation(
        ("hold_s_max", "read_timeout_s"),
        s.hold_s_max > s.read_timeout_s,
        f"MMS_HOLD_S_MAX ({s.hold_s_max:g}) must be more than MMS_READ_TIMEOUT_S ({s.read_timeout_s:g}), or"
        " deliveries would be put back while one call is awaited: raise the one or lower the other.",
    )
    unacknowledged_s = s.hold_s_max + call_s + s.publish_timeout_s
    yield Relation(
        ("hold_s_max", "connect_timeout_s", "read_timeout_s", "publish_timeout_s"),
        unacknowledged_s <= UNACKNOWLEDGED_S_MAX,
        "MMS_HOLD_S_MAX, MMS_CONNECT_TIMEOUT_S, MMS_READ_TIMEOUT_S and MMS_PUBLISH_TIMEOUT_S together"
        f" ({unacknowledged_s:g}) must be at most {UNACKNOWLEDGED_S_MAX:g}, well below the 30 minutes after"
        " which RabbitMQ takes a delivery back: lower the largest.",
    )
    yield Relation(
        ("drain_s_max", "connect_timeout_s", "read_timeout_s"),
        s.drain_s_max >= call_s,
        f"MMS_DRAIN_S_MAX ({s.drain_s_max:g}) must be at least MMS_CONNECT_TIMEOUT_S and MMS_READ_TIMEOUT_S"
        f" together ({call_s:g}), or a stop would leave calls in doubt: raise it or leave it out.",
    )
    yield Relation(
        ("deduplication_s", "hold_s_max", "connect_timeout_s", "read_timeout_s"),
        s.deduplication_s >= s.hold_s_max + call_s,
        f"MMS_DEDUPLICATION_S ({s.deduplication_s}) must be at least MMS_HOLD_S_MAX and the longest call"
        f" together ({s.hold_s_max + call_s:g}), or a job still held would be forgotten and could be sent"
        " twice: raise it.",
    )
    yield Relation(
        ("reports_s",),
        s.reports_s >= REPORTS_S_MIN,
        f"MMS_REPORTS_S ({s.reports_s}) must be at least {REPORTS_S_MIN}, which is two days, or reports that come late"
        " would be told twice, or without their job: raise it.",
    )
    yield from broker_relations(s)
    yield from _of_trust(_Trust("redis", "rediss", "ssl_ca_certs", s.redis_url, s.redis_ca_file))
    yield from _of_accounts(s)
    if isinstance(s, ReceiverSettings):
        yield from _of_receiving(s)


def broker_relations(s: BrokerSettings) -> Iterator[Relation]:
    """Those of what it takes to publish."""
    yield from _of_trust(_Trust("amqp", "amqps", "cafile", s.amqp_url, s.amqp_ca_file))


@dataclass(frozen=True, slots=True)
class _Trust:
    """Whom to trust at an address. ``scheme``: that of TLS; ``parameter``: the address's own way to say it."""

    name: str
    scheme: str
    parameter: str
    url: SecretStr
    ca_file: Path | None


def _of_trust(trust: _Trust) -> Iterator[Relation]:
    parts = urlsplit(trust.url.get_secret_value())
    url, ca_file = f"MMS_{trust.name.upper()}_URL", f"MMS_{trust.name.upper()}_CA_FILE"
    fields = (f"{trust.name}_url", f"{trust.name}_ca_file")
    yield Relation(
        fields,
        trust.ca_file is None or parts.scheme == trust.scheme,
        f"{ca_file} is set, but {url} does not begin with {trust.scheme}://, so nothing would be encrypted: correct"
        " the address, or leave the file out.",
    )
    yield Relation(
        fields,
        trust.ca_file is None or trust.parameter not in parse_qs(parts.query),
        f"{ca_file} is set, and {url} holds {trust.parameter} as well: keep one of them.",
    )


def _of_accounts(s: Settings) -> Iterator[Relation]:
    for account in s.accounts:
        yield Relation(
            ("accounts", "hold_s_max"),
            account.rate_per_s * s.hold_s_max >= LANES_PER_ACCOUNT,
            f"MMS_RATE_PER_S, or rate_per_s in MMS_ACCOUNTS_FILE, of account {shown(account.name)}"
            f" ({account.rate_per_s:g}) is so low that a job may wait for its slot longer than MMS_HOLD_S_MAX"
            f" ({s.hold_s_max:g}) and never leave: raise one, to at least {LANES_PER_ACCOUNT} calls in that"
            " time.",
        )
        yield from _of_doubts(s, account)
    for one, other in combinations(s.accounts, 2):
        yield Relation(
            ("accounts",),
            one.app_key != other.app_key,
            f"MMS_ACCOUNTS_FILE: accounts {shown(one.name)} and {shown(other.name)} have the same APPKEY, but"
            " the API counts calls by key, so together they would go over its limit: make them one account.",
        )


def _of_doubts(s: Settings, account: AccountSettings) -> Iterator[Relation]:
    subject = f"MMS_IN_DOUBT_AFTER_S, or in_doubt_after_s in MMS_ACCOUNTS_FILE, of account {shown(account.name)}"
    least_s = DOUBT_CALLS_MIN * (s.connect_timeout_s + s.read_timeout_s + JOURNAL_SLACK_S)
    yield Relation(
        ("accounts", "connect_timeout_s", "read_timeout_s"),
        account.in_doubt_rule == "hold" or account.in_doubt_after_s >= least_s,
        f"{subject} ({account.in_doubt_after_s}) must be at least {least_s:g}, which is {DOUBT_CALLS_MIN} times the"
        " longest call, or a rule would decide while an answer or a report is still to come: raise it.",
    )
    most_s = s.deduplication_s / DOUBT_SHARE_MAX
    yield Relation(
        ("accounts", "deduplication_s"),
        account.in_doubt_rule == "hold" or account.in_doubt_after_s <= most_s,
        f"{subject} ({account.in_doubt_after_s}) must be at most {most_s:g}, half of MMS_DEDUPLICATION_S, or what is"
        " known of the job could be forgotten before the rule is carried out: lower it, or raise the other.",
    )


def _of_receiving(s: ReceiverSettings) -> Iterator[Relation]:
    cert, key = s.receive_cert_file, s.receive_key_file
    yield Relation(
        ("receive_cert_file", "receive_key_file"),
        cert is not None or key is None,
        "MMS_RECEIVE_KEY_FILE is set without a certificate: name that in MMS_RECEIVE_CERT_FILE, or leave both out.",
    )
    fault = None if cert is None else certificate_fault(cert, key)
    with_key = "" if key is None else f" and MMS_RECEIVE_KEY_FILE ({shown(key)})"
    yield Relation(
        ("receive_cert_file", "receive_key_file"),
        fault is None,
        f"MMS_RECEIVE_CERT_FILE ({shown(cert)}){with_key} cannot be used ({fault}): name PEM files with the"
        " certificate, those in between, and its key.",
    )
    for account in s.accounts:
        yield Relation(
            ("accounts",),
            bool(account.callback_token.get_secret_value()),
            f"MMS_CALLBACK_TOKEN, or callback_token in MMS_ACCOUNTS_FILE, of account {shown(account.name)} is required"
            " by receive, since it stands in the address that the vendor calls: take what `openssl rand -hex 24`"
            " prints.",
        )
