"""Both lanes of an account: what leads, what rides along, and that it costs the same however many wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs import A_PICTURE, a_delivery, a_job
from worker.core.batch import CallContent
from worker.core.delivery import Lane
from worker.core.journal import claim_of
from worker.flow.lane import URGENT_IN_A_ROW_MAX, Batch, Lanes, ReadyJob


def ready(text: str = "hello", *to: str, lane: Lane = Lane.BULK, received_at_s: float = 0.0) -> ReadyJob:
    job = replace(a_job(to=to or ("a",)), text=text)
    delivery = replace(a_delivery(lane=lane), received_at_s=received_at_s)
    claim = claim_of(job, token="t", redelivered=False, published_at=None)
    return ReadyJob(delivery, job, CallContent(job.subject, text, A_PICTURE), claim)


def all_calls(lanes: Lanes) -> list[Batch]:
    calls = []
    while (batch := lanes.take()) is not None:
        calls.append(batch)
    return calls


steps = st.lists(
    st.tuples(
        st.sampled_from(Lane),
        st.sampled_from(["hello", "bye", "now"]),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True),
    )
    | st.just("take")
    | st.integers(0, 30),
    max_size=60,
)


@given(steps=steps, recipients_max=st.integers(1, 8))
def test_whatever_comes_and_goes_the_books_are_right(steps: list[object], recipients_max: int) -> None:
    """The oldest of its lane leads, contents are equal, each job leaves once, and the counts are those of the jobs."""
    lanes = Lanes(recipients_max=recipients_max)
    waiting: dict[Lane, list[ReadyJob]] = {lane: [] for lane in Lane}
    clock_s = 0.0
    for step in steps:
        gone: list[ReadyJob] = []
        if isinstance(step, tuple):
            clock_s += 1
            lane, text, to = step
            one = ready(text, *to, lane=lane, received_at_s=clock_s)
            lanes.put(one)
            waiting[lane].append(one)
        elif isinstance(step, int):
            gone = list(lanes.take_older_than(clock_s - step))
            assert all(one.delivery.received_at_s < clock_s - step for one in gone)
        elif (batch := lanes.take()) is not None:
            gone = list(batch.jobs)
            assert gone[0] in [jobs[0] for jobs in waiting.values() if jobs]
            assert {one.content for one in gone} == {batch.content}
            assert sorted(batch.numbers) == sorted(set(batch.numbers))
        for one in gone:
            waiting[one.delivery.lane].remove(one)
        left = list(chain.from_iterable(waiting.values()))
        assert len(lanes) == len(left)
        assert bool(lanes) is bool(left)
        assert lanes.calls_waiting == max(
            len({one.content for one in left}), -(-sum(len(one.to) for one in left) // recipients_max)
        )
    assert {one for batch in all_calls(lanes) for one in batch.jobs} == set(chain.from_iterable(waiting.values()))
    assert lanes.calls_waiting == 0


def test_equal_content_rides_along_from_both_lanes_urgent_first() -> None:
    lanes = Lanes(recipients_max=4)
    jobs = [ready("x", "a"), ready("y", "b"), ready("x", "c"), ready("x", "d"), ready("x", "e")]
    urgent = [ready("x", "f", lane=Lane.URGENT), ready("z", "g", lane=Lane.URGENT)]
    for one in (*jobs, *urgent):
        lanes.put(one)
    numbers = [batch.numbers for batch in all_calls(lanes)]
    assert numbers == [("f", "a", "c", "d"), ("g",), ("b",), ("e",)]


def test_the_same_number_in_two_jobs_takes_two_calls() -> None:
    lanes = Lanes(recipients_max=1000)
    for _ in range(3):
        lanes.put(ready("x", "a"))
    lanes.put(ready("x", "b"))
    assert [batch.numbers for batch in all_calls(lanes)] == [("a", "b"), ("a",), ("a",)]


def test_an_endless_stream_of_urgent_jobs_leaves_bulk_a_fifth() -> None:
    lanes = Lanes(recipients_max=1)
    for n in range(100):
        lanes.put(ready(f"bulk {n}"))
    led = []
    for n in range(50):
        lanes.put(ready(f"urgent {n}", lane=Lane.URGENT))
        lanes.put(ready(f"more {n}", lane=Lane.URGENT))
        batch = lanes.take()
        assert batch is not None
        led.append(batch.jobs[0].delivery.lane)
    assert led == ([Lane.URGENT] * URGENT_IN_A_ROW_MAX + [Lane.BULK]) * 10


def test_calls_without_bulk_waiting_do_not_count_against_urgent() -> None:
    lanes = Lanes(recipients_max=1)
    for n in range(2 * URGENT_IN_A_ROW_MAX):
        lanes.put(ready(f"urgent {n}", lane=Lane.URGENT))
        assert lanes.take() is not None
    lanes.put(ready("bulk"))
    lanes.put(ready("urgent", lane=Lane.URGENT))
    batch = lanes.take()
    assert batch is not None
    assert batch.jobs[0].delivery.lane is Lane.URGENT


def test_urgent_jobs_ride_first_also_when_bulk_leads() -> None:
    lanes = Lanes(recipients_max=2)
    for n in range(URGENT_IN_A_ROW_MAX):
        lanes.put(ready(f"urgent {n}", lane=Lane.URGENT))
    for to in "ab":
        lanes.put(ready("x", to))
    lanes.put(ready("x", "u", lane=Lane.URGENT))
    assert [batch.numbers for batch in all_calls(lanes)][URGENT_IN_A_ROW_MAX:] == [("a", "u"), ("b",)]


def test_an_urgent_job_waits_for_one_bulk_call_at_most() -> None:
    lanes = Lanes(recipients_max=1)
    for n in range(30):
        lanes.put(ready(f"bulk {n}"))
    for n in range(30):
        lanes.take()
        lanes.put(ready(f"urgent {n}", lane=Lane.URGENT))
        first_two = [lanes.take(), lanes.take()]
        assert any(batch and batch.jobs[0].delivery.lane is Lane.URGENT for batch in first_two)
        if n < 20:
            lanes.put(ready(f"bulk again {n}"))


@pytest.mark.parametrize("contents", [1, 10_000])
def test_ten_thousand_waiting_jobs_are_put_and_taken_in_no_time(contents: int) -> None:
    """A step that looked through what waits would need half a minute for this."""
    jobs = [ready(f"text {n % contents}", str(n)) for n in range(10_000)]
    lanes = Lanes(recipients_max=1)
    started_s = time.process_time()
    for one in jobs:
        lanes.put(one)
    for _ in jobs:
        assert lanes.take() is not None
    assert time.process_time() - started_s < 2.0


def test_waiting_ends_when_a_job_comes_and_begins_again_when_the_last_left() -> None:
    async def story() -> None:
        lanes = Lanes(recipients_max=10)
        lanes.put(ready())
        await asyncio.wait_for(lanes.filled(), 1)
        lanes.take()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lanes.filled(), 0.001)

    asyncio.run(story())
