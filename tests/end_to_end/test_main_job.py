"""The main job: jobs in, messages out, everyone told; and what stops it stops it well."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import jsonschema
import orjson
import pytest

from tests.end_to_end.conftest import KILL, TERM, System, Upstream
from tests.jobs import A_NUMBER, PNG, job_body
from worker.core.event_schema import event_schema

Connect = Callable[[], Awaitable[Upstream]]


async def test_jobs_are_sent_once_each_and_told(system: System, upstream: Connect) -> None:
    worker = system.start_worker()
    outside = await upstream()
    jobs = [job_body(f"j{n}", text=f"text {n}", to=[f"04000001{n:02d}"], reference=f"r{n}") for n in range(60)]
    await outside.publish(*jobs[:40])
    await outside.publish(*jobs[40:], key="acme.urgent")
    await outside.until_events(60)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(60)}
    accepted = system.simulator.control.accepted()
    assert sorted(one.text for one in accepted) == sorted(f"text {n}" for n in range(60))
    told = {one["message_id"] for event in outside.events for one in event["data"]["recipients"]}
    assert told == {one.message_id for one in accepted}
    validator = jsonschema.Draft202012Validator(event_schema())
    for event in outside.events:
        validator.validate(event)
    metrics = worker.metrics()
    assert metrics['mms_jobs_finished_total{account="acme",outcome="sent"}'] == 60
    assert metrics['mms_api_requests_total{account="acme",operation="send_mms",result="sent"}'] == 60
    assert metrics['mms_recipients_total{account="acme",result="sent"}'] == 60
    summary = system.simulator.control.summary()
    assert (summary.duplicates, summary.throttled_calls) == (0, 0)
    assert summary.worst_rolling_second <= 50


BROKEN: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"hello", "JSON"),
    "not UTF-8": (b"\xff\xfe\x00", "UTF-8"),
    "empty": (b"", "empty"),
    "a list": (b"[1, 2]", "object"),
    "wrong types": (orjson.dumps({"id": 7, "to": "x", "text": [], "media": 1}), "to"),
    "unknown field": (job_body(colour="red"), "colour"),
    "oversize": (job_body(text="x" * 2_000_000), "bytes"),
    "private address": (job_body("private-1", media={"url": "https://127.0.0.1/a.png"}), "127.0.0.1"),
    "private address, decimal": (job_body("private-2", media={"url": "https://2130706433/a.png"}), "2130706433"),
    "private address, IPv6": (job_body("private-3", media={"url": "https://[::1]/a.png"}), "::1"),
    "plain http": (job_body(media={"url": "http://cdn.example/a.png"}), "https"),
    "wrong type by bytes": (
        job_body(media={"data": base64.b64encode(PNG).decode(), "content_type": "image/gif"}),
        "content type",
    ),
    "not a picture": (job_body(media={"data": base64.b64encode(b"%PDF-1.4").decode()}), "media"),
    "NUL": (job_body(text="a\x00b"), "text"),
    "header injection": (job_body(subject="a\r\nX-Evil: 1"), "subject"),
    "too many characters": (job_body(text="x" * 1001), "1,000"),
    "no recipients": (job_body(to=[]), "to"),
    "a wrong number": (job_body(to=["12345"]), "to[0]"),
    "both media": (job_body(media={"url": "https://a.example/b", "data": "aa"}), "media"),
}


async def test_broken_jobs_end_with_a_reason_and_the_good_ones_in_between_are_sent(
    system: System, upstream: Connect
) -> None:
    system.start_worker()
    outside = await upstream()
    good = [job_body(f"good{n}", text=f"right-to-left مرحبا {n}") for n in range(len(BROKEN))]
    mixed = [body for (broken, _), fine in zip(BROKEN.values(), good, strict=True) for body in (broken, fine)]
    await outside.publish(*mixed)
    await outside.publish(job_body("nobody's"), key="unknown-account")
    await outside.until_events(2 * len(BROKEN))
    ends = outside.ends()
    assert all(ends[f"good{n}"] == ["sent"] for n in range(len(BROKEN)))
    letters = {letter.body: letter.headers["x-mms-reasons"] for letter in await outside.waiting("mms.dead")}
    for name, (body, word) in BROKEN.items():
        reasons = letters.pop(body)
        assert isinstance(reasons, list), name
        assert any(word in str(reason) for reason in reasons), (name, reasons)
    assert letters == {}
    assert [letter.body for letter in await outside.waiting("mms.unroutable")] == [job_body("nobody's")]
    assert len(system.simulator.control.accepted()) == len(BROKEN)


async def test_each_fault_ends_as_the_table_says(system: System, upstream: Connect) -> None:
    system.start_worker(MMS_READ_TIMEOUT_S="2")
    outside = await upstream()
    faults = {
        "500_after_accept": "in_doubt",
        "reset_after_accept": "in_doubt",
        "never": "in_doubt",
        "truncated_200": "in_doubt",
        "redirect": "in_doubt",
        "502_page": "in_doubt",
        "200_with_error_code": "refused",
        "unknown_fields": "sent",
    }
    await outside.publish(*(job_body(kind, text=f"[[fault:{kind}]]") for kind in faults))
    await outside.until_events(len(faults))
    assert outside.ends() == {kind: [end] for kind, end in faults.items()}
    held = [orjson.loads(letter.body)["id"] for letter in await outside.waiting("mms.in_doubt")]
    assert sorted(held) == sorted(kind for kind, end in faults.items() if end == "in_doubt")


async def test_throttled_jobs_come_back_and_are_sent_without_an_attempt_spent(
    system: System, upstream: Connect
) -> None:
    worker = system.start_worker()
    outside = await upstream()
    system.simulator.control.set_rate(10)
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(40)))
    async with asyncio.timeout(20):
        while not system.simulator.control.summary().throttled_calls:  # noqa: ASYNC110 - another process's count
            await asyncio.sleep(0.05)
    system.simulator.control.set_rate(50)
    await outside.until_events(40)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(40)}
    assert {event["data"]["attempt"] for event in outside.events} == {1}
    assert system.simulator.control.summary().duplicates == 0
    assert worker.metrics()['mms_jobs_requeued_total{account="acme",reason="throttled"}'] > 0


async def test_a_revoked_key_stops_the_account_and_keeps_its_jobs(system: System, upstream: Connect) -> None:
    worker = system.start_worker()
    outside = await upstream()
    system.simulator.control.revoke("key-acme")
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(30)))
    async with asyncio.timeout(20):
        while not worker.metrics()['mms_account_suspended{account="acme",reason="credentials"}']:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert outside.events == []
    assert system.simulator.control.summary().calls <= 5


async def test_sigterm_under_load_drains_and_another_worker_goes_on(system: System, upstream: Connect) -> None:
    first = system.start_worker()
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(150)))
    await outside.until_events(30)
    first.signal(TERM)
    assert first.wait() == 0, first.log()
    system.start_worker()
    await outside.until_events(150)
    await asyncio.sleep(0.3)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(150)}
    assert system.simulator.control.summary().duplicates == 0


@pytest.mark.parametrize("system", [{"rate_per_s": 50, "latency_ms": 5000, "latency_spread_ms": 0}], indirect=True)
async def test_a_second_sigterm_stops_at_once_and_tells_of_every_call(system: System, upstream: Connect) -> None:
    worker = system.start_worker()
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(100)))
    async with asyncio.timeout(20):
        while system.simulator.control.summary().calls < 20:  # noqa: ASYNC110 - another process's count
            await asyncio.sleep(0.02)
    worker.signal(TERM)
    await asyncio.sleep(0.2)
    worker.signal(TERM)
    assert worker.wait(4) == 1, worker.log()
    calls = system.simulator.control.summary().calls
    await outside.until_events(calls)
    assert {tuple(kinds) for kinds in outside.ends().values()} == {("in_doubt",)}
    waiting = await outside.waiting("mms.jobs.acme")
    assert len(waiting) + calls == 100
    assert len(await outside.waiting("mms.in_doubt")) == calls


async def test_kill_9_loses_nothing_and_sends_nothing_twice(system: System, upstream: Connect) -> None:
    # What was under way is in doubt once no call can last that long: 1 + 2 + 10 s.
    soon = {"MMS_CONNECT_TIMEOUT_S": "1", "MMS_READ_TIMEOUT_S": "2"}
    first = system.start_worker(**soon)
    system.start_worker(**soon)
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(200)))
    await outside.until_events(60)
    first.signal(KILL)
    first.wait()
    async with asyncio.timeout(50):
        while len(outside.ends()) < 200:  # noqa: ASYNC110 - the broker fills it
            await asyncio.sleep(0.05)
    ends = outside.ends()
    assert set(ends) == {f"j{n}" for n in range(200)}
    # An end that was told, and not yet acknowledged, is told again with the same id.
    assert {frozenset(kinds) for kinds in ends.values()} <= {frozenset({"sent"}), frozenset({"in_doubt"})}
    # Half of 50 calls a second with 20 ms each: one call or two of the killed worker were under way.
    in_doubt = {job_id for job_id, kinds in ends.items() if "in_doubt" in kinds}
    assert len(in_doubt) <= 3
    accepted = [one.text for one in system.simulator.control.accepted()]
    assert len(accepted) == len(set(accepted))
    assert {f"j{n}" for n in range(200) if f"t{n}" not in accepted} <= in_doubt


@pytest.mark.parametrize("system", [{"rate_per_s": 15}], indirect=True)
async def test_four_workers_share_one_limit_without_exceeding_it(system: System, upstream: Connect) -> None:
    for _ in range(4):
        system.start_worker(MMS_RATE_PER_S="15")
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(120)))
    await outside.until_events(120)
    summary = system.simulator.control.summary()
    assert summary.worst_rolling_second <= 15
    assert summary.throttled_calls == 0
    sent = [worker.metrics()['mms_jobs_finished_total{account="acme",outcome="sent"}'] for worker in system.workers]
    assert sum(sent) == 120
    assert min(sent) > 0


async def test_the_same_number_in_three_forms_is_one_recipient(system: System, upstream: Connect) -> None:
    system.start_worker()
    outside = await upstream()
    await outside.publish(job_body(to=["0400000001", "61400000001", "+61 400 000 001"]))
    await outside.until_events(1)
    assert [one.to for one in system.simulator.control.accepted()] == [A_NUMBER]
