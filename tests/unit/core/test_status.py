"""An account at one look, from what Redis and the broker tell; what they do not tell is unknown, never a guess."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.core.bucket import Bucket
from worker.core.journal import Doubts
from worker.core.pace import GUARD_NS_FIRST, Pace, micro
from worker.core.status import AccountState, AccountStatus, Depth, Held, Look, account_status

NOW_US = 10**15
PACE_PER_S = 15 / (1 + GUARD_NS_FIRST / 1e9)
URGENT, BULK = Depth(1, 4), Depth(198, 4)
BUCKET = Bucket(next_us=NOW_US, seen_us=NOW_US, slots=1_000, jobs=5_000, worst_now=15, worst_before=14)


def status(
    bucket: Bucket | None = BUCKET,
    *,
    before: Bucket | None = None,
    urgent: Depth | None = URGENT,
    bulk: Depth | None = BULK,
    doubts: Doubts | None = None,
) -> AccountStatus:
    return account_status(
        "acme",
        limit_per_s=15,
        before=Look(before or bucket, NOW_US - 1_000_000),
        now=Look(bucket, NOW_US),
        urgent=urgent,
        bulk=bulk,
        held=Held(1, 100, 3),
        doubts=doubts,
        at_s=NOW_US / 1e6,
    )


@pytest.mark.parametrize(
    ("doubts", "count", "oldest_s"),
    [
        (None, None, None),
        (Doubts(0, None), 0, None),
        (Doubts(2, NOW_US - 90_000_000), 2, 90),
        (Doubts(1, NOW_US + 5), 1, 0),  # another machine's clock
    ],
)
def test_how_many_are_in_doubt_and_for_how_long(
    doubts: Doubts | None, count: int | None, oldest_s: float | None
) -> None:
    seen = status(doubts=doubts)
    assert (seen.in_doubt, seen.in_doubt_oldest_s) == (count, oldest_s)


def test_rates_are_those_between_the_looks() -> None:
    before = replace(BUCKET, slots=BUCKET.slots - 12, jobs=BUCKET.jobs - 120)
    seen = status(before=before)
    assert seen.share_used == pytest.approx(12 / 15)
    assert seen.jobs_per_call == 10
    assert seen.pace_per_s == pytest.approx(PACE_PER_S)
    assert seen.drain_s == pytest.approx(300 / (PACE_PER_S * 10))
    assert (seen.worst_second, seen.workers, seen.backlog_urgent, seen.backlog_bulk) == (15, 3, 2, 298)


def test_an_idle_account_takes_its_jobs_per_call_from_before() -> None:
    seen = status()
    assert (seen.share_used, seen.jobs_per_call) == (0, 5)


@pytest.mark.parametrize(
    ("bucket", "state", "words"),
    [
        (BUCKET, AccountState.OPEN, ""),
        (None, AccountState.OPEN, "nothing sent yet"),
        (replace(BUCKET, suspended="credit"), AccountState.SUSPENDED, "no credit"),
        (replace(BUCKET, suspended="credentials"), AccountState.SUSPENDED, "key"),
        (replace(BUCKET, closed_until_us=NOW_US + 2_500_000), AccountState.CLOSED, "2.5 s"),
        (replace(BUCKET, pace=replace(Pace(), peak_micro=micro(5), cut_us=NOW_US)), AccountState.LOWERED, "5/s"),
        (replace(BUCKET, pace=replace(Pace(), peak_micro=micro(5), cut_us=1)), AccountState.OPEN, ""),
    ],
)
def test_what_keeps_an_account_from_its_limit_is_told(bucket: Bucket | None, state: AccountState, words: str) -> None:
    seen = status(bucket)
    assert seen.state is state
    assert words in seen.why


def test_without_redis_only_the_queues_are_known() -> None:
    seen = account_status(
        "acme",
        limit_per_s=15,
        before=None,
        now=None,
        urgent=Depth(0, 1),
        bulk=Depth(7, 1),
        held=None,
        doubts=None,
        at_s=NOW_US / 1e6,
    )
    assert seen.state is AccountState.UNKNOWN
    assert (seen.pace_per_s, seen.share_used, seen.drain_s, seen.worst_second) == (None, None, None, None)
    assert (seen.backlog_bulk, seen.workers) == (7, 1)


def test_without_the_broker_the_backlog_is_unknown_and_not_empty() -> None:
    seen = status(urgent=None, bulk=None)
    assert (seen.backlog_urgent, seen.backlog_bulk, seen.drain_s) == (None, None, None)


def test_a_suspended_account_never_drains() -> None:
    assert status(replace(BUCKET, suspended="credit")).drain_s is None
