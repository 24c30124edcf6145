"""What each fault makes of a call: those that hit after the recipients were accepted, and those before.

`html_200`, `truncated_200`, `slow_body` and `slow_head` accept: of two possibilities it is the one that punishes a
repeat.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from loadtest.simulator.answers import (
    Answer,
    Dripping,
    DrippingHead,
    Late,
    Manner,
    Never,
    Reset,
    Truncated,
    page,
)
from loadtest.simulator.envelopes import Envelopes, refusal, status_of
from loadtest.simulator.faults import CODE_DEFAULT, Fault, FaultKind

SERVER_ERROR_BODY = (
    b'{"message":"MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist '
    b'on disk. Commands that may modify the data set are disabled."}'
)
"""What users saw with HTTP 500, for messages that arrived."""

NO_CREDIT = "You do not have enough credit to send MMS."


def _silent(answer: Answer, manner: Manner) -> Answer:
    return replace(answer, http_status=0, body=b"", manner=manner)


def _html_instead(answer: Answer) -> Answer:
    html = page("", 200, "Scheduled maintenance")
    return replace(answer, body=html.body, content_type=html.content_type)


AFTER_ACCEPTING: dict[FaultKind, Callable[[Answer, Fault], Answer]] = {
    "500_after_accept": lambda answer, _: replace(answer, http_status=500, body=SERVER_ERROR_BODY),
    "reset_after_accept": lambda answer, _: _silent(answer, Reset()),
    "late": lambda answer, fault: replace(answer, manner=Late(fault.wait_s)),
    "never": lambda answer, _: _silent(answer, Never()),
    "truncated_200": lambda answer, _: replace(answer, manner=Truncated()),
    "html_200": lambda answer, _: _html_instead(answer),
    "slow_body": lambda answer, fault: replace(answer, manner=Dripping(fault.wait_s)),
    "slow_head": lambda answer, fault: replace(answer, manner=DrippingHead(fault.wait_s)),
    "unknown_fields": lambda answer, _: answer,  # the fields are added where the answer is written
}

INSTEAD_OF_ACCEPTING: dict[FaultKind, Callable[[Envelopes, Fault], Answer]] = {
    "500_before_accept": lambda _, __: Answer("", 500, SERVER_ERROR_BODY),
    "reset_before_accept": lambda _, __: Answer("", 0, b"", manner=Reset()),
    "never_before_accept": lambda _, __: Answer("", 0, b"", manner=Never()),
    "200_with_error_code": lambda envelopes, fault: _refused_with_200(envelopes, fault.code or CODE_DEFAULT),
    "429_bare": lambda _, __: Answer("", 429, b"Too Many Requests", "text/plain"),
    "429_retry_after": lambda envelopes, fault: replace(
        refusal(envelopes, "OVER_LIMIT", "You have exceeded the number of calls per second."),
        headers=(("Retry-After", str(math.ceil(fault.wait_s))),),
    ),
    "502_page": lambda _, __: page("", 502, "502 Bad Gateway"),
    "redirect": lambda _, __: Answer("", 302, b"", "text/html", (("Location", "/maintenance"),)),
    "no_credit": lambda envelopes, _: refusal(envelopes, "FIELD_INVALID", NO_CREDIT),
}


def _refused_with_200(envelopes: Envelopes, code: str) -> Answer:
    return Answer("", 200, envelopes.refused(code, status_of(code), "The call was refused."))


def hit(fault: Fault, envelopes: Envelopes, accept: Callable[[], Answer]) -> Answer:
    """Let the fault have its way with a call; `accept` is called when the fault leaves that side effect."""
    if after := AFTER_ACCEPTING.get(fault.kind):
        answer = after(accept(), fault)
    else:
        answer = INSTEAD_OF_ACCEPTING[fault.kind](envelopes, fault)
    return replace(answer, result=fault.kind)
