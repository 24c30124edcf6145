"""The ports in memory: products like the others, with the same contract tests; for tests and simulations.

They live on the event loop's own time, so that in a virtual-time loop days pass in milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from worker.adapters.memory_inbox import MemoryInbox
from worker.core.accounts import Credentials
from worker.core.batch import CallContent
from worker.core.bucket import Bucket, Grant, Reaction, Wish, fail, give_back, refuse, reserve, suspend, worst_second
from worker.core.delivery import COMEBACKS_HEADER, Delivery, Lane, Publication
from worker.core.outcome import Response
from worker.core.pace import calls_per_s, micro, rate_micro
from worker.core.picture import Picture
from worker.core.status import Depth
from worker.core.topology import (
    EVENTS_EXCHANGE,
    EVENTS_QUEUE,
    JOBS_EXCHANGE,
    REPORT_DELAYS_S,
    REPORTS_EXCHANGE,
    REPORTS_QUEUE,
    RETRY_DELAYS_S,
    UNROUTABLE_QUEUE,
    jobs_queue,
    report_wait_queue,
    retry_queue,
    routing_key,
)
from worker.flow.ports import (
    CannotStart,
    Late,
    LimiterAway,
    LimiterState,
    MediaRefused,
    MediaUnavailable,
    Monotonic,
    PublishFailed,
    Slots,
    SuspectsAway,
)

Take = Callable[[Delivery], None]


@dataclass(eq=False, slots=True)
class _Message:
    publication: Publication
    lane: Lane
    redelivered: bool = False
    comebacks: int = 0


class _Consumer(NamedTuple):
    queue: str
    time: int


@dataclass(eq=False, slots=True)
class _Session:
    """What one account's channel holds; a delivery is its own as long as it is open."""

    is_open: bool = True
    #: By number: for which consumer, and what it is.
    unacked: dict[int, tuple[_Consumer, _Message]] = field(default_factory=dict)
    held: Counter[_Consumer] = field(default_factory=Counter)
    #: How often it was consumed: what was brought before does not count against the next prefetch, as with RabbitMQ.
    times: int = 0


@dataclass(frozen=True, slots=True)
class _Receipt:
    session: _Session
    number: int


class MemoryServer:
    """The broker itself: queues by name, routing as in ``core/topology.py``. Several brokers may share it."""

    def __init__(self, accounts: Iterable[str]) -> None:
        self.queues: dict[str, deque[_Message]] = defaultdict(deque)
        self._lanes: dict[str, tuple[str, Lane]] = {}
        #: Accounts whose journals have begun to remember.
        self.marks: set[str] = set()
        for account in accounts:
            self.declare(account)
        self._delays_s = {retry_queue(delay_s): delay_s for delay_s in RETRY_DELAYS_S}
        self._report_delays_s = {report_wait_queue(delay_s): delay_s for delay_s in REPORT_DELAYS_S}
        self.changed: list[Callable[[], None]] = []

    def declare(self, account: str) -> None:
        """Have the account's jobs go to its queues."""
        self._lanes |= {routing_key(account, lane): (jobs_queue(account, lane), lane) for lane in Lane}

    def accept(self, publication: Publication) -> None:
        """Route a publication."""
        if publication.exchange in self._delays_s:
            delay_s = self._delays_s[publication.exchange]
            waiting = Publication(JOBS_EXCHANGE, publication.routing_key, publication.body, publication.headers)
            asyncio.get_running_loop().call_later(delay_s, self.accept, waiting)
            return
        if publication.exchange == REPORTS_EXCHANGE and publication.routing_key in self._report_delays_s:
            delay_s = self._report_delays_s[publication.routing_key]
            looked_at = Publication(REPORTS_EXCHANGE, REPORTS_QUEUE, publication.body, publication.headers)
            asyncio.get_running_loop().call_later(delay_s, self.accept, looked_at)
            return
        queue, lane = self._target(publication)
        self.queues[queue].append(_Message(publication, lane))
        self._tell()

    def publish_job(self, account: str, body: bytes, *, lane: Lane = Lane.BULK) -> None:
        """Publish as a producer does."""
        self.accept(Publication(JOBS_EXCHANGE, routing_key(account, lane), body, {}))

    def put_first(self, queue: str, message: _Message) -> None:
        """Return a message to the head of its queue."""
        message.redelivered = True
        message.comebacks += 1
        self.queues[queue].appendleft(message)
        self._tell()

    def depth(self, queue: str) -> Depth | None:
        """How full ``queue`` is; None when it was neither declared nor ever published to."""
        is_there = queue in self.queues or queue in dict(self._lanes.values())
        return Depth(len(self.queues[queue]), 0) if is_there else None

    def bodies(self, queue: str) -> list[bytes]:
        """What waits in ``queue``."""
        return [message.publication.body for message in self.queues[queue]]

    def headers(self, queue: str) -> list[dict[str, Any]]:
        """The headers of what waits in ``queue``."""
        return [dict(message.publication.headers) for message in self.queues[queue]]

    def _target(self, publication: Publication) -> tuple[str, Lane]:
        if publication.exchange == EVENTS_EXCHANGE:
            return EVENTS_QUEUE, Lane.BULK
        if publication.exchange == JOBS_EXCHANGE:
            return self._lanes.get(publication.routing_key, (UNROUTABLE_QUEUE, Lane.BULK))
        return publication.routing_key, Lane.BULK

    def _tell(self) -> None:
        for listener in self.changed:
            listener()


