"""An API in trouble: slow to the byte, out, or closed to us; what it did not take is sent once it is well again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.end_to_end.conftest import System, Upstream, Worker
from tests.jobs import job_body

Connect = Callable[[], Awaitable[Upstream]]


def jobs(count: int, prefix: str = "") -> list[bytes]:
    return [job_body(f"j{prefix}{n}", text=f"t{prefix}{n}") for n in range(count)]


async def until(is_so: Callable[[], object], limit_s: float = 20) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


def is_suspended(worker: Worker, account: str, reason: str) -> bool:
    return worker.metrics()[f'mms_account_suspended{{account="{account}",reason="{reason}"}}'] == 1


async def test_an_answer_of_one_byte_a_second_is_in_doubt_in_time_and_holds_up_nobody(
    system: System, upstream: Connect
) -> None:
    system.start_worker(MMS_CONNECT_TIMEOUT_S="1", MMS_READ_TIMEOUT_S="2")
    outside = await upstream()
    slow = {kind: job_body(kind, text=f"[[fault:{kind}:1]]") for kind in ("slow_head", "slow_body")}
    await outside.publish(*slow.values(), *jobs(20))
    # Whole, each answer would take minutes.
    await outside.until_events(22, limit_s=15)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(20)} | {kind: ["in_doubt"] for kind in slow}


async def test_an_api_that_hangs_is_left_alone_and_what_waited_is_sent_when_it_is_back(
    system: System, upstream: Connect
) -> None:
    workers = [system.start_worker(MMS_READ_TIMEOUT_S="5", MMS_CONNECT_TIMEOUT_S="2") for _ in range(2)]
    outside = await upstream()
    await outside.publish(*jobs(250))
    await outside.until_events(50)
    system.simulator.control.outage("hang")
    await until(lambda: all(is_suspended(worker, "acme", "api") for worker in workers))
    sends = Counter(call.operation for call in system.simulator.control.calls())["send-mms"]
    await asyncio.sleep(2)
    assert Counter(call.operation for call in system.simulator.control.calls())["send-mms"] == sends
    system.simulator.control.outage(None)
    await outside.until_events(250, limit_s=40)
    ends = outside.ends()
    in_doubt = {job for job, kinds in ends.items() if kinds == ["in_doubt"]}
    assert ends == {f"j{n}": ["in_doubt" if f"j{n}" in in_doubt else "sent"] for n in range(250)}
    # At 50 calls a second: what left until the silence was noticed, and a call or two that went first.
    assert 0 < len(in_doubt) < 100
    accepted = Counter(one.text.replace("t", "j", 1) for one in system.simulator.control.accepted())
    assert accepted == {job: 1 for job in ends if job not in in_doubt}
    assert not any(is_suspended(worker, "acme", "api") for worker in workers)


async def test_a_key_that_is_restored_and_credit_that_is_topped_up_let_the_kept_jobs_go(
    system: System, upstream: Connect
) -> None:
    accounts = system.folder / "accounts.toml"
    names = {"shut": "credentials", "poor": "credit"}
    accounts.write_text("\n".join(f'[accounts.{name}]\napp_key = "{name}"\nrate_per_s = 50\n' for name in names))
    own = {"MMS_ACCOUNT": "", "MMS_APP_KEY": "", "MMS_RATE_PER_S": ""}
    worker = system.start_worker(MMS_ACCOUNTS_FILE=str(accounts), **own)
    outside = await upstream()
    api = system.simulator.control
    api.revoke("shut")
    api.set_credit("poor", 0)
    for name in names:
        await outside.publish(*jobs(30, name), key=name)
    await until(lambda: all(is_suspended(worker, name, reason) for name, reason in names.items()))
    assert outside.events == []
    api.restore("shut")
    api.set_credit("poor", None)
    await outside.until_events(60, limit_s=45)
    assert outside.ends() == {f"j{name}{n}": ["sent"] for name in names for n in range(30)}
    assert {event["data"]["attempt"] for event in outside.events} == {1}
    assert (api.summary().recipients_accepted, api.summary().duplicates) == (60, 0)
    assert not any(is_suspended(worker, name, reason) for name, reason in names.items())


@pytest.mark.parametrize("system", [{"rate_per_s": 50, "envelope": "error"}], indirect=True, ids=["error envelope"])
async def test_fields_that_nobody_knows_change_nothing(system: System, upstream: Connect) -> None:
    system.start_worker()
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"[[fault:unknown_fields]] {n}") for n in range(10)))
    await outside.until_events(10)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(10)}
    assert all(one["message_id"] for event in outside.events for one in event["data"]["recipients"])
