"""What an answer means: the one table that decides everything (pure).

``classify`` turns what came back from a call (a whole answer, or the way in which it failed) into one
``Outcome`` of the call; ``share`` cuts out what that means for one of the call's jobs.

The rule behind the table: *not sent* needs proof (no byte left, or the API says that it dropped the call);
everything that may have been accepted is *in doubt*, because the vendor has answered HTTP 500 to messages
that were delivered, and a second send costs money and annoys a person.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.core.envelope import SUCCESS, Envelope, count_of, read_envelope

# --- What came back from a call -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. ``retry_after`` is the header's text, if there was one."""

    status: int
    body: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class NeverLeft:
    """The call failed before its first byte left: DNS, connect, TLS, no connection free."""

    why: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The call failed after its first byte may have left and before a whole answer was there."""

    why: str


Response = Answer | NeverLeft | NoAnswer

# --- What it means for the call --------------------------------------------------------------------------


class SuspendedBecause(enum.StrEnum):
    """Why an account cannot send at all for now."""

    CREDENTIALS = "credentials"
    CREDIT = "credit"
    API = "api"
    """The API is ailing: its answers, or that there are none, leave job after job unsent or in doubt."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The API took the call. ``message_ids``: accepted number (E.164) to message id ("" when none came).

    ``is_complete``: the answer lists as many as it says it accepted, so who is not listed was refused.
    """

    message_ids: Mapping[str, str]
    is_complete: bool
    low_balance: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The API will never take this call; ``code`` and ``description`` are the API's own."""

    code: str
    description: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """Over the limit; the vendor drops such a call, so it is surely not sent."""

    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class NotSent:
    """Surely not sent, and worth another try."""

    why: str


@dataclass(frozen=True, slots=True)
class Suspended:
    """Surely not sent, and nothing of this account will be until a person acts."""

    because: SuspendedBecause
    description: str


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Sent or not, nobody knows."""

    why: str


Outcome = Accepted | Refused | Throttled | NotSent | Suspended | InDoubt


def is_ailing(outcome: Outcome) -> bool:
    """Whether the API did not answer as one that is well does: there is no word from it on the call itself."""
    return isinstance(outcome, NotSent | InDoubt)


OVER_LIMIT = "OVER_LIMIT"
_CREDENTIAL_CODES = frozenset({"AUTH_FAILED", "AUTH_FAILED_NO_DATA"})
#: "Not enough credit to send MMS" hides in FIELD_INVALID; only the text tells, and its wording is not promised.
_NO_CREDIT = re.compile(r"\b(enough|insufficient|out of)\s+(\w+\s+){0,2}credits?\b", re.IGNORECASE)
_CREDIT_CODES = frozenset({"LEDGER_ERROR"})
#: Documented codes that say "never", whatever the HTTP status they come with.
REFUSAL_CODES = frozenset(
    {
        "FIELD_EMPTY",
        "FIELD_INVALID",
        "RECIPIENTS_ERROR",
        "NOT_FOUND",
        "NO_ACCESS",
        "KEY_EXISTS",
        "BAD_CALLER_ID",
        "NOT_IMPLEMENTED",
    }
)
#: Retry-After is not documented by the vendor, who counts by the second; more than this is not believed, since it
#: closes the account for everyone.
RETRY_AFTER_S_MAX = 60.0

_OK, _REQUEST_TIMEOUT, _TOO_MANY = 200, 408, 429
_UNAUTHORISED = frozenset({401, 403})


def classify(reply: Response) -> Outcome:
    """Decide what ``reply`` to ``send-mms`` means for the call as a whole."""
    match reply:
        case NeverLeft(why):
            return NotSent(why)
        case NoAnswer(why):
            return InDoubt(why)
        case Answer():
            return _classify_answer(reply, read_envelope(reply.body))


def _classify_answer(answer: Answer, envelope: Envelope | None) -> Outcome:  # noqa: PLR0911 - a table: one row, one return
    code = envelope.code if envelope else ""
    description = envelope.description if envelope else ""
    status = answer.status
    if status == _TOO_MANY or code == OVER_LIMIT:
        return Throttled(_seconds(answer.retry_after))
    if status >= 500 or status == _REQUEST_TIMEOUT or (status < 400 and status != _OK):  # noqa: PLR2004 - classes of HTTP
        return InDoubt(f"the API answered HTTP {status}")
    if status in _UNAUTHORISED or code in _CREDENTIAL_CODES:
        return Suspended(SuspendedBecause.CREDENTIALS, description or f"HTTP {status}")
    if code in _CREDIT_CODES or (code == "FIELD_INVALID" and _NO_CREDIT.search(description)):
        return Suspended(SuspendedBecause.CREDIT, description)
    if status == _OK and envelope is not None and code == SUCCESS:
        return _accepted(envelope)
    if status == _OK and code not in REFUSAL_CODES:
        return InDoubt("the API answered HTTP 200 with a body that cannot be read")
    if envelope is None:
        # Some gateway's page, not the API's word: surely not sent, but no reason to drop a customer's job.
        return NotSent(f"HTTP {status} without the API's envelope")
    if code == SUCCESS:
        return InDoubt(f"the API answered HTTP {status} with the code SUCCESS")
    return Refused(code, description)


def classify_account(reply: Response) -> Outcome:
    """Decide what ``reply`` to ``GET account`` means: ``Accepted`` when the account can send again.

    Nothing can be in doubt about a question, so an unclear answer is ``NotSent``: ask again later.
    """
    if isinstance(reply, Answer):
        envelope = read_envelope(reply.body)
        if reply.status == _OK and envelope is not None and envelope.code == SUCCESS:
            balance = mms_balance(envelope)
            if balance is not None and balance <= 0:
                return Suspended(SuspendedBecause.CREDIT, "the balance is used up")
            return Accepted({}, is_complete=True, low_balance=envelope.low_balance)
    outcome = classify(reply)
    return outcome if isinstance(outcome, Throttled | NotSent | Suspended) else NotSent("no clear answer")


def mms_balance(envelope: Envelope) -> float | None:
    """``data.mms_balance`` of ``GET account``, which comes as a string; None when it is not a number."""
    value = envelope.data.get("mms_balance") if isinstance(envelope.data, dict) else None
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def _accepted(envelope: Envelope) -> Outcome:
    data = envelope.data if isinstance(envelope.data, dict) else {}
    listed = data.get("messages")
    said = count_of(data.get("success_number"))
    if isinstance(listed, list):
        ids: dict[str, str] = {}
        for entry in listed:
            if not isinstance(entry, dict) or not isinstance(entry.get("to"), str | int):
                return InDoubt("the API answered SUCCESS with a list of messages that cannot be read")
            ids[canonical_number(str(entry["to"]))] = str(entry.get("message_id") or "")
        if ids:
            return Accepted(ids, is_complete=said is None or said <= len(ids), low_balance=envelope.low_balance)
    if said == 0:
        return Accepted({}, is_complete=True, low_balance=envelope.low_balance)
    return InDoubt("the API answered SUCCESS without a list of messages")


def canonical_number(number: str) -> str:
    """``to`` comes back with or without "+" (seen live): the same number, one spelling."""
    return "+" + number.strip().removeprefix("+")


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as seconds within 0..RETRY_AFTER_S_MAX; None when absent or not a number of seconds."""
    if retry_after is None or not retry_after.strip().isdecimal():
        return None
    return min(float(retry_after.strip()[:10]), RETRY_AFTER_S_MAX)