class MemoryBroker:
    """Implements the ``Broker`` port: one worker's connection to a ``MemoryServer``."""

    def __init__(self, server: MemoryServer, *, prefetch: int = 128, monotonic: Monotonic) -> None:
        self._server = server
        self._prefetch = prefetch
        self._monotonic = monotonic
        self._sessions: dict[str, _Session] = defaultdict(_Session)
        self._takes: dict[str, Take] = {}
        self._per_queue: dict[str, int] = {}
        self._numbers = 0
        self._publishable = asyncio.Event()
        self._publishable.set()
        #: Raised for the next publications, one each; a test's way to let them fail.
        self.publish_failures: deque[str] = deque()
        #: By account, why its queues cannot be declared; a test's way to let that fail.
        self.declare_failures: dict[str, str] = {}
        server.changed.append(self._deliver)

    async def publish(self, publication: Publication) -> None:
        """Publish, or fail as told."""
        await asyncio.sleep(0)
        await self._publishable.wait()
        if self.publish_failures:
            raise PublishFailed(self.publish_failures.popleft())
        self._server.accept(publication)

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        """Publish each, or fail as told."""
        return [asyncio.ensure_future(self.publish(publication)) for publication in publications]

    @property
    def can_publish(self) -> bool:
        """Whether a test lets it."""
        return self._publishable.is_set()

    async def publisher_ready(self) -> None:
        """Wait until a test lets it."""
        await self._publishable.wait()

    def block(self, *, is_blocked: bool) -> None:
        """Let publications wait, as a broker with an alarm does, or go on."""
        if is_blocked:
            self._publishable.clear()
        else:
            self._publishable.set()

    @property
    def held(self) -> int:
        """How many deliveries have no ack yet."""
        return sum(len(session.unacked) for session in self._sessions.values())

    def ack(self, delivery: Delivery) -> None:
        """Forget the delivery, if it is still ours."""
        receipt = delivery.receipt
        assert isinstance(receipt, _Receipt)  # noqa: S101 - only this adapter makes receipts
        consumer, _ = receipt.session.unacked.pop(receipt.number, (None, None))
        if consumer is not None:
            receipt.session.held[consumer] -= 1
            self._deliver()

    def is_ours(self, delivery: Delivery) -> bool:
        """Whether the delivery's session is open."""
        receipt = delivery.receipt
        assert isinstance(receipt, _Receipt)  # noqa: S101 - only this adapter makes receipts
        return receipt.session.is_open

    async def consume(self, account: str, take: Take, *, per_queue_max: int | None = None) -> None:
        """Start handing over."""
        self._takes[account] = take
        self._sessions[account].times += 1
        self._per_queue[account] = min(self._prefetch, per_queue_max or self._prefetch)
        self._deliver()

    async def pause(self, account: str) -> None:
        """Stop handing over."""
        self._takes.pop(account, None)

    async def declare(self, account: str) -> None:
        """Declare it, or refuse as told."""
        await asyncio.sleep(0)
        if (why := self.declare_failures.get(account)) is not None:
            raise CannotStart(why)
        self._server.declare(account)

    async def has_mark(self, account: str) -> bool:
        """Whether its journal has begun to remember."""
        return account in self._server.marks

    async def set_mark(self, account: str) -> None:
        """Note that it has."""
        self._server.marks.add(account)

    async def depths(self, queues: Sequence[str]) -> dict[str, Depth | None] | None:
        """Each queue's depth."""
        await asyncio.sleep(0)
        return {queue: self._server.depth(queue) for queue in queues}

    async def forget(self, account: str) -> None:
        """Give back what is held of it."""
        self._takes.pop(account, None)
        self._close_session(account)

    def disconnect(self) -> None:
        """Lose the connection, and have a new one at once: what was not acknowledged goes back to its queue."""
        for account in list(self._sessions):
            self._close_session(account)

    def _close_session(self, account: str) -> None:
        session = self._sessions.pop(account, None)
        if session is None:
            return
        session.is_open = False
        for consumer, message in reversed(list(session.unacked.values())):
            self._server.put_first(consumer.queue, message)

    def close(self) -> None:
        """Leave for good."""
        self._takes.clear()
        self.disconnect()
        self._server.changed.remove(self._deliver)

    def _deliver(self) -> None:
        for account, take in list(self._takes.items()):
            for lane in Lane:
                waiting = self._server.queues[jobs_queue(account, lane)]
                while waiting and self._held_now(account, lane) < self._per_queue[account]:
                    self._hand_over(account, lane, waiting.popleft(), take)

    def _held_now(self, account: str, lane: Lane) -> int:
        session = self._sessions[account]
        return session.held[_Consumer(jobs_queue(account, lane), session.times)]

    def _hand_over(self, account: str, lane: Lane, message: _Message, take: Take) -> None:
        self._numbers += 1
        session = self._sessions[account]
        consumer = _Consumer(jobs_queue(account, lane), session.times)
        session.unacked[self._numbers] = (consumer, message)
        session.held[consumer] += 1
        counted = {COMEBACKS_HEADER: message.comebacks} if message.comebacks else {}
        delivery = Delivery(
            account=account,
            lane=lane,
            body=message.publication.body,
            headers={**message.publication.headers, **counted},
            redelivered=message.redelivered,
            published_at=message.publication.published_at,
            received_at_s=self._monotonic(),
            receipt=_Receipt(session, self._numbers),
        )
        asyncio.get_running_loop().call_soon(take, delivery)


