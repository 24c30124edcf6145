"""What the flow needs from outside: a handful of small ports, and the values that cross them.

Adapters conform to these; the broker and the limiter in memory (``adapters/memory.py``) pass the same contract tests.
Expected failures are values here. Anything an adapter raises beyond what is documented is a bug.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from worker.core.accounts import Credentials
from worker.core.backlog import PlannedWait
from worker.core.batch import CallContent
from worker.core.delivery import Delivery, Publication
from worker.core.held_jobs import HeldMessage
from worker.core.journal import Claim, Doubts, HeldCopy, Record, Remembered, Resolution, Resolved, Told, Verdict
from worker.core.outcome import Response
from worker.core.picture import Picture
from worker.core.reports import Report
from worker.core.sendings import Ask, Found, SentJob, Trace
from worker.core.status import Depth, DrainResult, Held, Look

#: Seconds on a clock that only goes forward. The flow never reads the wall clock for a wait.
Monotonic = Callable[[], float]


class CannotStart(Exception):  # noqa: N818 - named for what it says to a person
    """Something outside is missing or refuses us at start: one sentence for a person, shown without a traceback."""


# --- Broker ----------------------------------------------------------------------------------------------


class PublishFailed(Exception):  # noqa: N818 - named for what happened
    """The broker did not confirm: it may or may not hold the message."""


class Publishing(Protocol):
    """The part of a ``Broker`` that takes publications."""

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        """See ``Broker``."""

    @property
    def can_publish(self) -> bool:
        """See ``Broker``."""


class Broker(Protocol):
    """Hands out deliveries, takes publications, and is told when a delivery is done with."""

    async def publish(self, publication: Publication) -> None:
        """Return once the broker has confirmed; raise ``PublishFailed`` when its connection ended before."""

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        """Publish all of them, in order and without waiting in between; each future ends as ``publish`` does."""

    @property
    def can_publish(self) -> bool:
        """Whether what is published now has a chance to be confirmed."""

    async def publisher_ready(self) -> None:
        """Wait until ``can_publish``."""

    def ack(self, delivery: Delivery) -> None:
        """Tell the broker soon that ``delivery`` is done with. Nothing happens when it is not ours any more."""

    def is_ours(self, delivery: Delivery) -> bool:
        """Whether the channel that handed over ``delivery`` is still open; if not, somebody will get it again."""

    async def consume(
        self, account: str, take: Callable[[Delivery], None], *, per_queue_max: int | None = None
    ) -> None:
        """Start handing the account's deliveries, of both lanes, to ``take``; goes on over reconnects.

        ``per_queue_max``: so many of each queue without an ack, if that is fewer than the broker was set up with.
        """

    async def pause(self, account: str) -> None:
        """Stop taking the account's jobs; those already handed over stay ours."""

    async def declare(self, account: str) -> None:
        """Declare one more account's queues, now and on every connection to come.

        Raises ``CannotStart`` when the broker does not have it so; nothing else is disturbed.
        """

    async def has_mark(self, account: str) -> bool:
        """Whether ``set_mark`` was ever called for the account, by whomever. Raises ``CannotStart``."""

    async def set_mark(self, account: str) -> None:
        """Leave a mark that the account's journal remembers something. Raises ``CannotStart``."""

    async def forget(self, account: str) -> None:
        """Give back what was handed over of a paused account, and declare it no more. Its queues stay. Never fails."""


class PublishUnconfirmed(PublishFailed):
    """What was published may or may not have been taken."""


# --- Limiter ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LimiterState:
    """What the limiter says of an account.

    ``pace_per_s``: slots a second in force. ``guard_s``: how much longer than a second the limit's slots take.
    ``lowered_to_per_s``: the limit that the vendor is found to keep to now; None: the configured one.
    ``closed_for_s``: no slots for so long (0: open). ``worst_second``: most slots in a rolling second lately.
    ``suspended``: why nothing may be sent, or "".
    """

    pace_per_s: float
    guard_s: float
    lowered_to_per_s: float | None
    closed_for_s: float
    worst_second: int
    suspended: str


