"""The API itself: from a call's credentials and body to its answer, with no I/O and no clock of its own.

A call comes in two steps, since it counts from the moment it arrives, before its body is read:
1. `arrive`: record it, look at the credentials, count it against the limit.
2. `finish`: read the form, accept or refuse, let a fault have its way, record what became of it.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from loadtest.simulator.accounts import Account, Accounts
from loadtest.simulator.answers import Answer, Late, Never, Reset, Whole, page
from loadtest.simulator.callbacks import Callbacks
from loadtest.simulator.envelopes import Envelopes, SentCall, fails_and_optouts, refusal
from loadtest.simulator.fault_effects import NO_CREDIT, hit
from loadtest.simulator.faults import FaultPlan
from loadtest.simulator.form import PictureDigests, Refusal, SendForm, normal_number, read_send_form
from loadtest.simulator.inbox import Inbox, read_marks, read_page_query
from loadtest.simulator.ledger import NO_CALL, Content, Ledger
from loadtest.simulator.records import Operation, OutageKind

CREDIT_LOW = 100
"""Below so many credits the answers carry `low_sms_alert`."""

BALANCE_OF_PLENTY = "999999.00"
EARLY_BY_S = 0.5
"""The answer to a call whose reports are early comes so long after it arrived."""


class Arrival(NamedTuple):
    """A call that was counted for its account; `handle` is the ledger's."""

    handle: int
    operation: Operation
    account: Account
    at_us: int


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A call that goes no further: its answer stands before its body is looked at."""

    handle: int
    answer: Answer


class MmsService:
    """All the state of the simulated vendor: accounts, faults, opt-outs and the ledger."""

    def __init__(
        self,
        accounts: Accounts,
        envelopes: Envelopes,
        faults: FaultPlan,
        ledger: Ledger,
        inbox: Inbox | None = None,
        *,
        callbacks: Callbacks | None = None,
    ) -> None:
        self.accounts = accounts
        self.faults = faults
        self.ledger = ledger
        self.opt_outs: set[int] = set()
        self.inbox = inbox or Inbox(random.Random())
        self._callbacks = callbacks
        self._envelopes = envelopes
        self._digests = PictureDigests()
        self._last_us = 0

    def arrive(self, operation: Operation, key: str | None, at_us: int) -> Arrival | TurnedAway:
        """Count a call at the moment it arrives; `key` is None when no credential was seen."""
        at_us = self._last_us = max(at_us, self._last_us)
        account = None if key is None else self.accounts.find(key)
        handle = self._open(account, operation, at_us)
        if handle == NO_CALL:
            full = page("ledger_full", 503, "The ledger of the simulator is full: reset it")
            return TurnedAway(handle, full)
        if key is None:
            return self._turned_away(handle, "AUTH_FAILED_NO_DATA", "No authentication data: send the APPKEY.")
        if account is None or account.revoked:
            return self._turned_away(handle, "AUTH_FAILED", "Authentication failed: not a registered user.")
        if account.limit is not None and not account.limit.admits(at_us):
            return self._turned_away(handle, "OVER_LIMIT", "You have exceeded the number of calls per second.")
        self.ledger.admitted(account.key, at_us)
        return Arrival(handle, operation, account, at_us)

    def arrive_in_outage(self, kind: OutageKind, operation: Operation, key: str | None, at_us: int) -> TurnedAway:
        """Record a call during an outage; it does not count against the limit."""
        at_us = self._last_us = max(at_us, self._last_us)
        handle = self._open(None if key is None else self.accounts.find(key), operation, at_us)
        match kind:
            case "refuse":
                return TurnedAway(handle, Answer("outage_refuse", 0, b"", manner=Reset()))
            case "502":
                return TurnedAway(handle, page("outage_502", 502, "502 Bad Gateway"))
            case "hang":
                return TurnedAway(handle, Answer("outage_hang", 0, b"", manner=Never()))
            case _:
                assert_never(kind)

    def finish(
        self,
        arrival: Arrival | TurnedAway,
        content_type: str,
        body: bytes,
        now_us: int,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Decide the answer to a call whose body is whole, and record it."""
        if isinstance(arrival, TurnedAway):
            answer = arrival.answer
        else:
            match arrival.operation:
                case "send-mms":
                    answer = self._send(arrival, read_send_form(content_type, body, self._digests.of), now_us)
                case "account":
                    answer = self._account(arrival.account)
                case "get-responses":
                    answer = self._responses(arrival.account, query or {})
                case "inbound-read" | "inbound-read-bulk":
                    answer = self._mark(arrival, body)
                case "unknown":
                    answer = self._refused("NOT_IMPLEMENTED", "There is no such resource.")
                case _:
                    assert_never(arrival.operation)
        self._close(arrival.handle, answer)
        return answer

    def too_large(self, arrival: Arrival | TurnedAway) -> Answer:
        """Decide the answer to a call whose body is over every bound, and record it."""
        if isinstance(arrival, TurnedAway):
            answer = arrival.answer
        else:
            answer = self._refused("FIELD_INVALID", "The request is too large.")
        self._close(arrival.handle, answer)
        return answer

    def broken_off(self, arrival: Arrival | TurnedAway) -> None:
        """Record that the client left before its request was whole."""
        if arrival.handle != NO_CALL:
            self.ledger.close_call(arrival.handle, "broken_off", 0, 0)

    def set_rate(self, rate_per_s: int, key: str | None, now_us: int) -> None:
        """Change the limit of one account, or of all; KeyError when the key is nobody's."""
        now_us = self._last_us = max(now_us, self._last_us)
        for account in self.accounts.set_rate(rate_per_s, now_us, key):
            self.ledger.rate_changed(account.key, rate_per_s, now_us)

    def _send(self, arrival: Arrival, form: SendForm | Refusal, now_us: int) -> Answer:
        if isinstance(form, Refusal):
            return self._refused(form.code, form.description)
        try:
            fault = self.faults.pick("send-mms", arrival.account.key, form.text)
        except ValueError as error:  # a marker that means nothing must not pass for a message
            return self._refused("FIELD_INVALID", str(error))
        if fault is None:
            return self._accept(arrival, form, now_us)
        extra = fault.kind == "unknown_fields"
        return hit(fault, self._envelopes, lambda: self._accept(arrival, form, now_us, extra=extra))

    def _accept(self, arrival: Arrival, form: SendForm, now_us: int, *, extra: bool = False) -> Answer:
        account = arrival.account
        numbers: list[int] = []
        fails: list[str] = []
        opt_outs: list[str] = []
        for sent_as in form.numbers:
            number = normal_number(sent_as)
            if number is None:
                fails.append(sent_as)
            elif number in self.opt_outs:
                opt_outs.append(sent_as)
            else:
                numbers.append(number)
        if not numbers:
            return self._refused("RECIPIENTS_ERROR", fails_and_optouts(fails, opt_outs))
        if account.credit is not None:
            if account.credit < len(numbers):
                return self._refused("FIELD_INVALID", NO_CREDIT)
            account.credit -= len(numbers)
        content = Content(account.key, form.text, form.subject, form.picture_sha256)
        message_ids = self.ledger.accept(arrival.handle, content, numbers, now_us)
        sent = SentCall(
            numbers=numbers,
            message_ids=message_ids,
            subject=form.subject,
            text=form.text,
            at_us=now_us,
            asked=len(form.numbers),
            fails=fails,
            opt_outs=opt_outs,
            credit_is_low=account.credit is not None and account.credit < CREDIT_LOW,
        )
        is_told_early = self._callbacks is not None and self._callbacks.accepted(
            account.key, zip(numbers, message_ids, strict=True), now_us
        )
        return Answer(
            "SUCCESS",
            200,
            self._envelopes.sent(sent, extra=extra),
            recipients=len(numbers),
            manner=Late(EARLY_BY_S) if is_told_early else Whole(),
        )

    def _account(self, account: Account) -> Answer:
        fault = self.faults.pick("account", account.key, "")
        return self._balance(account) if fault is None else hit(fault, self._envelopes, lambda: self._balance(account))

    def _responses(self, account: Account, query: Mapping[str, str]) -> Answer:
        asked = read_page_query(query)
        if isinstance(asked, Refusal):
            return self._refused(asked.code, asked.description)

        def shown() -> Answer:
            return Answer("SUCCESS", 200, self._envelopes.responses(self.inbox.page(account.key, *asked)))

        fault = self.faults.pick("get-responses", account.key, "")
        return shown() if fault is None else hit(fault, self._envelopes, shown)

    def _mark(self, arrival: Arrival, body: bytes) -> Answer:
        operation, key = arrival.operation, arrival.account.key
        ids = read_marks(body, is_bulk=operation == "inbound-read-bulk")
        if isinstance(ids, Refusal):
            return self._refused(ids.code, ids.description)

        def marked() -> Answer:
            if not self.inbox.mark(key, ids):
                return self._refused("NOT_FOUND", "There is no such message.")
            return Answer("SUCCESS", 200, self._envelopes.marked())

        fault = self.faults.pick(operation, key, "")
        return marked() if fault is None else hit(fault, self._envelopes, marked)

    def _balance(self, account: Account) -> Answer:
        balance = BALANCE_OF_PLENTY if account.credit is None else f"{account.credit}.00"
        return Answer("SUCCESS", 200, self._envelopes.account("Simulated account", balance))

    def _open(self, account: Account | None, operation: Operation, at_us: int) -> int:
        if self.ledger.is_full or (self._callbacks is not None and self._callbacks.is_full):
            return NO_CALL
        if account is None:
            return self.ledger.open_call("", None, operation, at_us)
        return self.ledger.open_call(account.key, account.rate_per_s, operation, at_us)

    def _close(self, handle: int, answer: Answer) -> None:
        if handle != NO_CALL:
            self.ledger.close_call(handle, answer.result, answer.http_status, answer.recipients)

    def _refused(self, code: str, description: str | dict[str, object]) -> Answer:
        return refusal(self._envelopes, code, description)

    def _turned_away(self, handle: int, code: str, description: str) -> TurnedAway:
        return TurnedAway(handle, self._refused(code, description))
