"""Which jobs leave together: nobody twice in a call, no job split, the oldest always, order kept, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs import A_PICTURE, PNG
from worker.core.batch import LOOKED_PAST_MAX, CallContent, leaving_together
from worker.core.picture import Picture, PictureKind


@dataclass(frozen=True, eq=False)
class Job:
    to: tuple[str, ...]


# Few different numbers, so that jobs often have one in common.
recipients = st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=6, unique=True).map(tuple)
waiting = st.lists(recipients.map(Job), min_size=1, max_size=40)


@given(waiting=waiting, recipients_max=st.integers(1, 12))
def test_a_call_is_what_it_may_be(waiting: list[Job], recipients_max: int) -> None:
    chosen = leaving_together(waiting, recipients_max=recipients_max)
    numbers = [number for job in chosen for number in job.to]
    assert len(set(numbers)) == len(numbers), "a number twice in one call"
    assert chosen[0] is waiting[0], "the oldest stayed behind"
    assert len(numbers) <= recipients_max or len(chosen) == 1, "more than a call may carry, and not a single job"
    places = [waiting.index(job) for job in chosen]
    assert places == sorted(set(places)), "not in their order, or one twice"


@given(waiting=waiting, recipients_max=st.integers(1, 12))
def test_who_stays_behind_had_a_reason(waiting: list[Job], recipients_max: int) -> None:
    chosen = leaving_together(waiting, recipients_max=recipients_max)
    for place, job in enumerate(waiting):
        if job in chosen:
            continue
        before = [number for other in waiting[:place] if other in chosen for number in other.to]
        assert len(before) + len(job.to) > recipients_max or set(before) & set(job.to)


@given(waiting=waiting, recipients_max=st.integers(1, 12))
def test_call_after_call_every_job_leaves_once(waiting: list[Job], recipients_max: int) -> None:
    left, gone = list(waiting), []
    while left:
        chosen = leaving_together(left, recipients_max=recipients_max)
        gone += chosen
        left = [job for job in left if job not in chosen]
    assert len(gone) == len(waiting)
    assert set(gone) == set(waiting)


@pytest.mark.parametrize(("sizes", "left"), [([5, 1], [5]), ([2, 2, 1, 1], [2, 1]), ([3], [3]), ([1, 3, 2], [1, 2])])
def test_a_job_is_never_split_and_a_smaller_one_fills_the_rest(sizes: list[int], left: list[int]) -> None:
    numbers = iter(range(100))
    jobs = [Job(tuple(str(next(numbers)) for _ in range(size))) for size in sizes]
    assert [len(job.to) for job in leaving_together(jobs, recipients_max=3)] == left


def test_choosing_costs_the_same_however_many_wait_for_one_number() -> None:
    read = 0

    def all_to_one() -> Iterator[Job]:
        nonlocal read
        while True:
            read += 1
            yield Job(("a",))

    assert len(leaving_together(all_to_one(), recipients_max=1000)) == 1
    assert read == 1 + LOOKED_PAST_MAX


def test_a_full_call_reads_no_further() -> None:
    jobs = iter([Job(("a",)), Job(("b",)), Job(("c",))])
    assert len(leaving_together(jobs, recipients_max=2)) == 2
    assert next(jobs).to == ("c",)


CONTENT = CallContent("Shipped", "It is on its way", A_PICTURE)


def test_contents_are_equal_by_their_values() -> None:
    same = CallContent("Shipped", "It is on its way", Picture(bytes(bytearray(PNG)), PictureKind.PNG))
    assert same == CONTENT
    assert hash(same) == hash(CONTENT)


@pytest.mark.parametrize(
    "other",
    [
        CallContent(None, "It is on its way", A_PICTURE),
        CallContent("Shipped", "It is on its way.", A_PICTURE),
        CallContent("Shipped", "It is on its way", Picture(PNG + b"\0", PictureKind.PNG)),
        CallContent("Shipped", "It is on its way", Picture(PNG, PictureKind.GIF)),
    ],
)
def test_contents_differ_by_each_of_subject_text_and_picture(other: CallContent) -> None:
    assert other != CONTENT
