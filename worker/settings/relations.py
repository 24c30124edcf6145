"""How settings depend on each other: values that are right alone and wrong together."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from worker.settings.model import LANES_PER_ACCOUNT, Settings
from worker.settings.sentences import shown

# Jobs of one recipient that fill a call must be held while those of the call before are settled.
CALLS_HELD_MIN: Final = 2

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
    yield from _of_accounts(s)


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
    for one, other in combinations(s.accounts, 2):
        yield Relation(
            ("accounts",),
            one.app_key != other.app_key,
            f"MMS_ACCOUNTS_FILE: accounts {shown(one.name)} and {shown(other.name)} have the same APPKEY, but"
            " the API counts calls by key, so together they would go over its limit: make them one account.",
        )
