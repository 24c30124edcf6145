"""What the flow tells whoever watches: one frozen value per happening. Metrics and logs subscribe."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.core.accounts import AccountsChange
from worker.core.delivery import Lane
from worker.core.events import ResolvedAs
from worker.core.outcome import SuspendedBecause
from worker.core.reports import ReportStatus
from worker.core.settlement import End, RequeueReason
from worker.core.status import AccountState, DrainResult
from worker.flow.ports import LimiterState


class Operation(enum.StrEnum):
    """The calls that the worker makes."""

    SEND = "send_mms"
    ACCOUNT = "account"
    REPLIES = "get_responses"
    MARK_READ = "inbound_read_bulk"


class CallResult(enum.StrEnum):
    """One to one with the outcome table."""

    SENT = "sent"
    REFUSED = "refused"
    THROTTLED = "throttled"
    NOT_SENT = "not_sent"
    SUSPENDED = "suspended"
    IN_DOUBT = "in_doubt"


class DuplicateSource(enum.StrEnum):
    """How a job that had ended came again."""

    REDELIVERY = "redelivery"
    PUBLISH = "publish"


class Role(enum.StrEnum):
    """What a connection to the broker is for."""

    CONSUME = "consume"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class JobReceived:
    account: str
    redelivered: bool


@dataclass(frozen=True, slots=True)
class Suspected:
    """A message came back so often that it is looked at alone."""

    account: str


@dataclass(frozen=True, slots=True)
class SuspectNoted:
    """A note of a look at a suspect was to be left; ``why`` not None: it could not be, and is tried again."""

    account: str
    why: str | None


@dataclass(frozen=True, slots=True)
class JobFinished:
    """``end_to_end_s``: from the producer's publish (or ``created_at``) to the end, where known."""

    account: str
    end: End
    attempts: int
    end_to_end_s: float | None
    recipients_sent: int
    recipients_refused: int
    job_id: str | None
    why: str | None
    lane: Lane = Lane.BULK


@dataclass(frozen=True, slots=True)
class JobTimed:
    """A job ended, by ``overdue_s`` later than the backlog at its publishing explains (0: in time)."""

    account: str
    lane: Lane
    overdue_s: float


@dataclass(frozen=True, slots=True)
class BacklogSeen:
    """What waits for the account, as all workers see it alike; ``drain_s`` is infinite when nothing can leave.

    ``pace_per_s`` and ``worst_second`` are None while nothing was sent for the account, or Redis is away.
    """

    account: str
    jobs: Mapping[Lane, int]
    drain_s: float
    state: AccountState
    pace_per_s: float | None
    worst_second: int | None


@dataclass(frozen=True, slots=True)
class HeldJobsCounted:
    """How many messages the broker has in ``mms.dead`` and in ``mms.unroutable``."""

    dead: int
    unroutable: int


@dataclass(frozen=True, slots=True)
class DrainsCounted:
    """How workers have ended, of all that ever did: how many by each result."""

    by_result: Mapping[DrainResult, int]


@dataclass(frozen=True, slots=True)
class DuplicateSuppressed:
    """A job that had ended already came again, and was not called for."""

    account: str
    source: DuplicateSource


@dataclass(frozen=True, slots=True)
class DuplicateSendDetected:
    """A job was called for again although it had been sent: somebody got it twice, or is about to."""

    account: str
    job_id: str


@dataclass(frozen=True, slots=True)
class DoubtsCounted:
    """How many of the account's jobs are in doubt. ``oldest_s``: since when the first one is (since 1970; 0: none)."""

    account: str
    jobs: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class DoubtResolved:
    """A job in doubt was resolved here: by a rule, by a late answer, or what somebody else had begun was ended."""

    account: str
    resolved_as: ResolvedAs
    job_id: str


@dataclass(frozen=True, slots=True)
class DoubtsWalked:
    """The jobs in doubt were gone through: how many were seen, and how many were done with, by what was done.

    ``why`` is not None when the walk ended early.
    """

    seen: int
    done: Mapping[str, int]
    why: str | None


@dataclass(frozen=True, slots=True)
class JobRequeued:
    account: str
    reason: RequeueReason
    delay_s: int
    job_id: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class CallFinished:
    """``recipients`` and ``jobs``: how many the call carried; none, when it only asked.

    ``code``: the API's own, of a call that it refused.
    """

    account: str
    operation: Operation
    result: CallResult
    duration_s: float
    recipients: int
    low_balance: bool
    jobs: int = 0
    code: str = ""


@dataclass(frozen=True, slots=True)
class SlotTaken:
    """A call left: how long the job that led it had waited in this worker, and how late after its slot it left.

    ``slot_wait_s``: how long the call had been waited for with nothing but a slot lacking.
    """

    account: str
    waited_s: float
    late_s: float
    slot_wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LimiterAnswered:
    """``away_because`` is None when it did answer; ``state`` is what it said of the account then.

    ``account`` is None when it was only asked for a sign of life.
    """

    account: str | None
    duration_s: float
    away_because: str | None
    state: LimiterState | None


@dataclass(frozen=True, slots=True)
class JournalAnswered:
    """A group of commands to the journal; ``away_because`` is None when it did answer."""

    duration_s: float
    away_because: str | None