@dataclass(frozen=True, slots=True)
class Slots:
    """Reserved slots at ``first_at_s + n * interval_s`` for n in 0..count-1, on the own monotonic clock.

    With ``count`` 0 nothing was to be had within reach: ask again at ``first_at_s``. ``proof`` belongs to the limiter.
    """

    count: int
    first_at_s: float
    interval_s: float
    state: LimiterState
    proof: object = None

    def at_s(self, n: int) -> float:
        """The moment of slot ``n``."""
        return self.first_at_s + n * self.interval_s


@dataclass(frozen=True, slots=True)
class Late:
    """A call left ``by_s`` later after its slot among ``slots`` than the guard makes good."""

    slots: Slots
    by_s: float


@dataclass(frozen=True, slots=True)
class LimiterAway:
    """No slot can be had because the store does not answer."""

    why: str


class Limiter(Protocol):
    """Gives out an account's slots, shared by all workers, and hears the API's refusals for all of them."""

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
        """Reserve up to ``count`` (at least 1) slots for ``account``; of a suspended one only for a probe.

        ``lead_s``: none sooner than this after the answer: so much takes what is done between a slot and its moment.
        ``jobs``: how many have left since the last question. ``late``: the latest departure since then, which moves
        the slots to come. ``has_stalled``: a call left late since then, or took unusually long.
        """

    async def give_back(self, account: str, slots: Slots, used: int) -> None:
        """Return all but the first ``used`` of ``slots``, as far as that is still useful; never fails."""

    async def refused(
        self, account: str, slots: Slots, n: int, *, spread_s: float, retry_after_s: float | None
    ) -> None:
        """React, for all workers, to a 429 for the call that left in slot ``n``; never fails.

        ``spread_s``: the spread of the call times lately (0: not known).
        """

    def answered(self, account: str, slots: Slots, n: int) -> None:
        """The call that left in slot ``n`` was answered properly; told with the next question."""

    async def failed(self, account: str, slots: Slots, n: int) -> bool:
        """The call that left in slot ``n`` was not answered properly.

        True when that was one too many in a row: the account is suspended now, for all workers. Never fails.
        """

    async def suspend(self, account: str, reason: str) -> bool:
        """No slots of ``account`` for any worker but for probes; ``reason`` "" ends that.

        False when the store does not answer: it may have been done all the same.
        """

    def set_limit(self, account: str, limit_per_s: float) -> None:
        """Add an account, or change its limit (calls per second that the API allows) from the next question on."""

    def forget(self, account: str) -> None:
        """The account is served here no more, and none of its calls is under way."""

    def on_news(self, account: str, listener: Callable[[], None]) -> None:
        """Have ``listener`` called when promised slots of ``account`` became worthless: closed, or suspended."""


# --- Journal ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim came to, and the job's record as it is now."""

    verdict: Verdict
    record: Record


@dataclass(frozen=True, slots=True)
class JournalAway:
    """The journal does not answer. What was asked may have been done all the same; it may be asked again."""

    why: str


class Journal(Protocol):
    """Remembers what was called for, shared by all workers: who has the claim, and how it ended."""

    async def claim(self, account: str, claims: Sequence[Claim]) -> list[Claimed] | JournalAway:
        """Claim each, before its call; the answers are in the same order."""

    def expect_memory(self, account: str) -> None:
        """Something was remembered before: if the store is empty at the first claim, it has forgotten."""

    def conclude(self, account: str, outcomes: Sequence[tuple[Claim, Record]]) -> Awaitable[list[bool] | JournalAway]:
        """Write down what came of each claim, before it is told; False where it was somebody else's meanwhile."""

    def tell(self, account: str, ends: Iterable[Told]) -> None:
        """These ends are told, and their deliveries acknowledged: no more than that is kept. Never fails."""

    async def resolve(self, account: str, resolutions: Sequence[Resolution]) -> list[Resolved] | JournalAway:
        """Resolve jobs in doubt; the answers are in the same order. Of several resolutions of a job only one decides.

        Asked again after an answer that was lost, one that was carried out is found by the record that comes back.
        """

    async def recall(self, account: str, copies: Sequence[HeldCopy]) -> list[Remembered] | JournalAway:
        """What is remembered of jobs held in doubt, in the same order. Held and forgotten, it counts as in doubt."""

    async def doubts(self, accounts: Iterable[str]) -> dict[str, Doubts] | JournalAway:
        """How many jobs of each account are in doubt, and since when."""


