"""What the command makes of the API's answer on an account, and how it shows it."""

from __future__ import annotations

import io

import orjson
import pytest
from rich.console import Console

from worker.commands.account import AccountSeen, State, account_seen, drawn
from worker.core.outcome import Answer, NeverLeft, Response
from worker.core.responses import read_question


def told(status: int = 200, code: str = "SUCCESS", **data: object) -> Answer:
    return Answer(status, orjson.dumps({"meta": {"code": status, "status": code}, "msg": "words", "data": data}))


def seen(reply: Response, *, suspended: str | None = "", low: float = 100.0) -> AccountSeen:
    return account_seen("acme", read_question(reply), suspended=suspended, low=low)


@pytest.mark.parametrize(
    ("reply", "state", "words"),
    [
        (told(mms_balance="1006.00"), State.WELL, None),
        (told(mms_balance="100.00"), State.WELL, None),
        (told(mms_balance="99.99"), State.LOW, "below 100"),
        (told(mms_balance="0.00"), State.USED_UP, "top it up"),
        (told(mms_balance="-1"), State.USED_UP, "top it up"),
        (told(), State.WELL, "tells no balance"),
        (told(401, "AUTH_FAILED"), State.REFUSED, "check its key"),
        (told(403, "NO_ACCESS"), State.REFUSED, "check its key"),
        (told(400, "LEDGER_ERROR"), State.USED_UP, "credit"),
        (told(429, "OVER_LIMIT"), State.UNKNOWN, "over its limit"),
        (told(404, "NOT_IMPLEMENTED"), State.UNKNOWN, "NOT_IMPLEMENTED"),
        (Answer(502, b"<html>"), State.UNKNOWN, "502"),
        (NeverLeft("no connection to the API: refused"), State.UNKNOWN, "no connection"),
    ],
)
def test_each_answer_has_its_state_and_its_reason(reply: Response, state: State, words: str | None) -> None:
    one = seen(reply)
    assert one.state is state
    assert (one.why is None) if words is None else (one.why is not None and words in one.why)


def test_everything_that_is_known_is_shown() -> None:
    well = seen(told(account_name="ACME Pty Ltd", mms_balance="1234.5", sms_balance="7"))
    suspended = seen(told(401, "AUTH_FAILED"), suspended="credentials")
    unknown = seen(NeverLeft("no connection"), suspended=None)
    shown = io.StringIO()
    Console(file=shown, width=160).print(drawn([well, suspended, unknown]))
    lines = shown.getvalue().splitlines()
    (of_well,) = [line for line in lines if "ACME Pty Ltd" in line]
    assert of_well.split() == ["acme", "ACME", "Pty", "Ltd", "well", "1,234.50", "7.00", "open"]
    assert any("refused" in line and "suspended: credentials" in line for line in lines)
    assert any(line.split()[-4:] == ["unknown", "-", "-", "-"] for line in lines)
    assert any(line.startswith("acme: no connection") for line in lines)


def test_no_words_of_the_api_are_taken_for_markup() -> None:
    shown = io.StringIO()
    Console(file=shown, width=160).print(drawn([seen(told(account_name="[red]x[/red]", mms_balance="500"))]))
    assert "[red]x[/red]" in shown.getvalue()


def test_no_words_of_the_api_reach_the_terminal_as_its_commands() -> None:
    wicked = "ACME\x1b[2J\x1b]0;x\x07\r\n\u202e"
    refused = Answer(401, orjson.dumps({"meta": {"code": 401, "status": "AUTH_FAILED"}, "msg": wicked, "data": []}))
    shown = io.StringIO()
    Console(file=shown, width=160).print(drawn([seen(told(account_name=wicked, mms_balance="500")), seen(refused)]))
    assert shown.getvalue().count("ACME") == 2
    assert all(character.isprintable() or character == "\n" for character in shown.getvalue())
