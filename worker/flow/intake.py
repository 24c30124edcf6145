"""What one account takes from the broker: how much at a time, and when nothing more.

The broker hands over as many deliveries as the prefetch allows, whatever their size, and at once. So an account
begins with as many as fit into its share of the held bytes even if all are of the largest size. When these have come,
it knows how large its jobs are, and takes more at a time: step by step, as TCP opens its window, since whichever worker
knew first would have all of a short backlog otherwise, and the others would wait. While too much is held all the same,
it takes none.

Nor does it take much more than leaves within ``AHEAD_S``: what is held here, other workers cannot send. Jobs that share
calls leave by the thousand, and jobs that do not one a slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from worker.core.delivery import Delivery, Lane
from worker.core.job import JOB_BYTES_MAX
from worker.flow.held import HeldBytes
from worker.flow.ports import Broker

AHEAD_S = 8.0
#: As many are held at least, so that what could share a call is seen.
HELD_MIN = 128
#: While more fit, so many times as many are taken at a time as before. To take more is to consume anew, and what was
#: brought before does not count against it: with all steps, half as many more as fit at most, until that has left.
MORE_BY = 4
#: Fewer are taken at a time only when it is fewer by this much: to begin anew costs two answers' time.
FEWER_BELOW = 0.25
#: How much of the running mean of sizes the newest delivery makes up.
NEWEST_WEIGHT = 1 / 64


class Intake:
    """Has the broker hand over the account's deliveries, or not, and counts the bytes that are held."""

    def __init__(
        self,
        *,
        account: str,
        prefetch: int,
        broker: Broker,
        held: HeldBytes,
        take: Callable[[Delivery], None],
        leaving_per_s: Callable[[], float],
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """``prefetch``: deliveries to hold per queue at most. ``leaving_per_s``: jobs that leave here at the most.

        ``start`` runs something beside everything else.
        """
        self._account = account
        self._prefetch = prefetch
        self._broker = broker
        self._share = held.open_share()
        self._held = held
        self._take = take
        self._leaving_per_s = leaving_per_s
        self._start = start
        self._mean_bytes = float(JOB_BYTES_MAX)
        self._received = 0
        #: Since it was last looked at how many fit.
        self._received_since = 0
        self._per_queue = 0
        #: As many were taken at a time last, pauses left out.
        self._last_per_queue = 0
        #: More fitted when this began: the next step is due.
        self._is_growing = False
        self._is_wanted = False
        self._is_full = False
        self._is_closed = False
        self._adjusting = asyncio.Lock()

    async def open(self) -> None:
        """Take deliveries from here on."""
        self._is_wanted = True
        await self._adjust()

    async def pause(self) -> None:
        """Take no more; what was handed over stays ours."""
        self._is_wanted = False
        await self._adjust()

    def set_prefetch(self, prefetch: int) -> None:
        """Hold so many deliveries per queue at most from here on; what is above it leaves in its turn."""
        self._prefetch = prefetch
        self._start(self._adjust())

    def close(self) -> None:
        """Count what comes no more: the account ends here, and the others may hold its share."""
        self._is_closed = True
        self._held.close_share(self._share)

    def done_with(self, deliveries: Iterable[Delivery]) -> None:
        """These are not held any more."""
        self._share.give_up(sum(len(delivery.body) for delivery in deliveries))

    def let_go(self) -> None:
        """After ``close``: nothing is held any more. What was, the broker has back."""
        self._share.give_up(self._share.held_bytes)

    def _receive(self, delivery: Delivery) -> None:
        if self._is_closed:
            return
        size_bytes = len(delivery.body)
        self._share.take(size_bytes)
        self._received += 1
        self._received_since += 1
        self._mean_bytes += (size_bytes - self._mean_bytes) * max(1 / self._received, NEWEST_WEIGHT)
        if not self._is_full and self._share.is_too_large:
            self._is_full = True
            self._start(self._wait_for_room())
        elif self._should_take_otherwise():
            self._start(self._adjust())
        self._take(delivery)

    def _fitting(self) -> int:
        """How many deliveries of each queue to hold: they fit into the share, and leave soon."""
        in_share = int(self._share.bytes_max / (self._mean_bytes * len(Lane)))
        leaving = max(HELD_MIN, round(self._leaving_per_s() * AHEAD_S))
        return max(1, min(self._prefetch, in_share, leaving))

    def _should_take_otherwise(self) -> bool:
        """Whether many more, or many fewer, are to be held; looked at when as many have come as are held at most."""
        if not 0 < self._per_queue <= self._received_since:
            return False
        self._received_since = 0
        fitting = self._fitting()
        many = self._per_queue + 1 if self._is_growing else min(2 * self._per_queue, self._prefetch)
        is_more = fitting >= many > self._per_queue
        return is_more or fitting < self._per_queue * FEWER_BELOW

    def _step(self) -> int:
        """How many deliveries of each queue to hold next; of several, the last is ``MORE_BY`` times the one before."""
        step = fitting = self._fitting()
        while step // MORE_BY >= 2 * self._last_per_queue > 0:
            step //= MORE_BY
        self._is_growing = step < fitting
        self._last_per_queue = step
        return step

    async def _adjust(self) -> None:
        """Bring the broker to what is wanted now."""
        async with self._adjusting:
            per_queue = self._step() if self._is_wanted and not self._is_full else 0
            if per_queue == self._per_queue:
                return
            if self._per_queue:
                await self._broker.pause(self._account)
            self._per_queue = per_queue
            if per_queue:
                await self._broker.consume(self._account, self._receive, per_queue_max=per_queue)

    async def _wait_for_room(self) -> None:
        await self._adjust()
        await self._share.small()
        self._is_full = False
        await self._adjust()
