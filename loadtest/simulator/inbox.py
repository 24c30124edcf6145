"""Replies and inbound messages of the accounts: shown by pages of those that are unread, until they are marked."""

import random
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from loadtest.simulator.form import Refusal
from loadtest.simulator.records import ReplyRecord

PAGE_REPLIES = 25
REPLIES_MAX = 100_000
"""Of one account."""
KINDS = ("mms", "sms")
_FIELDS = ("from", "body", "received_at", "original_body", "original_message_id", "message_id", "subaccount_id", "type")


@dataclass(frozen=True, slots=True)
class ReplyPage:
    """One page: `pages` and `total` count what is unread now; `entries` as the API lists them."""

    number: int
    pages: int
    total: int
    entries: list[dict[str, Any]]


@dataclass(slots=True)
class _Reply:
    fields: dict[str, Any]
    kind: str
    is_read: bool = False


class Inbox:
    """All accounts' replies. The newest is shown first, so that whatever comes in shifts all pages."""

    def __init__(self, dice: random.Random) -> None:
        self._random = dice
        self._replies: dict[str, dict[str, _Reply]] = {}

    def add(self, account: str, replies: Iterable[Mapping[str, Any]], date: str) -> list[str]:
        """Have them come in, in order; their ids, made up where there is none. ValueError with a sentence."""
        inbox = self._replies.setdefault(account, {})
        ids = []
        for given in replies:
            if unknown := given.keys() - set(_FIELDS):
                raise ValueError(f"{', '.join(sorted(unknown))} is no field of a reply: use {', '.join(_FIELDS)}.")
            kind = str(given.get("type", "mms")).lower()
            if kind not in KINDS:
                raise ValueError(f"The type of a reply is one of {', '.join(KINDS)}, not {kind!r}.")
            if len(inbox) >= REPLIES_MAX:
                raise ValueError(f"An account has {REPLIES_MAX} replies at most: reset the simulator.")
            message_id = str(given.get("message_id") or uuid.UUID(int=self._random.getrandbits(128)))
            plain = {"from": "+61400000000", "body": "", "received_at": date, "original_body": ""}
            plain |= {"original_message_id": "", "subaccount_id": ""}
            shown = {name: value for name, value in given.items() if name != "type"}
            inbox[message_id] = _Reply(plain | shown | {"message_id": message_id}, kind)
            ids.append(message_id)
        return ids

    def page(self, account: str, number: int, kind: str) -> ReplyPage:
        """Page `number` (from 1) of what is unread of the kind."""
        unread = [one for one in self._replies.get(account, {}).values() if not one.is_read and one.kind == kind]
        first = (number - 1) * PAGE_REPLIES
        return ReplyPage(
            number=number,
            pages=-(-len(unread) // PAGE_REPLIES),
            total=len(unread),
            entries=[one.fields for one in unread[::-1][first : first + PAGE_REPLIES]],
        )

    def mark(self, account: str, message_ids: Iterable[str]) -> int:
        """Mark them as read; how many of them there are."""
        inbox = self._replies.get(account, {})
        known = [inbox[message_id] for message_id in message_ids if message_id in inbox]
        for reply in known:
            reply.is_read = True
        return len(known)

    def records(self, account: str) -> list[ReplyRecord]:
        """All of an account, in the order in which they came in."""
        return [ReplyRecord(message_id, one.is_read) for message_id, one in self._replies.get(account, {}).items()]

    def posted(self, account: str, message_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Those of the account with these ids, as callbacks tell them."""
        replies = [self._replies[account][message_id] for message_id in message_ids]
        left_out = "subaccount_id"
        return [
            {name: value for name, value in one.fields.items() if name != left_out}
            | {"custom_string": "", "type": one.kind.upper()}
            for one in replies
        ]

    def clear(self) -> None:
        """There are none."""
        self._replies.clear()


def read_page_query(query: Mapping[str, str]) -> tuple[int, str] | Refusal:
    """The page and the kind that `get-responses` asks for."""
    number, kind = query.get("page", "1"), query.get("type", "sms").lower()
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= REPLIES_MAX):
        return Refusal("FIELD_INVALID", "page must be a number from 1.")
    if kind not in KINDS:
        return Refusal("FIELD_INVALID", "type must be sms or mms.")
    return int(number), kind


def read_marks(body: bytes, *, is_bulk: bool) -> list[str] | Refusal:
    """The message ids of `inbound-read` (one) or `inbound-read-bulk` (a list)."""
    try:
        given: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Refusal("FIELD_INVALID", "The body must be JSON.")
    message_id = given.get("message_id") if isinstance(given, dict) else None
    if not message_id:
        return Refusal("FIELD_EMPTY", "message_id is required.")
    ids = message_id if is_bulk else [message_id]
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        return Refusal("FIELD_INVALID", f"message_id must be {'a list of texts' if is_bulk else 'a text'}.")
    return ids