# --- What it means for one job ---------------------------------------------------------------------------

#: The reason given for a recipient that a successful answer does not list.
NOT_LISTED = "not accepted by the API: the number is not in its list of messages (invalid or opted out)"
ALL_NOT_LISTED = "RECIPIENTS_ERROR"


@dataclass(frozen=True, slots=True)
class Sent:
    """At least one recipient of the job was accepted. ``recipients``: (number, message id) pairs."""

    recipients: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RefusedJob:
    """None of the job's recipients will ever be accepted; ``refused``: (number, reason) pairs."""

    code: str
    description: str
    refused: tuple[tuple[str, str], ...]


JobOutcome = Sent | RefusedJob | Throttled | NotSent | Suspended | InDoubt


def share(outcome: Outcome, to: Sequence[str]) -> JobOutcome:
    """Say what the outcome of a call means for the job with the recipients ``to``."""
    match outcome:
        case Accepted(message_ids, is_complete):
            return _share_accepted(message_ids, is_complete=is_complete, to=to)
        case Refused(code, description):
            reason = f"{code}: {description}" if description else code
            return RefusedJob(code, description, tuple((number, reason) for number in to))
        case _:
            return outcome


def _share_accepted(message_ids: Mapping[str, str], *, is_complete: bool, to: Sequence[str]) -> JobOutcome:
    sent = tuple((number, message_ids[number]) for number in to if number in message_ids)
    missing = tuple((number, NOT_LISTED) for number in to if number not in message_ids)
    if missing and not is_complete:
        return InDoubt("the API says that it accepted more recipients than it lists")
    if sent:
        return Sent(sent, missing)
    return RefusedJob(ALL_NOT_LISTED, NOT_LISTED, missing)
