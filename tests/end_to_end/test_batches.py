"""Jobs of equal content leave together: fewer calls, and still every recipient and every job on its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import orjson
import pytest

from loadtest.simulator.faults import Fault
from tests.end_to_end.conftest import System, Upstream
from tests.jobs import job_body

Connect = Callable[[], Awaitable[Upstream]]
OPTED_OUT = 7


def number(n: int) -> str:
    return f"+61400{n:06}"


@pytest.mark.parametrize("system", [{"rate_per_s": 15}], indirect=True)
async def test_every_recipient_once_with_opt_outs_repeated_numbers_and_faults(
    system: System, upstream: Connect
) -> None:
    worker = system.start_worker(MMS_RATE_PER_S="15")
    outside = await upstream()
    recipients = {f"j{n}": [number(n)] for n in range(1000)}
    recipients |= {f"wide{n}": [number(2000 + 100 * n + k) for k in range(100)] for n in range(20)}
    recipients |= {f"again{n}": [number(n), number(5000 + n)] for n in range(30)}
    opted_out = {number(n) for n in range(0, 1000, 1000 // OPTED_OUT)} | {number(2050)}
    for one in opted_out:
        system.simulator.control.opt_out(one)
    await outside.publish(*(job_body(name, to=to) for name, to in list(recipients.items())[:500]))
    await outside.until_events(1)
    for fault in (
        Fault("429_bare", count=2),
        Fault("500_after_accept", count=1),
        Fault("reset_before_accept", count=1),
    ):
        system.simulator.control.add_fault(fault)
    await outside.publish(*(job_body(name, to=to) for name, to in list(recipients.items())[500:]))
    await outside.until_events(len(recipients))

    ends = outside.ends()
    assert {name: len(kinds) for name, kinds in ends.items()} == dict.fromkeys(recipients, 1)
    in_doubt = {name for name, (end,) in ends.items() if end == "in_doubt"}
    refused = {name for name, (end,) in ends.items() if end == "refused"}
    assert refused <= {name for name, to in recipients.items() if set(to) <= opted_out}
    held = {orjson.loads(letter.body)["id"] for letter in await outside.waiting("mms.in_doubt")}
    assert held == in_doubt

    accepted = system.simulator.control.accepted()
    by_call = Counter((one.call, one.to) for one in accepted)
    assert max(by_call.values()) == 1, "a number twice in one call"
    times = Counter(one.to for one in accepted)
    for_sure = Counter(to for name in ends.keys() - in_doubt for to in recipients[str(name)] if to not in opted_out)
    perhaps = Counter(to for name in in_doubt for to in recipients[str(name)] if to not in opted_out)
    assert for_sure <= times <= for_sure + perhaps

    told = {
        one["message_id"]: (one["to"], event["data"]["job_id"])
        for event in outside.events
        for one in event["data"].get("recipients", [])
        if event["type"] == "mms.job.sent"
    }
    ids = {one.message_id: one.to for one in accepted}
    assert all(ids[message_id] == to and to in recipients[job] for message_id, (to, job) in told.items())
    assert Counter(to for to, _ in told.values()) == for_sure

    calls = system.simulator.control.summary()
    assert calls.calls_by_result["429_bare"] == 2
    assert calls.calls <= 60, "1,050 jobs of 3,060 recipients"
    metrics = worker.metrics()
    assert metrics["mms_jobs_per_call_sum"] >= len(recipients)
    assert metrics["mms_jobs_per_call_count"] == calls.calls


@pytest.mark.parametrize("system", [{"rate_per_s": 15}], indirect=True)
async def test_an_urgent_job_behind_a_backlog_is_accepted_within_three_calls(system: System, upstream: Connect) -> None:
    system.start_worker(MMS_RATE_PER_S="15")
    outside = await upstream()
    await outside.publish(*(job_body(f"bulk{n}", text=f"bulk {n}") for n in range(3000)))
    await outside.until_events(10)
    for n in range(5):
        await outside.publish(job_body(f"urgent{n}", text=f"urgent {n}"), key="acme.urgent")
        calls_before = system.simulator.control.summary().calls
        seen = len(outside.events)
        await outside.until_events(seen + 8)
        (urgent,) = [one for one in system.simulator.control.accepted() if one.text == f"urgent {n}"]
        assert urgent.call - calls_before < 3


async def test_nothing_is_put_together_when_a_call_may_carry_one_recipient(system: System, upstream: Connect) -> None:
    system.start_worker(MMS_RECIPIENTS_PER_CALL_MAX="1")
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", to=[number(n)]) for n in range(30)))
    await outside.publish(job_body("wide", to=[number(100), number(101)]))
    await outside.until_events(31)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(30)} | {"wide": ["sent"]}
    assert system.simulator.control.summary().calls == 31
