"""Delivery reports that waited in the broker: each leaves the queue when it is safe, and holds up no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tests.unit.flow.reporting import DECIDED_S, Vendor, a_report
from tests.virtual_time import run_virtual
from worker.core.delivery import Publication
from worker.core.held_jobs import HeldMessage
from worker.core.sendings import Ask
from worker.core.topology import REPORT_DELAYS_S, REPORTS_EXCHANGE, REPORTS_QUEUE, report_wait_queue
from worker.flow.observations import (
    ReportRepeated,
    Surprise,
)


def test_what_cannot_be_read_is_buried_with_the_reason_and_the_others_go_on() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.broker.publish_failures.append("connection lost")
        vendor.server.accept(Publication(REPORTS_EXCHANGE, REPORTS_QUEUE, b"{", {"x-mms-account": "acme"}))
        receiver.looks()
        await asyncio.sleep(2)
        (headers,) = vendor.server.headers("mms.dead")
        assert headers["x-mms-reasons"] == ["mms.reports: its body is not JSON"]
        await receiver.take(a_report())
        await vendor.sent()
        await asyncio.sleep(4)
        assert len(vendor.told()) == 1
        await receiver.dies()

    run_virtual(story())


def test_what_is_safe_leaves_the_queue_though_another_cannot_be_taken() -> None:
    """Were all of them taken in again, each try would leave one more copy of all that wait on."""

    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        put_aside: Counter[bytes] = Counter()
        accept = vendor.server.accept

        def counted(publication: Publication) -> None:
            put_aside[publication.body] += publication.routing_key in map(report_wait_queue, REPORT_DELAYS_S)
            accept(publication)

        vendor.server.accept = counted  # type: ignore[method-assign]
        reports = [a_report(f"m{n}", to=f"+6140000{n:04}") for n in range(20)]
        await receiver.take(*reports)
        await vendor.sendings.told("acme", [Ask(reports[2], "of another one")])
        done = receiver.queue.done
        let_go: Counter[object] = Counter()

        async def once(messages: Sequence[HeldMessage]) -> None:
            let_go.update(message.receipt for message in messages)
            await done(messages)

        # As on a broker: the channel is open also after the message was let go, and a second time would close it.
        receiver.queue.is_ours = lambda message: message is not None  # type: ignore[method-assign]
        receiver.queue.done = once  # type: ignore[method-assign]
        receiver.looks()
        for _ in range(6):
            await vendor.sendings.look("acme", [Ask(replace(reports[0], status="failed"), "of one that dies again")])
            await asyncio.sleep(10)
        await vendor.sent("job-1", "m1", to=reports[1].to)
        await asyncio.sleep(2 * DECIDED_S)
        assert sorted(vendor.told()) == sorted(
            (one.message_id, one.status, "job-1" if one is reports[1] else None)
            for one in reports
            if one is not reports[2]
        )
        assert max(put_aside.values()) <= 7
        assert set(let_go.values()) == {1}
        assert len(vendor.observed(ReportRepeated)) == 1
        await receiver.dies()

    run_virtual(story())


def test_a_report_that_trips_over_a_bug_is_a_dead_letter_in_the_end_and_holds_up_no_other() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        look = vendor.sendings.look

        async def trips(account: str, asks: list[Ask]) -> object:
            if any(ask.report.message_id == "bad" for ask in asks):
                raise KeyError("bug")
            return await look(account, asks)

        for n in (1, 2, 3):
            await receiver.take(a_report(f"m{n}"))
        await receiver.take(a_report("bad"))
        vendor.sendings.look = trips  # type: ignore[method-assign, assignment]
        for n in (1, 2, 3):
            await vendor.sent("job-1", f"m{n}")
        receiver.looks()
        await asyncio.sleep(5)
        assert len(vendor.told()) == 3
        await asyncio.sleep(300)
        assert [headers["x-mms-account"] for headers in vendor.server.headers("mms.dead")] == ["acme"]
        assert len(vendor.observed(Surprise)) >= 100
        assert vendor.failures == []
        await receiver.dies()

    run_virtual(story())