@dataclass(frozen=True, slots=True)
class AccountSuspended:
    account: str
    because: SuspendedBecause
    description: str


@dataclass(frozen=True, slots=True)
class AccountResumed:
    account: str
    because: SuspendedBecause


@dataclass(frozen=True, slots=True)
class AccountServed:
    """The account is served from here on; or it is, and its limit (calls per second) is another one now."""

    account: str
    limit_per_s: float


@dataclass(frozen=True, slots=True)
class AccountNotStarted:
    account: str
    why: str


@dataclass(frozen=True, slots=True)
class AccountLeft:
    """The account is served here no more, and all its calls are told."""

    account: str


@dataclass(frozen=True, slots=True)
class AccountsChanged:
    """What was done while the worker runs; accounts that could not be started are not among the added ones."""

    change: AccountsChange


@dataclass(frozen=True, slots=True)
class ReloadApplied:
    """``at_next_start``: names of settings that changed and take effect only then."""

    at_next_start: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """Nothing changed, because of every mistake in ``problems``."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BrokerConnected:
    role: Role


@dataclass(frozen=True, slots=True)
class BrokerLost:
    role: Role
    why: str


@dataclass(frozen=True, slots=True)
class BrokerBlocked:
    """The broker raised or lifted an alarm: while blocked it takes nothing in."""

    role: Role
    is_blocked: bool


@dataclass(frozen=True, slots=True)
class Published:
    duration_s: float
    failure: str | None


@dataclass(frozen=True, slots=True)
class Consuming:
    queue: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class AccountNotConsumed:
    """The broker hands over nothing of an account, although the connection stands; ``why`` None: it does again."""

    account: str
    why: str | None


@dataclass(frozen=True, slots=True)
class DrainStarted:
    in_flight: int


@dataclass(frozen=True, slots=True)
class DrainEnded:
    """``aborted``: calls broken off; ``untold``: jobs whose outcome could not be told, and that may be repeated."""

    duration_s: float
    aborted: int
    untold: int

    @property
    def result(self) -> DrainResult:
        """How it came out."""
        return DrainResult.TIMED_OUT if self.aborted or self.untold else DrainResult.WHOLE


@dataclass(frozen=True, slots=True)
class ReportTold:
    """A delivery report was published. ``delay_s``: from the send's answer to the report, where the send is known."""

    account: str
    status: ReportStatus
    delay_s: float | None
    is_of_known_job: bool


@dataclass(frozen=True, slots=True)
class ReportRepeated:
    account: str


@dataclass(frozen=True, slots=True)
class ReportPutAside:
    """It came before anybody knew of its message, and is looked at again in a while."""

    account: str


class ReplyWay(enum.StrEnum):
    """How a reply came."""

    CALLBACK = "callback"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class ReplyTold:
    account: str
    way: ReplyWay


@dataclass(frozen=True, slots=True)
class ReplyRepeated:
    account: str
    way: ReplyWay


class CallbackResult(enum.StrEnum):
    """What a callback was answered."""

    TAKEN = "taken"
    NOT_TAKEN = "not_taken"
    """503: the vendor repeats it."""
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNKNOWN_ADDRESS = "unknown_address"


@dataclass(frozen=True, slots=True)
class CallbackAnswered:
    """``account`` is None when the address is nobody's. ``why``: of what was not taken, in a sentence."""

    result: CallbackResult
    account: str | None
    duration_s: float
    why: str | None = None


@dataclass(frozen=True, slots=True)
class RepliesPolled:
    """The unread replies were asked for: how many there were; ``why`` is not None when that ended early."""

    account: str
    seen: int
    why: str | None


@dataclass(frozen=True, slots=True)
class BalanceSeen:
    """What ``GET account`` said is left of the account's MMS credit; ``is_low``: less than is wanted."""

    account: str
    balance: float
    is_low: bool


@dataclass(frozen=True, slots=True)
class Surprise:
    """A bug, caught at the one place where surprises end."""

    where: str
    error: BaseException


Observation = (
    JobReceived
    | Suspected
    | SuspectNoted
    | JobFinished
    | JobTimed
    | JobRequeued
    | BacklogSeen
    | HeldJobsCounted
    | DrainsCounted
    | DuplicateSuppressed
    | DuplicateSendDetected
    | DoubtsCounted
    | DoubtResolved
    | DoubtsWalked
    | CallFinished
    | SlotTaken
    | LimiterAnswered
    | JournalAnswered
    | AccountSuspended
    | AccountResumed
    | AccountServed
    | AccountNotStarted
    | AccountLeft
    | AccountsChanged
    | ReloadApplied
    | ReloadRefused
    | BrokerConnected
    | BrokerLost
    | BrokerBlocked
    | Published
    | Consuming
    | AccountNotConsumed
    | DrainStarted
    | DrainEnded
    | ReportTold
    | ReportRepeated
    | ReportPutAside
    | ReplyTold
    | ReplyRepeated
    | CallbackAnswered
    | RepliesPolled
    | BalanceSeen
    | Surprise
)

Observer = Callable[[Observation], None]