class MemoryLimiter:
    """Implements the ``Limiter`` port for workers of one process."""

    def __init__(self, *, limit_per_s: dict[str, float], span_us: int, monotonic: Monotonic) -> None:
        self._limit_micro = {account: micro(per_s) for account, per_s in limit_per_s.items()}
        self._span_us = span_us
        self._monotonic = monotonic
        self._buckets: dict[str, Bucket] = {}
        self._answered_us: Counter[str] = Counter()
        self._listeners: dict[str, list[Callable[[], None]]] = defaultdict(list)
        #: Set to a reason, the limiter is away.
        self.away: str | None = None

    def set_limit(self, account: str, limit_per_s: float) -> None:
        """Add an account, or change its limit."""
        self._limit_micro[account] = micro(limit_per_s)

    def forget(self, account: str) -> None:
        """The account is served here no more."""
        self._limit_micro.pop(account, None)
        self._listeners.pop(account, None)

    async def reserve(
        self,
        account: str,
        count: int,
        *,
        lead_s: float = 0.0,
        jobs: int = 0,
        late: Late | None = None,
        has_stalled: bool = False,
        is_probe: bool = False,
    ) -> Slots | LimiterAway:
        """Reserve up to ``count`` slots."""
        await asyncio.sleep(0)
        if self.away is not None:
            return LimiterAway(self.away)
        late_us, late_shift_us = (0, 0) if late is None else (int(late.by_s * 1e6), _grant(late.slots).shift_us)
        wish = Wish(
            count,
            self._span_us,
            lead_us=int(lead_s * 1e6),
            late_us=late_us,
            late_shift_us=late_shift_us,
            jobs=jobs,
            is_probe=is_probe,
            answered_us=self._answered_us[account],
            has_stalled=has_stalled,
        )
        now_us, limit_micro = self._now_us(), self._limit_micro[account]
        bucket, grant = reserve(self._buckets.get(account), wish, now_us=now_us, limit_micro=limit_micro)
        self._buckets[account] = bucket
        state = LimiterState(
            pace_per_s=calls_per_s(grant.row.interval_ns),
            guard_s=bucket.pace.guard_ns / 1e9,
            lowered_to_per_s=rate_micro(bucket.pace, limit_micro=limit_micro, now_us=now_us) / 1e6
            if bucket.pace.is_lowered
            else None,
            closed_for_s=max(0, bucket.closed_until_us - now_us) / 1e6,
            worst_second=worst_second(bucket),
            suspended=bucket.suspended,
        )
        return Slots(grant.row.count, grant.row.first_us / 1e6, grant.row.interval_ns / 1e9, state, grant)

    async def give_back(self, account: str, slots: Slots, used: int) -> None:
        """Return unused slots."""
        bucket = give_back(self._buckets.get(account), used=used, next_us=_grant(slots).next_us)
        if bucket is not None:
            self._buckets[account] = bucket

    async def refused(
        self, account: str, slots: Slots, n: int, *, spread_s: float, retry_after_s: float | None
    ) -> None:
        """React for all workers."""
        self._buckets[account], reaction = refuse(
            self._buckets.get(account),
            slot_us=_grant(slots).row.slot_us(n),
            spread_ns=int(spread_s * 1e9),
            retry_after_us=-1 if retry_after_s is None else int(retry_after_s * 1e6),
            now_us=self._now_us(),
            limit_micro=self._limit_micro[account],
        )
        if reaction is Reaction.PACE_LOWERED or retry_after_s:
            self._tell(account)

    def bucket_of(self, account: str) -> Bucket:
        """What is remembered of the account."""
        return self._buckets[account]

    def answered(self, account: str, slots: Slots, n: int) -> None:
        """Told with the next question."""
        self._answered_us[account] = max(self._answered_us[account], _grant(slots).row.slot_us(n))

    async def failed(self, account: str, slots: Slots, n: int) -> bool:
        """Note it; True when that suspends the account."""
        self._buckets[account], trips = fail(
            self._buckets.get(account), slot_us=_grant(slots).row.slot_us(n), now_us=self._now_us()
        )
        if trips:
            self._tell(account)
        return trips

    async def suspend(self, account: str, reason: str) -> bool:
        """Suspend or resume for all workers."""
        if self.away is not None:
            return False
        self._buckets[account] = suspend(self._buckets.get(account), reason, now_us=self._now_us())
        self._tell(account)
        return True

    def on_news(self, account: str, listener: Callable[[], None]) -> None:
        """Have ``listener`` called when promised slots became worthless."""
        self._listeners[account].append(listener)

    def _tell(self, account: str) -> None:
        for listener in self._listeners[account]:
            listener()

    def _now_us(self) -> int:
        return int(self._monotonic() * 1e6)