# --- Callbacks -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotTaken:
    """What the API told us could not be kept safe now; it is to tell it again. ``why``: a sentence, no phone number."""

    why: str


# --- Sendings and replies --------------------------------------------------------------------------------


class Sendings(Protocol):
    """Remembers which message went to whom for which job, and which reports of it were told. Shared by all.

    Workers leave traces, receivers look. What is asked again after an answer that was lost gets the same answer. An
    answer of ``JournalAway`` means that some of it, or all, may have been done all the same.
    """

    def note(self, account: str, traces: Sequence[Trace]) -> Awaitable[list[str] | JournalAway]:
        """Leave traces, of any number of jobs; ids of jobs of which a recipient got a second message are returned."""

    async def look(self, account: str, asks: Sequence[Ask]) -> list[Found] | JournalAway:
        """What is known of each report, in the same order; what is ours to tell then is nobody else's meanwhile."""

    async def assign(self, account: str, report: Report, job: SentJob) -> bool | JournalAway:
        """The message of ``report`` is one of ``job``, which was in doubt; True when it is a second one of it.

        Unless it is known as one of another job: then it stays that, and nothing is done.
        """

    async def told(self, account: str, asks: Sequence[Ask]) -> JournalAway | None:
        """These reports are told: their repeats are not told any more."""

    async def put_off(self, account: str, asks: Sequence[Ask]) -> JournalAway | None:
        """These are not told now; anybody may."""

    async def find(self, account: str, pairs: Sequence[tuple[str, str]]) -> list[SentJob | None] | JournalAway:
        """The jobs of (number, message id) pairs, where known."""


class ReplyBook(Protocol):
    """Remembers which replies were told. Shared by all receivers."""

    async def look(self, account: str, reply_ids: Sequence[str], token: str) -> list[ReplyFound] | JournalAway:
        """What is known of each, in the same order; those that are ``OURS`` are nobody else's meanwhile."""

    async def told(self, account: str, reply_ids: Sequence[str]) -> JournalAway | None:
        """These are told; told again, they are remembered for longer."""

    async def put_off(self, account: str, reply_ids: Sequence[str], token: str) -> JournalAway | None:
        """These are not told now; anybody may."""


class ReplyFound(enum.Enum):
    """What a ``ReplyBook`` knows of a reply."""

    OURS = enum.auto()
    """To be told, by whoever asked."""
    BUSY = enum.auto()
    TOLD = enum.auto()


class ReportQueue(Protocol):
    """The reports that have waited for a while, and are to be looked at again. Shared by all receivers."""

    async def next(self) -> list[HeldMessage]:
        """Wait until there are some: those that came, the oldest first, up to a bound. They are ours until let go."""

    async def done(self, messages: Sequence[HeldMessage]) -> None:
        """These are safe elsewhere. Nothing happens to those that are no longer ours. Never fails."""

    async def give_back(self, messages: Sequence[HeldMessage]) -> None:
        """Somebody else, or we ourselves later, may try; what is given back too often is a dead letter. Never fails."""

    def is_ours(self, message: HeldMessage) -> bool:
        """Whether the channel that handed it over is still open; if not, somebody will get it again."""


# --- Held jobs -------------------------------------------------------------------------------------------


class WalkFailed(Exception):  # noqa: N818 - named for what happened
    """A walk through held jobs ended early: one sentence for a person. What was not settled is in its queue."""


class HeldWalk(Protocol):
    """One way through the held jobs, message by message; what is not settled on the way stays held."""

    def messages(self) -> AsyncIterator[HeldMessage]:
        """Each message, the oldest first, as far as a walk goes. Raises ``WalkFailed``."""

    async def settle(self, message: HeldMessage, publications: Iterable[Publication]) -> None:
        """Publish all, in order, each confirmed, then let go of ``message``, which came last. Raises ``WalkFailed``."""


