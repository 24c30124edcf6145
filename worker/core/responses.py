"""What the API answers to questions: pages of unread replies, and what is left of an account (pure).

Sources: the vendor's pages of ``get-responses``, ``inbound-read-bulk`` and ``account``, and what users recorded.
A question can be put again without harm, so nothing is in doubt here: there is a word of the API's, or there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, assert_never

from worker.core.callbacks import read_reply
from worker.core.envelope import SUCCESS, Envelope, count_of, read_envelope
from worker.core.outcome import Answer, InDoubt, NotSent, Refused, Response, Suspended, Throttled, classify
from worker.core.quoting import without_numbers
from worker.core.replies import Reply

#: So many entries are a full page.
PAGE_ENTRIES = 25
#: What the API says when there is nothing; live, it says SUCCESS with an empty list.
NOT_FOUND = "NOT_FOUND"

_OK = 200


# --- Any question ----------------------------------------------------------------------------------------


#: What comes instead of the API's word on what it was asked.
Unanswered = Refused | Throttled | NotSent | Suspended


def read_question(reply: Response) -> Envelope | Unanswered:
    """The API's word on what it was asked, or what came instead."""
    if isinstance(reply, Answer) and reply.status == _OK:
        envelope = read_envelope(reply.body)
        if envelope is not None and envelope.code == SUCCESS:
            return envelope
    outcome = classify(reply)
    if isinstance(outcome, Refused | Throttled | NotSent | Suspended):
        return outcome
    # ``Accepted`` is impossible here: it takes what was returned above.
    return NotSent(outcome.why if isinstance(outcome, InDoubt) else "no clear answer")


def in_words(unanswered: Unanswered) -> str:
    """Why there is no word of the API's: a sentence's rest. The API's own words are in it, no phone number is.

    Siblings of the API list numbers where a description is wanted.
    """
    match unanswered:
        case Refused(code, description):
            return f"the API refused the question ({code}{': ' if description else ''}{without_numbers(description)})"
        case Suspended(because, description):
            return f"the API refused the account because of its {because.value} ({without_numbers(description)})"
        case Throttled():
            return "the account was over its limit, time after time"
        case NotSent(why):
            return why
        case _:
            assert_never(unanswered)


# --- Replies ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RepliesPage:
    """A page of unread replies, in the API's order.

    ``pages``: how many there are now, as far as it is told. ``entries``: how many the page lists, those included that
    cannot be read; ``mistakes``: of these, each in a sentence.
    """

    replies: tuple[Reply, ...]
    pages: int | None
    entries: int
    mistakes: tuple[str, ...]

    def is_followed(self, number: int) -> bool:
        """Whether another page comes after this one, which is page ``number`` (from 1)."""
        if not self.entries:
            return False
        return self.entries >= PAGE_ENTRIES if self.pages is None else number < self.pages


def read_replies(envelope: Envelope, *, region: str) -> RepliesPage | None:
    """The page in an answer to ``get-responses``; None when it has no list of replies.

    An empty list comes as ``""``, counts as texts. Numbers without a country code are read as of ``region``.
    """
    data = envelope.data
    if not isinstance(data, Mapping) or "responses" not in data:
        return None
    listed = _entries(data["responses"])
    if listed is None:
        return None
    read = [read_reply(entry, region=region) for entry in listed]
    page = data.get("page")
    return RepliesPage(
        replies=tuple(one for one in read if isinstance(one, Reply)),
        pages=count_of(page.get("count")) if isinstance(page, Mapping) else None,
        entries=len(listed),
        mistakes=tuple(one for one in read if isinstance(one, str)),
    )


def _entries(listed: object) -> list[Any] | None:
    if isinstance(listed, list):
        return listed
    if isinstance(listed, Mapping):
        # A list with gaps is written as an object, by number, where PHP writes it.
        is_by_number = all(isinstance(one, Mapping) for one in listed.values())
        return list(listed.values()) if is_by_number else [listed]
    return [] if listed is None or listed == "" else None


# --- Balances --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Balances:
    """What is left of an account's credit, and what the vendor calls it. None: not told, or not a number."""

    mms: float | None
    sms: float | None
    vendor_name: str | None
    is_alerted: bool
    """The answer carries the vendor's own alert that the credit is low."""


def read_balances(envelope: Envelope) -> Balances:
    """From an answer to ``GET account``; balances come as texts."""
    data = envelope.data if isinstance(envelope.data, Mapping) else {}
    name = data.get("account_name")
    return Balances(
        mms=_amount(data.get("mms_balance")),
        sms=_amount(data.get("sms_balance")),
        vendor_name=name if isinstance(name, str) and name.strip() else None,
        is_alerted=envelope.low_balance,
    )


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if isfinite(amount) else None