def _grant(slots: Slots) -> Grant:
    assert isinstance(slots.proof, Grant)  # noqa: S101 - only this adapter makes proofs
    return slots.proof


@dataclass(frozen=True, slots=True)
class SeenCall:
    """One call that reached the API in memory."""

    at_s: float
    account: str
    content: CallContent
    numbers: tuple[str, ...]


class MemoryApi:
    """Implements the ``Api`` port; ``answer`` decides what comes back, and when."""

    def __init__(self, answer: Callable[[SeenCall], Awaitable[Response]], *, monotonic: Monotonic) -> None:
        self._answer = answer
        self._monotonic = monotonic
        self.calls: list[SeenCall] = []
        #: What ``GET account`` answers.
        self.account_reply: Response | None = None
        #: Its replies, where there are any.
        self.inbox: MemoryInbox | None = None
        #: The keys in force.
        self.credentials: dict[str, Credentials] = {}

    async def send(self, account: str, content: CallContent, numbers: tuple[str, ...]) -> Response:
        """Note the call and answer."""
        call = SeenCall(self._monotonic(), account, content, numbers)
        self.calls.append(call)
        return await self._answer(call)

    async def account(self, account: str) -> Response:  # noqa: ARG002 - the port's
        """Answer as told."""
        assert self.account_reply is not None  # noqa: S101 - a test that probes says what is answered
        return self.account_reply

    async def responses(self, account: str, page: int) -> Response:  # noqa: ARG002 - the port's
        """Show the page."""
        assert self.inbox is not None  # noqa: S101 - a test that polls says of what
        return await self.inbox.responses(page)

    async def mark_read(self, account: str, message_ids: Sequence[str]) -> Response:  # noqa: ARG002 - the port's
        """Mark them."""
        assert self.inbox is not None  # noqa: S101 - as above
        return await self.inbox.mark_read(message_ids)

    async def warm_up(self, account: str, *, calls_per_s: float) -> None:
        """Nothing to open."""

    def set_credentials(self, account: str, credentials: Credentials) -> None:
        """Note the key."""
        self.credentials[account] = credentials

    async def forget(self, account: str) -> None:
        """Drop the key."""
        self.credentials.pop(account, None)


