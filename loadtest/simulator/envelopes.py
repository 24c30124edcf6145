"""The bodies of the API's answers, in both envelopes, with the quirks that users recorded."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import orjson

from loadtest.simulator.answers import Answer
from loadtest.simulator.inbox import ReplyPage

EnvelopeKind = Literal["meta", "error"]

_STATUS_OF_CODE = {
    "AUTH_FAILED_NO_DATA": 401,
    "AUTH_FAILED": 401,
    "OVER_LIMIT": 429,
    "NOT_IMPLEMENTED": 404,
}


def status_of(code: str) -> int:
    """The HTTP status that goes with a code; 400 where the document says nothing else."""
    return _STATUS_OF_CODE.get(code, 400)


class SentCall(NamedTuple):
    """An accepted call, as the answer tells it: the accepted `numbers`, digits only, and a message id for each.

    `fails` and `opt_outs` are numbers as they were sent.
    """

    numbers: Sequence[int]
    message_ids: Sequence[str]
    subject: str
    text: str
    at_us: int
    asked: int
    fails: Sequence[str]
    opt_outs: Sequence[str]
    credit_is_low: bool


class Envelopes:
    """Writes answers in one of the two envelopes: `meta` (per-call pages) or `error` (as given)."""

    __slots__ = ("_kind", "_random")

    def __init__(self, kind: EnvelopeKind, dice: random.Random) -> None:
        self._kind = kind
        self._random = dice

    def refused(self, code: str, http_status: int, description: str | dict[str, Any]) -> bytes:
        """An error. The `meta` envelope has an empty list as `data`, and words in place of an object."""
        if self._kind == "meta":
            message = description if isinstance(description, str) else "There is no valid recipient."
            return orjson.dumps({"meta": {"code": http_status, "status": code}, "msg": message, "data": []})
        return orjson.dumps({"error": {"code": code, "description": description}})

    def sent(self, call: SentCall, *, extra: bool = False) -> bytes:
        """Success of a send; `extra` adds fields that nobody knows, at every level."""
        plus = "" if self._random.random() < 0.5 else "+"  # noqa: PLR2004 - both forms were recorded, neither rarer
        date, subject, text = _date(call.at_us // 1_000_000), call.subject, call.text
        messages = [
            {
                "message_id": message_id,
                "to": f"{plus}{number}",
                "subject": subject,
                "body": text,
                "date": date,
                "direction": "out",
            }
            for number, message_id in zip(call.numbers, call.message_ids, strict=True)
        ]
        data: dict[str, Any] = {
            "messages": messages,
            "total_numbers": self._number(call.asked),
            "success_number": self._number(len(messages)),
            "credits_used": self._number(len(messages)),
        }
        if extra:
            data["campaign"] = {"id": None, "labels": ""}
            for listed in messages:
                listed["network"] = ""
        answer = self._success("Queued", data, self._description(call))
        if call.credit_is_low:
            answer = {"low_sms_alert": "Your account credits are low, you should top up.", **answer}
        if extra:
            answer["trace"] = {"node": 7, "took": "0.013"}
        return orjson.dumps(answer)

    def account(self, name: str, balance: str) -> bytes:
        """The answer to `GET account`; balances are strings."""
        data = {
            "account_name": name,
            "account_email": "account@example.com",
            "sms_balance": balance,
            "mms_balance": balance,
        }
        return orjson.dumps(self._success("Here's your account", data, "OK"))

    def responses(self, page: ReplyPage) -> bytes:
        """A page of unread replies. Counts are numbers or texts; an empty list is as users recorded it."""
        if not page.entries:
            nothing = {"page": {"count": str(page.pages), "number": 0}, "total": page.total, "responses": ""}
            return orjson.dumps(self._success("No Response are available!", nothing, "OK"))
        data = {
            "page": {"count": self._number(page.pages), "number": self._number(page.number)},
            "total": self._number(page.total),
            "responses": page.entries,
        }
        return orjson.dumps(self._success(f"You have {page.total} response(s)", data, "OK"))

    def marked(self) -> bytes:
        """Success of `inbound-read` and `inbound-read-bulk`."""
        return orjson.dumps(self._success("Marked as read", {}, "OK"))

    def _success(self, message: str, data: dict[str, Any], description: str | dict[str, Any]) -> dict[str, Any]:
        if self._kind == "meta":
            return {"meta": {"code": 200, "status": "SUCCESS"}, "msg": message, "data": data}
        return {**data, "error": {"code": "SUCCESS", "description": description}}

    def _description(self, call: SentCall) -> str | dict[str, Any]:
        return fails_and_optouts(call.fails, call.opt_outs) if call.fails or call.opt_outs else "OK"

    def _number(self, number: int) -> int | str:
        return str(number) if self._random.random() < 0.5 else number  # noqa: PLR2004 - as with the plus


@lru_cache(maxsize=2)
def _date(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def refusal(envelopes: Envelopes, code: str, description: str | dict[str, Any]) -> Answer:
    """A whole answer that refuses a call, with the HTTP status that goes with the code."""
    return Answer(code, status_of(code), envelopes.refused(code, status_of(code), description))


def fails_and_optouts(fails: Sequence[str], opt_outs: Sequence[str]) -> dict[str, Any]:
    """The description that is an object; an empty list is an empty string, as the API writes it."""
    return {"fails": list(fails) or "", "optouts": list(opt_outs) or ""}
