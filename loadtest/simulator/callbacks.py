"""Delivery reports and replies as the vendor posts them: what is due when, and a record of what was told (no I/O).

A report is made for each message that an account with a plan had accepted, whether the call's answer ever reached the
client or not: it is the only evidence of a call that was cut.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.records import CallbackKind, CallbackRecord, CallbackSummary

ENTRIES_MAX = 1_000_000
PAGE_MAX = 500
ON_THE_WAY = "Dispatched"
SECOND_US = 1_000_000


@dataclass(slots=True)
class Entry:
    """One report or reply, and what became of it. `fields` are those of a reply; `to` is digits only."""

    index: int
    kind: CallbackKind
    account: str
    message_id: str
    due_at_us: int
    to: int = 0
    status: str = ""
    is_early: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)
    posts: int = 0
    taken: int = 0
    first_at_us: int = 0
    taken_at_us: int = 0


@dataclass(slots=True)
class Posting:
    """An entry that is to be told once, for which it may take several tries."""

    entry: Entry
    tries: int = 0


@dataclass(slots=True)
class _Desk:
    """One account's callbacks: its plan, and what waits, by moment and order."""

    plan: CallbackPlan
    waiting: dict[CallbackKind, list[tuple[int, int, Posting]]] = field(
        default_factory=lambda: {"report": [], "reply": []}
    )
    under_way: int = 0

    @property
    def has_room(self) -> bool:
        return self.under_way < self.plan.at_once

    def first_at_us(self) -> int | None:
        """When its next posting is due."""
        return min((heap[0][0] for heap in self.waiting.values() if heap), default=None)


@dataclass(frozen=True, slots=True)
class Batch:
    """What leaves in one request, to `url`; `desk` is whose it is."""

    desk: _Desk
    url: str
    ca_file: str
    kind: CallbackKind
    postings: tuple[Posting, ...]
    body: bytes


