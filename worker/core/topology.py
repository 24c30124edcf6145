"""The names and shapes of everything that lives in the broker (pure).

Fixed for producers and operators: exchanges ``mms.jobs`` and ``mms.events``, the queues below. All queues are
quorum queues, but the event log, which is a stream; everything is durable.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from worker.core.delivery import Lane

JOBS_EXCHANGE = "mms.jobs"
EVENTS_EXCHANGE = "mms.events"
UNROUTABLE_EXCHANGE = "mms.unroutable"
#: What receivers publish reports to that wait: it leads to the queues below by their names, and nowhere else. With the
#: default exchange, which leads everywhere, whoever takes over a receiver could make jobs.
REPORTS_EXCHANGE = "mms.reports"

DEAD_QUEUE = "mms.dead"
IN_DOUBT_QUEUE = "mms.in_doubt"
UNROUTABLE_QUEUE = "mms.unroutable"
EVENTS_QUEUE = "mms.events.log"
#: Delivery reports that are looked at again: of messages that nobody knew when they came.
REPORTS_QUEUE = "mms.reports"
_JOBS_QUEUE, _URGENT = "mms.jobs.", ".urgent"
_ACCOUNT_NAME = re.compile("[A-Za-z0-9_-]{1,64}")

#: The fixed delays of the retry queues, in seconds. One delay per queue: expiry happens only at a queue's head.
RETRY_DELAYS_S = (1, 5, 15, 60, 300)

#: The fixed delays of the queues in which such reports wait. The answer to a send mostly comes within seconds; the
#: reports of messages that something else sent for the account wait in vain, and are not to go round too often.
REPORT_DELAYS_S = (3, 20)
#: Reports that wait there at most, of each delay. One more is not taken, and the vendor has to repeat it.
REPORTS_WAITING_MAX = 500_000

#: A job that came back this often without an end (each time its worker died or left) goes to mms.dead, moved there by
#: the broker itself; and a report that waited. On purpose far above what ``core/quarantine.py`` needs to find a message
#: that ends its workers, and above what restarts of a busy pool reach. Said in the queue's own arguments: RabbitMQ 3.10
#: has no limit of its own, and 4.x has 20. Both count the ends of channels and connections, and both tell the count in
#: ``x-delivery-count``. (A policy in the broker may set a lower limit; the lower one of the two holds.)
DELIVERY_LIMIT = 100
#: Of the queues that people look through. Each look hands every message out and takes it back, which counts as a
#: delivery, and RabbitMQ 4 drops a message after 20 of them unless the queue says otherwise. A quorum queue's limit is
#: a non-negative integer (only some versions know -1 for none), so: more looks than there will ever be.
LOOKED_THROUGH_LIMIT = 1_000_000_000
EVENT_LOG_BYTES_MAX = 2_000_000_000
EVENT_LOG_AGE_MAX = "7D"
EVENT_LOG_SEGMENT_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange to declare; ``kind`` is AMQP's type."""

    name: str
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to declare, and the (exchange, routing key) pairs that it is bound with."""

    name: str
    arguments: dict[str, Any]
    bindings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """What a worker for some accounts needs in the broker, in the order of declaration.

    ``of_others``: names of what is declared only where it is missing, and is bound to nothing of that kind then.
    """

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    of_others: frozenset[str] = frozenset()

    @property
    def shared(self) -> Topology:
        """What all accounts have in common."""
        return replace(self, queues=tuple(queue for queue in self.queues if account_and_lane(queue.name) is None))

    def part(self, exchanges: Collection[str], queues: Collection[str]) -> Topology:
        """What is called so, with the bindings between them."""
        return Topology(
            tuple(exchange for exchange in self.exchanges if exchange.name in exchanges),
            tuple(
                replace(queue, bindings=tuple(binding for binding in queue.bindings if binding[0] in exchanges))
                for queue in self.queues
                if queue.name in queues
            ),
        )

    @property
    def accounts(self) -> tuple[str, ...]:
        """Whose queues are in it."""
        owners = (account_and_lane(queue.name) for queue in self.queues)
        return tuple(dict.fromkeys(owner[0] for owner in owners if owner is not None))


def is_account_name(text: str) -> bool:
    """Whether an account can have this name. Anything else is a routing key that leads nowhere, or to another lane."""
    return _ACCOUNT_NAME.fullmatch(text) is not None


def routing_key(account: str, lane: Lane) -> str:
    """The routing key of ``mms.jobs`` that producers use."""
    return account if lane is Lane.BULK else f"{account}{_URGENT}"


def jobs_queue(account: str, lane: Lane) -> str:
    """The queue that holds an account's waiting jobs of one lane."""
    return f"{_JOBS_QUEUE}{routing_key(account, lane)}"


def account_and_lane(queue: str) -> tuple[str, Lane] | None:
    """Whose jobs of which lane wait in ``queue``; None when it is not an account's."""
    key = queue.removeprefix(_JOBS_QUEUE)
    account = key.removesuffix(_URGENT)
    if key == queue or not account:
        return None
    return account, Lane.BULK if account == key else Lane.URGENT


def journal_mark(account: str) -> Exchange:
    """Its existence is the mark that the account's journal has begun to remember; nothing is published there."""
    return Exchange(f"mms.journal.{account}", "fanout")


def retry_queue(delay_s: int) -> str:
    """The queue in which a job waits ``delay_s`` seconds; also the name of the exchange that feeds it."""
    return f"mms.retry.{delay_s}s"


