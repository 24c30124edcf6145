"""What the API's ledger says of the run, in columns: a million of its records as objects would cost a gigabyte."""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from loadtest.load.jobs import JobMaker
from loadtest.simulator.records import Accepted, CallRecord

SEND = "send-mms"
NAMES_MAX = 20
KEY = "load-key-"


def key_of(account: str) -> str:
    """The APPKEY of that account, which is its name in the ledger."""
    return f"{KEY}{account}"


@dataclass(slots=True)
class Calls:
    """Of one account, in the order of arrival (wall clock); 1 in `is_throttled`: answered 429."""

    at_us: "array[int]" = field(default_factory=lambda: array("q"))
    is_throttled: bytearray = field(default_factory=bytearray)

    @property
    def admitted_us(self) -> "array[int]":
        """Arrivals that the limit let through."""
        return array("q", (at_us for at_us, over in zip(self.at_us, self.is_throttled, strict=True) if not over))


@dataclass(slots=True)
class Ledger:
    """`calls` by account. `called_us` by job: when its first accepted call arrived, 0: never; `accepted`: recipients.

    `duplicated`: recipients who got a message again; `names`: of some of their jobs. `foreign`: recipients that are of
    nobody's job, or got another text. `recipients` by account.
    """

    maker: JobMaker
    jobs: int
    calls: list[Calls] = field(init=False)
    recipients: list[int] = field(init=False)
    called_us: "array[int]" = field(init=False)
    accepted: "array[int]" = field(init=False)
    duplicated: int = 0
    duplicates_of: set[int] = field(default_factory=set)
    foreign: int = 0

    def __post_init__(self) -> None:
        self.calls = [Calls() for _ in self.maker.accounts]
        self.recipients = [0] * len(self.maker.accounts)
        self.called_us = array("q", bytes(8 * self.jobs))
        self.accepted = array("H", bytes(2 * self.jobs))

    def take(
        self, calls: Iterable[CallRecord], accepted: Iterable[Accepted], on_count: Callable[[int], object]
    ) -> None:
        """Take in all of it; `on_count` is told how many of the accepted recipients are taken in, now and then."""
        account_of = {key_of(name): place for place, name in enumerate(self.maker.accounts)}
        arrivals_us = array("q")
        for call in calls:
            arrivals_us.append(call.at_us)
            account = account_of.get(call.account)
            if account is not None:
                of_account = self.calls[account]
                of_account.at_us.append(call.at_us)
                of_account.is_throttled.append(call.http_status == HTTPStatus.TOO_MANY_REQUESTS)
        seen = bytearray(self.jobs * self.maker.shape.recipients)
        for count, one in enumerate(accepted):
            self._accept(one, account_of, seen, arrivals_us)
            if count % 10_000 == 0:
                on_count(count)

    def _accept(self, one: Accepted, account_of: dict[str, int], seen: bytearray, arrivals_us: "array[int]") -> None:
        number = int(one.to)
        job = self.maker.job_of(number)
        if not 0 <= job < self.jobs or one.text != self.maker.text_of(job):
            self.foreign += 1
            return
        place = number - self.maker.numbers_of(0).start
        if seen[place]:
            self.duplicated += 1
            if len(self.duplicates_of) < NAMES_MAX:
                self.duplicates_of.add(job)
            return
        seen[place] = 1
        self.recipients[account_of[one.account]] += 1
        self.accepted[job] += 1
        at_us = arrivals_us[one.call] if one.call >= 0 else one.at_us
        if not self.called_us[job] or at_us < self.called_us[job]:
            self.called_us[job] = at_us