class MemorySuspects:
    """Implements the ``Suspects`` port for workers of one process."""

    def __init__(self) -> None:
        #: Looks that have not ended, by account and body.
        self.notes: Counter[tuple[str, bytes]] = Counter()
        #: Set to a reason, no note can be left.
        self.away: str | None = None

    async def begin(self, delivery: Delivery) -> int | SuspectsAway:
        """Count the look."""
        await asyncio.sleep(0)
        if self.away is not None:
            return SuspectsAway(self.away)
        self.notes[delivery.account, delivery.body] += 1
        return self.notes[delivery.account, delivery.body] - 1

    async def done(self, delivery: Delivery) -> None:
        """Forget the looks."""
        self.notes.pop((delivery.account, delivery.body), None)


class MemoryMedia:
    """Implements the ``Media`` port from a table."""

    def __init__(self, by_url: dict[str, Picture | MediaRefused | MediaUnavailable]) -> None:
        self._by_url = by_url
        #: By URL, how long it takes.
        self.delay_s: dict[str, float] = {}

    def kept(self, url: str) -> Picture | MediaRefused | None:  # noqa: ARG002 - the port's
        """Nothing is kept."""
        return None

    async def fetch(self, url: str) -> Picture | MediaRefused | MediaUnavailable:
        """Look it up."""
        await asyncio.sleep(self.delay_s.get(url, 0))
        return self._by_url.get(url, MediaUnavailable("nothing there"))