class Callbacks:
    """All accounts' callbacks. `on_due` is called when something new is to be posted."""

    def __init__(self, dice: random.Random, on_due: Callable[[], None]) -> None:
        self._random = dice
        self._on_due = on_due
        self._order = itertools.count()
        self._clear()

    def _clear(self) -> None:
        self._desks: dict[str, _Desk] = {}
        self._entries: list[Entry] = []
        self._told: dict[CallbackKind, int] = {"report": 0, "reply": 0}
        self._made: dict[CallbackKind, int] = {"report": 0, "reply": 0}
        self._again = self._requests = self._refused = self._given_up = 0

    @property
    def is_full(self) -> bool:
        """Whether a further report could not be recorded."""
        return len(self._entries) >= ENTRIES_MAX

    # Steering

    def set_plan(self, account: str, plan: CallbackPlan | None) -> None:
        """From now on the account has this plan; None: nothing is posted any more, nor what waits."""
        if plan is None:
            self._desks.pop(account, None)
        elif (desk := self._desks.get(account)) is not None:
            desk.plan = plan
        else:
            self._desks[account] = _Desk(plan)

    def clear(self) -> None:
        """Forget everything, plans too. What is under way is not recorded any more."""
        self._clear()

    # What happens at the vendor

    def accepted(self, account: str, messages: Iterable[tuple[int, str]], at_us: int) -> bool:
        """Have reports of accepted messages (number, message id); whether they leave before the call's answer."""
        desk = self._desks.get(account)
        if desk is None:
            return False
        is_early = self._hits(desk.plan.early)
        for number, message_id in messages:
            for status, after_s in self._course(desk.plan, is_early=is_early):
                due_at_us = at_us + round(after_s * SECOND_US)
                entry = self._new("report", account, message_id, due_at_us, to=number, status=status, is_early=is_early)
                self._put(desk, entry, due_at_us)
                if self._hits(desk.plan.repeated):
                    again_s = self._random.uniform(0, desk.plan.delay_s + desk.plan.spread_s)
                    self._put(desk, entry, due_at_us + round(again_s * SECOND_US))
        self._on_due()
        return is_early

    def replied(self, account: str, replies: Iterable[Mapping[str, Any]], at_us: int) -> None:
        """Have replies, as they are posted, told to the account: all or some, by its plan."""
        desk = self._desks.get(account)
        if desk is None:
            return
        for fields in replies:
            if not self.is_full and self._hits(desk.plan.replies):
                entry = self._new("reply", account, fields["message_id"], at_us, fields=fields)
                for _ in range(1 + self._hits(desk.plan.repeated)):
                    self._put(desk, entry, at_us)
        self._on_due()

    # Posting

    def take(self, now_us: int) -> Batch | None:
        """What is to be posted now; `answered` must follow."""
        for desk in self._desks.values():
            for kind, heap in desk.waiting.items():
                if not desk.has_room or not heap or heap[0][0] > now_us:
                    continue
                count = desk.plan.batch_max if kind == "report" else 1
                postings = tuple(_due(heap, now_us, count))
                for posting in postings:
                    posting.tries += 1
                    posting.entry.posts += 1
                    posting.entry.first_at_us = posting.entry.first_at_us or now_us
                desk.under_way += 1
                self._requests += 1
                url = f"{desk.plan.url.rstrip('/')}/{'reports' if kind == 'report' else 'replies'}"
                return Batch(desk, url, desk.plan.ca_file, kind, postings, self._body(desk.plan, postings))
        return None

    def next_at_us(self) -> int | None:
        """When there is something to post again; None: not before something happens."""
        moments = (desk.first_at_us() for desk in self._desks.values() if desk.has_room)
        return min((moment for moment in moments if moment is not None), default=None)

    def answered(self, batch: Batch, status: int, now_us: int) -> None:
        """Note what a request was answered with; 0: nothing came."""
        desk = batch.desk
        desk.under_way -= 1
        if not all(self._is_ours(posting.entry) for posting in batch.postings):
            return
        is_taken = status == HTTPStatus.OK
        self._refused += not is_taken
        for posting in batch.postings:
            entry = posting.entry
            if is_taken:
                self._again += entry.taken > 0
                self._told[entry.kind] += entry.taken == 0
                entry.taken += 1
                entry.taken_at_us = entry.taken_at_us or now_us
            elif (after_s := desk.plan.retry_s(posting.tries)) is None:
                self._given_up += 1
            else:
                self._put(desk, entry, now_us + round(after_s * SECOND_US), tries=posting.tries)

    # Asking

    def summary(self) -> CallbackSummary:
        """Counts over all accounts."""
        return CallbackSummary(
            reports=self._made["report"],
            reports_taken=self._told["report"],
            replies=self._made["reply"],
            replies_taken=self._told["reply"],
            taken_again=self._again,
            requests=self._requests,
            requests_refused=self._refused,
            given_up=self._given_up,
            waiting=sum(
                desk.under_way + sum(len(heap) for heap in desk.waiting.values()) for desk in self._desks.values()
            ),
        )

    def records(self, since: int = 0) -> list[CallbackRecord]:
        """What was, or is to be, told, from index `since` on, at most PAGE_MAX of them."""
        return [
            CallbackRecord(
                index=entry.index,
                kind=entry.kind,
                account=entry.account,
                message_id=entry.message_id,
                to=f"+{entry.to}" if entry.to else "",
                status=entry.status,
                is_early=entry.is_early,
                due_at_us=entry.due_at_us,
                posts=entry.posts,
                taken=entry.taken,
                first_at_us=entry.first_at_us,
                taken_at_us=entry.taken_at_us,
            )
            for entry in self._entries[since : since + PAGE_MAX]
        ]

    # Within

    def _course(self, plan: CallbackPlan, *, is_early: bool) -> Iterator[tuple[str, float]]:
        """The reports of one message: each status with its time after the acceptance, in s."""
        (final,) = self._random.choices(list(plan.finals), list(plan.finals.values()))
        usual_s = max(0.0, plan.delay_s + self._random.uniform(-plan.spread_s, plan.spread_s))
        after_s = 0.0 if is_early else usual_s + (plan.late_s if self._hits(plan.late) else 0.0)
        if not self._hits(plan.dispatched):
            yield final, after_s
        elif self._hits(plan.out_of_order):
            yield final, after_s / 2
            yield ON_THE_WAY, after_s
        else:
            yield ON_THE_WAY, after_s / 2
            yield final, after_s

    def _new(self, kind: CallbackKind, account: str, message_id: str, due_at_us: int, **more: Any) -> Entry:
        entry = Entry(len(self._entries), kind, account, message_id, due_at_us, **more)
        self._entries.append(entry)
        self._made[kind] += 1
        return entry

    def _put(self, desk: _Desk, entry: Entry, at_us: int, *, tries: int = 0) -> None:
        heapq.heappush(desk.waiting[entry.kind], (at_us, next(self._order), Posting(entry, tries)))

    def _is_ours(self, entry: Entry) -> bool:
        """Whether it is of this run, and not of one before `clear`."""
        return entry.index < len(self._entries) and self._entries[entry.index] is entry

    def _hits(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _body(self, plan: CallbackPlan, postings: tuple[Posting, ...]) -> bytes:
        if postings[0].entry.kind == "reply":
            return orjson.dumps(postings[0].entry.fields)
        reports = [self._report(posting.entry, has_quirks=plan.quirks) for posting in postings]
        if len(reports) == 1 and plan.quirks and self._hits(0.5):
            return orjson.dumps(reports[0])
        return orjson.dumps(reports)

    def _report(self, entry: Entry, *, has_quirks: bool) -> dict[str, str]:
        """As documented, or in a form that the words "any letter case" allow."""
        number, status = str(entry.to), entry.status
        is_loud = False
        if has_quirks:
            number = self._random.choice(("", "+")) + number
            status = self._random.choice((status, status.upper(), status.lower()))
            is_loud = self._hits(0.1)
        fields = {
            "message_id": entry.message_id,
            "status": status,
            "recipient": number,
            "custom_string": "",
            "source": "mms",
        }
        return {name.upper(): value for name, value in fields.items()} if is_loud else fields


def _due(heap: list[tuple[int, int, Posting]], now_us: int, count: int) -> Iterator[Posting]:
    """Take out at most so many that are due."""
    while heap and heap[0][0] <= now_us and count:
        count -= 1
        yield heapq.heappop(heap)[2]
