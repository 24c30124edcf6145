"""Delivery reports that wait, because nobody knows their message yet, as messages in the broker (pure).

For how long a report has waited is the sum of the delays that it went through: no clock is compared with another, and
while nobody looks it waits for longer, never for less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from worker.core.delivery import OUR_HEADERS, Publication, count_in
from worker.core.events import timestamp
from worker.core.held_jobs import HeldMessage
from worker.core.reports import Report
from worker.core.topology import (
    DEAD_QUEUE,
    REPORT_DELAYS_S,
    REPORTS_EXCHANGE,
    REPORTS_QUEUE,
    is_account_name,
    report_wait_queue,
)

_ACCOUNT, _WAITED_S = f"{OUR_HEADERS}account", f"{OUR_HEADERS}waited-s"
_FIRST_S, _THEN_S = REPORT_DELAYS_S
#: So many of the short delays come first.
_FIRST_TIMES = 3


@dataclass(frozen=True, slots=True)
class WaitingReport:
    """A report of one of the account's messages that has waited ``waited_s`` so far."""

    account: str
    report: Report
    waited_s: int = 0


def put_aside(waiting: WaitingReport) -> Publication:
    """Have it wait for (another) while."""
    delay_s = _FIRST_S if waiting.waited_s < _FIRST_TIMES * _FIRST_S else _THEN_S
    report = waiting.report
    fields = {"message_id": report.message_id, "to": report.to, "status": report.status, "more": report.more}
    return Publication(
        exchange=REPORTS_EXCHANGE,
        routing_key=report_wait_queue(delay_s),
        body=orjson.dumps(fields),
        headers={_ACCOUNT: waiting.account, _WAITED_S: waiting.waited_s + delay_s},
    )


def read_waiting(body: bytes, headers: Mapping[str, Any]) -> WaitingReport | str:
    """What ``put_aside`` has written, after its while; or why it cannot be read, in a sentence that quotes nothing."""
    account = headers.get(_ACCOUNT)
    if not isinstance(account, str) or not is_account_name(account):
        return f"it does not say in {_ACCOUNT} of which account it is"
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "its body is not JSON"
    match fields:
        case {"message_id": str(message_id), "to": str(to), "status": str(status), "more": dict(more)} if message_id:
            return WaitingReport(account, Report(message_id, to, status, more), count_in(headers, _WAITED_S))
        case _:
            return "its body is not a delivery report, as the receiver puts them aside"


def bury(body: bytes, headers: Mapping[str, Any], reason: str, *, at: datetime) -> Publication:
    """What cannot be read, as a dead letter."""
    account = headers.get(_ACCOUNT)
    of = {_ACCOUNT: account} if isinstance(account, str) else {}
    ours = {f"{OUR_HEADERS}reasons": [f"{REPORTS_QUEUE}: {reason}"], f"{OUR_HEADERS}dead-at": timestamp(at)}
    return Publication(REPORTS_EXCHANGE, DEAD_QUEUE, body, of | ours)


def of_a_report(letter: HeldMessage) -> Publication | None:
    """Have a dead letter that is a report, moved there by the broker, looked at again; None when it is none."""
    if _WAITED_S not in letter.headers or isinstance(read_waiting(letter.body, letter.headers), str):
        return None
    kept = {name: letter.headers[name] for name in (_ACCOUNT, _WAITED_S)}
    return Publication(REPORTS_EXCHANGE, REPORTS_QUEUE, letter.body, kept)