def retry_delay_at_least(wait_s: float) -> int:
    """The shortest fixed delay that covers ``wait_s``, or the longest there is."""
    return next((delay for delay in RETRY_DELAYS_S if delay >= wait_s), RETRY_DELAYS_S[-1])


def report_wait_queue(delay_s: int) -> str:
    """The queue in which a report waits ``delay_s`` seconds, one of ``REPORT_DELAYS_S``, before it is looked at."""
    return f"{REPORTS_QUEUE}.wait.{delay_s}s"


def topology(accounts: Iterable[str]) -> Topology:
    """Everything there is, with ``accounts``."""
    return Topology(
        exchanges=(
            Exchange(UNROUTABLE_EXCHANGE, "fanout"),
            Exchange(JOBS_EXCHANGE, "direct", {"alternate-exchange": UNROUTABLE_EXCHANGE}),
            Exchange(EVENTS_EXCHANGE, "topic"),
            *(Exchange(retry_queue(delay_s), "fanout") for delay_s in RETRY_DELAYS_S),
            Exchange(REPORTS_EXCHANGE, "direct"),
        ),
        queues=(
            Queue(UNROUTABLE_QUEUE, _quorum(delivery_limit=LOOKED_THROUGH_LIMIT), ((UNROUTABLE_EXCHANGE, ""),)),
            Queue(DEAD_QUEUE, _quorum(delivery_limit=LOOKED_THROUGH_LIMIT), ((REPORTS_EXCHANGE, DEAD_QUEUE),)),
            Queue(IN_DOUBT_QUEUE, _quorum(delivery_limit=LOOKED_THROUGH_LIMIT)),
            _event_log(),
            *(_retry(delay_s) for delay_s in RETRY_DELAYS_S),
            Queue(REPORTS_QUEUE, _limited(REPORTS_EXCHANGE), ((REPORTS_EXCHANGE, REPORTS_QUEUE),)),
            *(_report_wait(delay_s) for delay_s in REPORT_DELAYS_S),
            *(queue for account in accounts for queue in jobs_queues(account)),
        ),
    )


def for_sending(accounts: Iterable[str]) -> Topology:
    """What a worker declares."""
    everything = topology(accounts)
    reports = _reports_queues()
    return everything.part(
        [exchange.name for exchange in everything.exchanges if exchange.name != REPORTS_EXCHANGE],
        [queue.name for queue in everything.queues if queue.name not in reports],
    )


def for_receiving() -> Topology:
    """What a receiver declares.

    It faces the internet. Whoever may declare a thing may delete it, and whoever may bind to the events may read them;
    so what is not of reports alone is the workers' to declare, where there are workers.
    """
    needed = topology(()).part({EVENTS_EXCHANGE, REPORTS_EXCHANGE}, {EVENTS_QUEUE, DEAD_QUEUE, *_reports_queues()})
    return replace(needed, of_others=frozenset({EVENTS_EXCHANGE, EVENTS_QUEUE, DEAD_QUEUE}))


def _reports_queues() -> set[str]:
    return {REPORTS_QUEUE, *map(report_wait_queue, REPORT_DELAYS_S)}


def _quorum(**arguments: object) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        **{f"x-{name.replace('_', '-')}": value for name, value in arguments.items()},
    }


def _handed_on_to(exchange: str) -> dict[str, Any]:
    """Dead-lettering that waits for the target's confirm; the default (at most once) can lose a job on the way."""
    return _quorum(dead_letter_exchange=exchange, dead_letter_strategy="at-least-once", overflow="reject-publish")


def _limited(through: str = "") -> dict[str, Any]:
    """What is handed out too often without an end goes to ``mms.dead``, through that exchange."""
    return {
        **_handed_on_to(through),
        "x-dead-letter-routing-key": DEAD_QUEUE,
        "x-delivery-limit": DELIVERY_LIMIT,
    }


def jobs_queues(account: str) -> tuple[Queue, ...]:
    """The queues of one account, bound so that its jobs find them."""
    return tuple(
        Queue(jobs_queue(account, lane), _limited(), ((JOBS_EXCHANGE, routing_key(account, lane)),)) for lane in Lane
    )


def _retry(delay_s: int) -> Queue:
    """Without a dead-letter routing key a job keeps its own, and so finds back to its account and lane."""
    name = retry_queue(delay_s)
    return Queue(name, {**_handed_on_to(JOBS_EXCHANGE), "x-message-ttl": delay_s * 1000}, ((name, ""),))


def _report_wait(delay_s: int) -> Queue:
    name = report_wait_queue(delay_s)
    arguments = {
        **_handed_on_to(REPORTS_EXCHANGE),
        "x-dead-letter-routing-key": REPORTS_QUEUE,
        "x-message-ttl": delay_s * 1000,
        "x-max-length": REPORTS_WAITING_MAX,
    }
    return Queue(name, arguments, ((REPORTS_EXCHANGE, name),))


def _event_log() -> Queue:
    return Queue(
        EVENTS_QUEUE,
        {
            "x-queue-type": "stream",
            "x-max-length-bytes": EVENT_LOG_BYTES_MAX,
            "x-max-age": EVENT_LOG_AGE_MAX,
            "x-stream-max-segment-size-bytes": EVENT_LOG_SEGMENT_BYTES,
        },
        ((EVENTS_EXCHANGE, "#"),),
    )
