"""What held messages say, and that nothing in them can do harm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs import a_delivery, a_job, job_body
from worker.core.delivery import Lane
from worker.core.held_jobs import Filters, HeldJob, HeldMessage, Holding, printable, read_held
from worker.core.job import Rejected, decode
from worker.core.quoting import without_numbers
from worker.core.settlement import Moment, hold_in_doubt, reject

AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
NOW = Moment(at=AT, chance=0.0)


def held_as(holding: Holding, headers: dict[str, Any], body: bytes = b"") -> HeldJob:
    return read_held(HeldMessage(body, headers, None), holding)


def dead(body: bytes = b"", **headers: Any) -> HeldJob:
    return held_as(Holding.DEAD, {f"x-mms-{name.replace('_', '-')}": value for name, value in headers.items()}, body)


def death(queue: str, reason: str = "delivery_limit", **more: Any) -> dict[str, Any]:
    return {"queue": queue, "reason": reason, "count": 1, "exchange": "", "routing-keys": [queue], **more}


def test_what_the_worker_holds_in_doubt_is_read_again() -> None:
    body = job_body(to=["0400000001", "0400000002", "0400000001"], reference="crm:1")
    delivery = a_delivery(body, attempts=2, lane=Lane.URGENT)
    (message, _) = hold_in_doubt(delivery, a_job(), "HTTP 502", now=NOW).publications
    held = held_as(Holding.IN_DOUBT, dict(message.headers), message.body)
    assert (held.job_id, held.reference, held.account, held.lane) == ("job-1", "crm:1", "acme", Lane.URGENT)
    assert (held.since, held.attempts, held.recipients, held.why) == (AT, 3, 2, ("HTTP 502",))
    assert held.age_s(AT + timedelta(hours=1)) == 3_600


def test_what_the_worker_makes_a_dead_letter_is_read_again() -> None:
    body = job_body(to=["12", "0400000001"])
    rejected = decode(body, region="AU")
    assert isinstance(rejected, Rejected)
    (message, _) = reject(a_delivery(body), rejected, now=NOW).publications
    held = held_as(Holding.DEAD, dict(message.headers), message.body)
    assert (held.job_id, held.account, held.lane, held.since, held.attempts) == ("job-1", "acme", Lane.BULK, AT, 0)
    assert held.why == rejected.reasons
    assert (held.redrives, held.resolutions) == (0, 0)


def test_what_the_broker_moved_there_is_found_by_its_latest_death_in_an_accounts_queue() -> None:
    headers = {
        "x-mms-attempts": 2,
        "x-death": [death("mms.jobs.acme.urgent", time=datetime(2026, 11, 22, 3, 4, 5)), death("mms.retry.5s")],  # noqa: DTZ001 - as pamqp may read it
        "x-first-death-queue": "mms.retry.5s",
    }
    held = held_as(Holding.DEAD, headers, job_body())
    assert (held.account, held.lane, held.since, held.attempts) == ("acme", Lane.URGENT, AT, 2)
    assert held.why == (
        "the broker moved it here from mms.jobs.acme.urgent: it was handed out too often without an end",
    )


def test_a_report_that_the_broker_moved_there_says_so() -> None:
    ended = death("mms.reports", time=datetime(2026, 11, 22, 3, 4, 5))  # noqa: DTZ001 - as pamqp may read it
    headers = {
        "x-mms-account": "acme",
        "x-mms-waited-s": 3,
        "x-death": [ended, death("mms.reports.wait.3s", "expired")],
    }
    held = held_as(Holding.DEAD, headers, b'{"message_id": "m-1"}')
    assert (held.job_id, held.account, held.since) == (None, "acme", AT)
    assert held.why == ("the broker moved it here from mms.reports: it was handed out too often without an end",)


def test_without_the_list_of_deaths_the_first_one_counts() -> None:
    held = held_as(Holding.DEAD, {"x-first-death-queue": "mms.jobs.acme", "x-first-death-reason": "maxlen"})
    assert (held.account, held.lane, held.since) == ("acme", Lane.BULK, None)
    assert held.why == ("the broker moved it here from mms.jobs.acme: the queue was full",)


@pytest.mark.parametrize("account", [None, "", 7, "a.urgent", "a b", "x" * 65, ["acme"], "#", "acme\n"])
def test_an_account_that_no_worker_could_have_is_not_said(account: object) -> None:
    assert dead(account=account).account is None
    assert held_as(Holding.DEAD, {"x-death": [death(f"mms.jobs.{account}x.y.urgent")]}).account is None


@pytest.mark.parametrize("count", [None, "3", True, -1, 10**9, 2.0])
def test_an_odd_count_is_none(count: object) -> None:
    held = dead(attempts=count, redrives=count, resolutions=count)
    assert (held.attempts, held.redrives, held.resolutions) == (0, 0, 0)


@pytest.mark.parametrize("since", [None, "yesterday", 5, "2026-13-01T00:00:00Z", b"x"])
def test_an_odd_time_is_not_said(since: object) -> None:
    assert dead(dead_at=since).since is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"id": 5, "to": "x"}',
        b"\xff",
        b"[" * 100_000,
        b'{"id": ""}',
        b'{"id": "x", "to": []}' + b" " * 2_000_000,
    ],
)
def test_a_body_that_says_nothing_breaks_nothing(body: bytes) -> None:
    held = dead(body, reasons="one sentence")
    assert (held.job_id, held.reference, held.recipients, held.why) == (None, None, None, ("one sentence",))


FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["x-mms-reasons", "x-mms-account", "x-mms-lane", "x-mms-attempts", "x-mms-dead-at", "x-mms-in-doubt-since",
     "x-mms-in-doubt-why", "x-mms-redrives", "x-death", "x-first-death-queue"]
)  # fmt: skip


@given(headers=st.dictionaries(NAMES, FIELDS), body=st.binary(max_size=50), holding=st.sampled_from(Holding))
def test_no_message_breaks_the_reading(headers: dict[str, Any], body: bytes, holding: Holding) -> None:
    held = held_as(holding, headers, body)
    assert held.shown_why
    assert held.shown_why.isprintable()
    Filters(reason="x", older_than_s=1).fit(held, AT)


# --- For people ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("to[0]: '0412 345 67' is no mobile number of this region", "to[0]: '…' is no mobile number of this region"),
        ("can be read as +61412345678 or +8613912345678; write", "can be read as … or …; write"),
        ("'04/1234/5678' is no phone number", "'…' is no phone number"),
        ("(04) 1234-5678, (0011 61) 4.1234.5678", "(…, (…"),
        ("\uff14\uff11\uff12\uff13\uff14\uff15\uff16 in full width", "… in full width"),
        ("HTTP 502 after 30.5 s, at most 380,000 bytes, at most 1,000", None),
        ("such as 2026-11-22T03:04:05Z (RFC 3339)", None),
        ("text: has 'x' at character 12", None),
    ],
)
def test_nothing_that_may_be_a_phone_number_is_shown(words: str, shown: str | None) -> None:
    assert without_numbers(words) == (words if shown is None else shown)


@given(number=st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True), as_list=st.booleans())
def test_a_number_that_was_refused_is_not_shown(number: str, *, as_list: bool) -> None:
    body = job_body(to=[number, "1"] if as_list else [number])
    rejected = decode(body, region="AU")
    reasons = rejected.reasons if isinstance(rejected, Rejected) else (f"sent to {number}",)
    assert number.lstrip("+") not in dead(body, reasons=list(reasons)).shown_why


def test_what_a_job_says_of_itself_cannot_write_on_the_terminal() -> None:
    assert printable("a\x1b[31m\nb\u202ec") == "a�[31m�b�c"


# --- Choosing --------------------------------------------------------------------------------------------

OLD = dead(
    job_body("old"),
    account="acme",
    reasons=["gave up after 8 attempts", "HTTP 502"],
    dead_at="2026-11-22T01:04:05.000Z",
)
NEW = dead(job_body("new"), account="other", reasons=["text: is missing"], dead_at="2026-11-22T03:03:05.000Z")
UNDATED = dead(orjson.dumps({"id": "undated"}))


@pytest.mark.parametrize(
    ("filters", "fitting"),
    [
        (Filters(), [OLD, NEW, UNDATED]),
        (Filters(account="acme"), [OLD]),
        (Filters(account="acme.urgent"), []),
        (Filters(ids=frozenset({"new", "undated", "nobody"})), [NEW, UNDATED]),
        (Filters(reason="GAVE up"), [OLD]),
        (Filters(reason="http 502"), [OLD]),
        (Filters(older_than_s=3_600), [OLD]),
        (Filters(older_than_s=7_200), []),
        (Filters(newer_than_s=60), []),
        (Filters(newer_than_s=3_600), [NEW]),
        (Filters(older_than_s=30, newer_than_s=7_201), [OLD, NEW]),
        (Filters(account="acme", newer_than_s=3_600), []),
    ],
)
def test_a_job_is_meant_when_it_fits_every_filter(filters: Filters, fitting: list[HeldJob]) -> None:
    assert [held for held in (OLD, NEW, UNDATED) if filters.fit(held, AT)] == fitting
