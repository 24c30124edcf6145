"""Replies end to end: over six pages, with new ones while paging, and with the receiver killed at each step."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import httpx
import pytest

from tests.end_to_end.conftest import CALLBACK_TOKEN, System, Upstream
from worker.core.steps import ReplyStep

UNREAD = 130
REPLY = "mms.reply.received"
#: The failpoints, each with the passing at which it ends the receiver.
DEATHS = [
    ("replies_page_read", 1),
    ("replies_page_read", 4),
    ("replies_read", 1),
    ("replies_claimed", 1),
    ("replies_published", 1),
    ("replies_told", 1),
    ("replies_marked", 1),
]


def unread(system: System, account: str) -> int:
    return sum(not reply.is_read for reply in system.simulator.control.replies(f"key-{account}"))


def some_replies(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"from": f"+614{number:08}", "body": f"Reply {number}", "original_message_id": ""}
        for number in range(first, first + count)
    ]


def told(upstream: Upstream, account: str) -> Counter[str]:
    """Message id to the number of events with an id of their own."""
    ids = {
        (event["source"], event["id"], event["data"]["message_id"])
        for event in upstream.events
        if event["type"] == REPLY and event["data"]["account"] == account
    }
    return Counter(message_id for _, _, message_id in ids)


def untold(upstream: Upstream, ids: Mapping[str, Collection[str]]) -> dict[str, int]:
    """How many of each account's replies no event was heard of."""
    missing = {account: len(set(own) - set(told(upstream, account))) for account, own in ids.items()}
    return {account: count for account, count in missing.items() if count}


async def until(is_so: Callable[[], bool], limit_s: float, what: str) -> None:
    try:
        async with asyncio.timeout(limit_s):
            while not is_so():  # noqa: ASYNC110 - others make it so, in other processes
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"not within {limit_s} s: {what}")


async def test_unread_replies_over_six_pages_with_new_ones_while_paging_are_told_once_each(
    system: System, upstream: Callable[[], Any]
) -> None:
    control = system.simulator.control
    ids = list(control.add_replies("key-acme", some_replies(UNREAD)))
    receiver = system.start_receiver()
    events = await upstream()
    poller = system.start_receiver(MMS_REPLIES_POLL_S="1")
    for more in range(5):
        await until(lambda pages=more: pages_shown(system) > pages, 20, f"page {more + 1}")  # type: ignore[misc]
        ids += control.add_replies("key-acme", some_replies(3, UNREAD + 3 * more))
    # One of them comes by callback as well, more than once.
    again = {"from": "+61400000000", "body": "Reply 0", "message_id": ids[0], "type": "MMS"}
    async with httpx.AsyncClient() as vendor:
        for _ in range(2):
            assert (await vendor.post(f"{receiver.callbacks}/replies", json=again)).status_code == 200
    await until(lambda: unread(system, "acme") == 0, 30, "all are marked")
    await until(lambda: len(told(events, "acme")) == len(ids), 5, "all are heard of")
    assert told(events, "acme") == Counter(ids)
    # Nobody was killed: there is not even a repeat under the same id.
    assert sum(event["type"] == REPLY for event in events.events) == len(ids)
    counted = [process.metrics().items() for process in (receiver, poller)]
    assert sum(count for found in counted for name, count in found if name.startswith("mms_replies_total{")) == len(ids)
    assert control.summary("key-acme").worst_rolling_second <= 50


def pages_shown(system: System) -> int:
    return sum(call.operation == "get-responses" for call in system.simulator.control.calls())


@pytest.mark.timeout(150)
async def test_a_receiver_that_is_killed_at_any_step_loses_no_reply_and_tells_none_under_two_ids(
    system: System, upstream: Callable[[], Any]
) -> None:
    assert {name for name, _ in DEATHS} == {step.value for step in ReplyStep}
    control = system.simulator.control
    accounts = [f"a{number}" for number in range(len(DEATHS))]
    ids = {account: list(control.add_replies(f"key-{account}", some_replies(UNREAD))) for account in accounts}
    survivor = system.start_receiver(MMS_REPLIES_POLL_S="0")  # declares what the events go to
    events = await upstream()
    survivor.end()
    dying = [
        system.launch_receiver(
            MMS_ACCOUNT=account,
            MMS_APP_KEY=f"key-{account}",
            MMS_REPLIES_POLL_S="1",
            MMS_FAILPOINT=f"{step}:{nth}",
        )
        for account, (step, nth) in zip(accounts, DEATHS, strict=True)
    ]
    for account in accounts:
        ids[account] += control.add_replies(f"key-{account}", some_replies(5, UNREAD))
    for receiver in dying:
        await until(lambda process=receiver.process: process.poll() is not None, 60, receiver.log())  # type: ignore[misc]
        assert "failpoint_reached" in receiver.log()
    file = system.folder / "accounts.toml"
    file.write_text(
        "".join(
            f'[accounts.{account}]\napp_key = "key-{account}"\nrate_per_s = 50\ncallback_token = "{CALLBACK_TOKEN}"\n'
            for account in accounts
        )
    )
    alone: dict[str, str] = dict.fromkeys(("MMS_ACCOUNT", "MMS_APP_KEY", "MMS_RATE_PER_S", "MMS_CALLBACK_TOKEN"), "")
    system.start_receiver(**alone | {"MMS_ACCOUNTS_FILE": str(file), "MMS_REPLIES_POLL_S": "1"})
    await until(lambda: not any(unread(system, account) for account in accounts), 60, "all are marked")
    await until(lambda: not untold(events, ids), 5, "all are heard of")
    for account, (step, _) in zip(accounts, DEATHS, strict=True):
        assert told(events, account) == Counter(ids[account]), step
        copies = sum(event["type"] == REPLY and event["data"]["account"] == account for event in events.events)
        assert copies == len(ids[account]) or step == "replies_published", step