#: Begins a walk through the jobs in doubt, for as long as the context lasts. Raises ``CannotStart``.
OpenWalk = Callable[[], AbstractAsyncContextManager[HeldWalk]]


# --- Watching --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreLook:
    """What the shared store tells at a moment: ``buckets`` and ``held`` by account, and how workers have ended."""

    buckets: Mapping[str, Look]
    held: Mapping[str, Held]
    drains: Mapping[DrainResult, int]


class BacklogStore(Protocol):
    """What the backlog is told from, and where its planned waits are kept for workers to come. Nothing ever fails."""

    async def look(self, accounts: Sequence[str]) -> StoreLook | None:
        """What there is now; None while the store does not answer."""

    async def recall(self, accounts: Sequence[str]) -> Mapping[str, Sequence[PlannedWait]]:
        """The planned waits of the last day, of those of ``accounts`` of which that can be told now."""

    async def keep(self, waits: Mapping[str, PlannedWait]) -> None:
        """Keep these too, by account; while the store is away, some are lost."""


class QueueDepths(Protocol):
    """Tells how full queues are."""

    async def depths(self, queues: Sequence[str]) -> Mapping[str, Depth | None] | None:
        """Each queue's depth, None when there is no such queue; None for all when the broker does not tell."""


class Turn(Protocol):
    """Something that one worker at a time does, of all that share the store."""

    async def take(self, for_s: float) -> bool:
        """Whether it is ours now, for ``for_s`` from now on; taken again, it stays ours for longer. Never fails."""

    async def leave(self, for_s: float) -> None:
        """Nobody is to take it for ``for_s`` (0: anybody may), if it is ours. Never fails."""

    async def free(self) -> None:
        """Anybody may take it now, whoever has it or has left it. Never fails."""


# --- Suspects --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SuspectsAway:
    """No note could be left of a look, as far as is known; it may be tried again."""

    why: str


class Suspects(Protocol):
    """Notes on messages that are being looked at, shared by all workers; whose worker dies, its note stays."""

    async def begin(self, delivery: Delivery) -> int | SuspectsAway:
        """Leave a note that the message is looked at from now on; how many earlier notes were never taken away."""

    async def done(self, delivery: Delivery) -> None:
        """The look has ended, and nobody died: no notes on this message. Never fails."""


# --- API -------------------------------------------------------------------------------------------------


class Api(Protocol):
    """The MMS API, for one process and all accounts. Never repeats a call by itself."""

    async def send(self, account: str, content: CallContent, numbers: tuple[str, ...]) -> Response:
        """Make one ``send-mms`` call and say what came back."""

    async def account(self, account: str) -> Response:
        """Make one ``GET account`` call and say what came back."""

    async def responses(self, account: str, page: int) -> Response:
        """Make one ``GET get-responses`` call, for a page (from 1) of unread replies, and say what came back."""

    async def mark_read(self, account: str, message_ids: Sequence[str]) -> Response:
        """Make one ``POST inbound-read-bulk`` call for these replies, and say what came back."""

    async def warm_up(self, account: str, *, calls_per_s: float) -> None:
        """Open the account's connections before its first slot, so that cold ones do not bunch the first arrivals.

        As many as the calls of a second may need. Never fails, and takes a few seconds at most.
        """

    def set_credentials(self, account: str, credentials: Credentials) -> None:
        """Add an account, or change its key from the next call on."""

    async def forget(self, account: str) -> None:
        """The account is served here no more, and none of its calls is under way."""


# --- Media -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MediaRefused:
    """The picture at the URL can never be sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class MediaUnavailable:
    """The picture could not be had this time."""

    reason: str


class Media(Protocol):
    """Fetches the pictures that jobs name by URL."""

    def kept(self, url: str) -> Picture | MediaRefused | None:
        """What is known of ``url`` without asking anybody, or None."""

    async def fetch(self, url: str) -> Picture | MediaRefused | MediaUnavailable:
        """The picture at ``url``, checked by its bytes."""
