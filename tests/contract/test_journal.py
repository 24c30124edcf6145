"""The journal's contract, over memory and over Redis; and the Lua script against its Python twin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib import resources

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from worker.adapters.memory_journal import MemoryJournal
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_groups import RedisGroups
from worker.adapters.redis_journal import RedisJournal, doubt_key, epoch_key, record_key
from worker.core.journal import (
    CLOCKS_APART_US_MAX,
    FORGOTTEN,
    GIVEN_UP,
    IN_DOUBT,
    NEVER_TOLD,
    RELEASED,
    Claim,
    Doubts,
    HeldCopy,
    Record,
    Remembered,
    Resolution,
    Resolved,
    State,
    Told,
    Verdict,
    claim,
    conclude,
    ended,
    read,
    released,
    resolve,
    tell,
    written,
)
from worker.core.journal import SENT as AS_SENT
from worker.flow.observations import JournalAnswered, Observation
from worker.flow.ports import Claimed, JournalAway

Journal = MemoryJournal | RedisJournal

CALL_S_MAX = 0.3
OURS = "w1-1"
FINGERPRINT, OTHER = "a" * 48, "b" * 48
HTTP_502 = ended(FINGERPRINT, IN_DOUBT, {"why": "HTTP 502"})
SENT = ended(FINGERPRINT, "sent", {"recipients": [["+61412345678", "m|1"]], "refused": []})


def wish(job_id: str = "job-1", token: str = OURS, **more: object) -> Claim:
    usual = Claim(job_id, token, FINGERPRINT, redelivered=False, published_us=0)
    return replace(usual, **more)  # type: ignore[arg-type]


def told(end: str, job_id: str = "job-1", token: str = OURS) -> Told:
    return Told(job_id, token, FINGERPRINT, end)


def fail(error: BaseException) -> None:
    raise error


@pytest.fixture(params=["memory", "redis"])
async def journal(request: pytest.FixtureRequest) -> AsyncIterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal(call_s_max=CALL_S_MAX, monotonic=time.monotonic)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield (own := redis_journal(redis))
        await own.close()


def redis_journal(redis: Redis, seen: list[Observation] | None = None) -> RedisJournal:
    observe = (seen if seen is not None else []).append
    groups = RedisGroups(redis=redis, monotonic=time.monotonic, observe=observe, on_failure=fail)
    return RedisJournal(groups=groups, keep_s=1000, call_s_max=CALL_S_MAX, on_failure=fail)


async def claimed(journal: Journal, *claims: Claim) -> list[Claimed]:
    answer = await journal.claim("acme", claims)
    assert not isinstance(answer, JournalAway)
    return answer


async def verdicts(journal: Journal, *claims: Claim) -> list[Verdict]:
    return [one.verdict for one in await claimed(journal, *claims)]


async def test_only_one_delivery_of_a_job_can_have_the_claim(journal: Journal) -> None:
    assert await verdicts(journal, wish(token="w1-1"), wish("job-2")) == [Verdict.CLAIMED, Verdict.CLAIMED]
    assert await verdicts(journal, wish(token="w2-1")) == [Verdict.BUSY]
    assert await verdicts(journal, wish(token="w1-1")) == [Verdict.CLAIMED]  # it asks again: the answer was lost


async def test_two_deliveries_of_one_job_in_one_question(journal: Journal) -> None:
    assert await verdicts(journal, wish(token="a"), wish(token="b")) == [Verdict.CLAIMED, Verdict.BUSY]


async def test_what_was_surely_not_sent_can_be_claimed_again(journal: Journal) -> None:
    await claimed(journal, wish())
    assert await journal.conclude("acme", [(wish(), released(FINGERPRINT))]) == [True]
    assert await verdicts(journal, wish(token="w2-1", redelivered=True)) == [Verdict.CLAIMED]


async def test_an_outcome_is_there_for_whoever_is_handed_the_job_again(journal: Journal) -> None:
    await claimed(journal, wish())
    assert await journal.conclude("acme", [(wish(), SENT)]) == [True]
    assert await journal.conclude("acme", [(wish(), SENT)]) == [True]  # the answer was lost
    assert await claimed(journal, wish(token="w2-1", redelivered=True)) == [Claimed(Verdict.ENDED, SENT)]
    assert await verdicts(journal, wish(token="w1-1")) == [Verdict.ENDED]


async def test_what_is_told_is_known_and_no_more(journal: Journal) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), SENT)])
    journal.tell("acme", [told("sent")])
    await asyncio.sleep(0.25)
    again = (await claimed(journal, wish(token="w2-1")))[0]
    assert again == Claimed(Verdict.TOLD, Record(State.TOLD, FINGERPRINT, end="sent"))


async def test_an_end_that_could_not_be_written_is_known_once_it_is_told(journal: Journal) -> None:
    await claimed(journal, wish(), wish("job-2"))
    journal.tell("acme", [told("sent"), told("sent", "job-2", token="w2-1"), told("sent", "job-3")])
    await asyncio.sleep(0.25)
    found = [wish(job_id, token="w3-1") for job_id in ("job-1", "job-2", "job-3")]
    assert await verdicts(journal, *found) == [Verdict.TOLD, Verdict.BUSY, Verdict.TOLD]


async def test_a_dead_letter_may_be_tried_again(journal: Journal) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), ended(FINGERPRINT, "dead", {"why": "no picture"}))])
    assert await verdicts(journal, wish(token="w2-1")) == [Verdict.ENDED]
    journal.tell("acme", [told("dead")])
    await asyncio.sleep(0.25)
    assert await verdicts(journal, wish(token="w2-1")) == [Verdict.CLAIMED]


async def test_a_claim_that_nobody_ended_is_in_doubt_once_no_call_can_be_that_long(journal: Journal) -> None:
    await claimed(journal, wish())
    await asyncio.sleep(CALL_S_MAX / 2)
    assert await verdicts(journal, wish(token="w2-1")) == [Verdict.BUSY]
    await asyncio.sleep(CALL_S_MAX)
    (found,) = await claimed(journal, wish(token="w2-1"))
    assert (found.verdict, found.record.end) == (Verdict.ENDED, IN_DOUBT)
    assert NEVER_TOLD in found.record.details
    # The worker was only slow: it hears that another one has decided.
    assert await journal.conclude("acme", [(wish(), SENT)]) == [False]


async def test_an_id_with_other_content_is_told_apart(journal: Journal) -> None:
    await claimed(journal, wish())
    (found,) = await claimed(journal, wish(token="w2-1", fingerprint=OTHER))
    assert (found.verdict, found.record.fingerprint) == (Verdict.DIFFERS, FINGERPRINT)


async def test_a_redelivered_job_that_nobody_claimed_may_be_called_for(journal: Journal) -> None:
    assert await verdicts(journal, wish(redelivered=True)) == [Verdict.CLAIMED]


async def test_after_a_loss_of_memory_what_may_have_been_called_before_is_in_doubt(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await claimed(journal, wish())
        await redis.flushdb()
        now_us = int(time.time() * 1e6)
        early, late, unsaid = (
            wish(job_id, redelivered=True, published_us=at_us)
            for job_id, at_us in (("a", now_us), ("b", now_us + 2 * CLOCKS_APART_US_MAX), ("c", 0))
        )
        found = await claimed(journal, early, late, unsaid, wish("d"))
        assert [one.verdict for one in found] == [Verdict.ENDED, Verdict.CLAIMED, Verdict.ENDED, Verdict.CLAIMED]
        assert all(FORGOTTEN in one.record.details for one in (found[0], found[2]))
        assert await redis.zrange(doubt_key("acme"), 0, -1) == [b"a", b"c"]


async def test_who_lets_go_of_a_claim_that_was_never_answered_does_not_make_up_for_a_loss_of_memory(
    redis_url: str,
) -> None:
    """Somebody else may have called before the loss, and nobody knows."""
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await claimed(journal, wish())
        await redis.flushdb()
        await claimed(journal)
        journal.tell("acme", [told(RELEASED, token="w2-1")])
        await asyncio.sleep(0.25)
        (found,) = await claimed(journal, wish(token="w3-1", redelivered=True))
        assert (found.verdict, found.record.end) == (Verdict.ENDED, IN_DOUBT)


@pytest.mark.parametrize("is_expected", [True, False])
async def test_an_empty_store_has_forgotten_where_a_memory_is_expected(redis_url: str, *, is_expected: bool) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        if is_expected:
            journal.expect_memory("acme")
        asked = await verdicts(journal, wish("job-1", redelivered=True), wish("job-2"))
        assert asked == [Verdict.ENDED if is_expected else Verdict.CLAIMED, Verdict.CLAIMED]


async def test_a_memory_that_is_there_as_expected_has_forgotten_nothing(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await claimed(redis_journal(redis))
        journal = redis_journal(redis)
        journal.expect_memory("acme")
        assert await verdicts(journal, wish("job-1", redelivered=True)) == [Verdict.CLAIMED]


@pytest.mark.parametrize("is_let_go", [False, True])
async def test_a_store_that_forgot_a_part_is_found_out(redis_url: str, *, is_let_go: bool) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await claimed(journal, wish(), wish("open"))
        await journal.conclude("acme", [(wish("open"), released(FINGERPRINT))])
        epoch_us, seen_us = map(int, (await redis.get(epoch_key("acme")) or b"").split())
        await redis.set(epoch_key("acme"), f"{epoch_us} {seen_us - 10**7}")  # a replica that lagged
        if is_let_go:
            await claimed(journal)
            journal.tell("acme", [told(RELEASED, "open", token="w2-1")])  # a claim that was never answered
            await asyncio.sleep(0.25)
        again = wish("open", redelivered=True), wish("job-2", redelivered=True)
        assert [(one.verdict, one.record.end) for one in await claimed(journal, *again)] == [
            (Verdict.ENDED, IN_DOUBT),
            (Verdict.ENDED, IN_DOUBT),
        ]


async def test_a_flushed_script_is_loaded_again(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await claimed(journal, wish())
        await redis.script_flush()
        assert await verdicts(journal, wish(token="w2-1")) == [Verdict.BUSY]


async def test_what_is_asked_at_once_goes_together(redis_url: str) -> None:
    seen: list[Observation] = []
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis, seen)
        await claimed(journal, wish("warm"))
        seen.clear()
        answers = await asyncio.gather(*(verdicts(journal, wish(f"job-{n}")) for n in range(200)))
        assert answers == [[Verdict.CLAIMED]] * 200
        assert len(seen) <= 5


async def test_of_what_goes_together_each_gets_its_own_answer(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await verdicts(journal, wish("taken"))

        async def concluded() -> list[bool] | JournalAway:
            return await journal.conclude("acme", [(wish("taken", "w2-1"), SENT), (wish("taken"), SENT)])

        asked = await asyncio.gather(
            verdicts(journal, wish("job-1"), wish("taken", "w2-1")),
            verdicts(journal, wish("job-2")),
            journal.claim("other", [wish("taken", "w2-1")]),
            concluded(),
            verdicts(journal, wish("job-1", "w2-1")),
        )
        await journal.close()
    other = asked[2]
    assert not isinstance(other, JournalAway)
    assert [one.verdict for one in other] == [Verdict.CLAIMED]
    assert (asked[0], asked[1], asked[3], asked[4]) == (
        [Verdict.CLAIMED, Verdict.BUSY],
        [Verdict.CLAIMED],
        [False, True],
        [Verdict.BUSY],
    )


async def test_a_record_that_cannot_be_used_holds_up_no_other(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        keys = ["~mms:journal:*", "~mms:in_doubt:*", "~mms:job:{acme}:job-[13]"]
        await redis.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">word", "+@all", *keys)  # type: ignore[no-untyped-call]
    async with Redis.from_url(redis_url, username="narrow", password="word") as redis:
        journal = redis_journal(redis)
        asked = await asyncio.gather(*(journal.claim("acme", [wish(f"job-{n}")]) for n in range(1, 4)))
        await journal.close()
    assert isinstance(asked[1], JournalAway)
    others = [answer for answer in asked if not isinstance(answer, JournalAway)]
    assert [one.verdict for answer in others for one in answer] == [Verdict.CLAIMED, Verdict.CLAIMED]


async def test_redis_that_cannot_be_reached_is_a_value_and_what_was_told_is_told_later(redis_url: str) -> None:
    seen: list[Observation] = []
    async with Redis.from_url(redis_url) as good:
        journal = redis_journal(good, seen)
        await claimed(journal, wish())
        await journal.conclude("acme", [(wish(), SENT)])
        journal._groups.redis = redis_client("redis://127.0.0.1:1/0", timeout_s=0.2)
        assert isinstance(await journal.claim("acme", [wish("job-2")]), JournalAway)
        journal.tell("acme", [told("sent")])
        await asyncio.sleep(0.3)
        journal._groups.redis = good
        await asyncio.sleep(0.3)
        assert await verdicts(journal, wish(token="w2-1")) == [Verdict.TOLD]
        assert any(isinstance(one, JournalAnswered) and one.away_because for one in seen)
        await journal.close()


async def test_what_is_not_a_record_leaves_the_job_in_doubt(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await redis.set(record_key("acme", "job-1"), "X|of|another|release")
        (found,) = await claimed(journal, wish())
        assert (found.verdict, found.record.end) == (Verdict.ENDED, IN_DOUBT)


# --- Jobs in doubt ---------------------------------------------------------------------------------------


GROUNDS = '["report","a|report",[],[]]'


def resolution(end: str, job_id: str = "job-1", fingerprint: str = FINGERPRINT) -> Resolution:
    return Resolution(job_id, fingerprint, end, GROUNDS)


async def resolved(journal: Journal, *resolutions: Resolution) -> list[Resolved]:
    answer = await journal.resolve("acme", resolutions)
    assert not isinstance(answer, JournalAway)
    return answer


async def are_done(journal: Journal, *resolutions: Resolution) -> list[bool]:
    return [one.is_done for one in await resolved(journal, *resolutions)]


async def in_doubt(journal: Journal) -> set[str]:
    """The ids of acme's jobs in doubt."""
    if isinstance(journal, MemoryJournal):
        return {job_id for _, job_id in journal.in_doubt}
    ids = await journal._groups.redis.zrange(doubt_key("acme"), 0, -1)
    return {job_id.decode() for job_id in ids if isinstance(job_id, bytes)}


@pytest.mark.parametrize("is_told", [False, True])
async def test_a_job_in_doubt_that_is_released_can_be_claimed_by_one(journal: Journal, *, is_told: bool) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), HTTP_502)])
    if is_told:
        journal.tell("acme", [told(IN_DOUBT)])
        await asyncio.sleep(0.25)
    assert await in_doubt(journal) == {"job-1"}
    (first,) = await resolved(journal, resolution(RELEASED))
    assert (first.is_done, first.record.state) == (True, State.OPEN)
    assert await in_doubt(journal) == set()
    assert await verdicts(journal, wish(token="w2-1"), wish(token="w3-1")) == [Verdict.CLAIMED, Verdict.BUSY]


@pytest.mark.parametrize("end", [AS_SENT, GIVEN_UP])
async def test_a_job_in_doubt_that_is_settled_is_never_called_for(journal: Journal, end: str) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), HTTP_502)])
    assert await resolved(journal, resolution(end)) == [
        Resolved(is_done=True, record=Record(State.RESOLVED, FINGERPRINT, end=end, details=GROUNDS))
    ]
    assert await in_doubt(journal) == set()
    assert await verdicts(journal, wish(token="w2-1")) == [Verdict.TOLD]


async def test_only_the_first_resolution_counts(journal: Journal) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), HTTP_502)])
    assert await are_done(journal, resolution(GIVEN_UP), resolution(RELEASED), resolution(GIVEN_UP)) == [
        True,
        False,
        False,
    ]
    (late,) = await resolved(journal, resolution(RELEASED))
    assert late == Resolved(is_done=False, record=Record(State.RESOLVED, FINGERPRINT, end=GIVEN_UP, details=GROUNDS))


@pytest.mark.parametrize(
    ("end", "is_shorter"),
    [
        (Told("job-1", "", FINGERPRINT, AS_SENT), True),
        (Told("job-1", "", FINGERPRINT, GIVEN_UP), False),  # of a resolution that did not win
        (told("sent"), False),  # of a call
        (told(IN_DOUBT), False),
        (told(RELEASED), False),
    ],
)
async def test_the_grounds_of_a_resolution_are_kept_until_it_is_told(
    journal: Journal, end: Told, *, is_shorter: bool
) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), HTTP_502)])
    await resolved(journal, resolution(AS_SENT))
    journal.tell("acme", [end])
    await asyncio.sleep(0.25)
    details = "" if is_shorter else GROUNDS
    (found,) = await resolved(journal, resolution(RELEASED))
    assert found == Resolved(is_done=False, record=Record(State.RESOLVED, FINGERPRINT, end=AS_SENT, details=details))
    assert await journal.conclude("acme", [(wish(), SENT)]) == [False]  # what the caller hears when his answer is late
    assert await verdicts(journal, wish(token="w2-1")) == [Verdict.TOLD]


async def test_what_is_remembered_of_held_jobs_and_what_is_forgotten_counts_as_in_doubt(journal: Journal) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), HTTP_502)])
    copies = [HeldCopy("job-1", 5), HeldCopy("forgotten", 7), HeldCopy("unknown", None)]
    found = await journal.recall("acme", copies)
    assert not isinstance(found, JournalAway)
    held, forgotten, unknown = found
    assert held.record == HTTP_502
    assert held.doubt_since_us is not None
    assert held.doubt_since_us > 7
    assert (forgotten, unknown) == (Remembered(None, 7), Remembered(None))
    assert await in_doubt(journal) == {"job-1", "forgotten"}
    doubts = await journal.doubts(["acme", "other"])
    assert doubts == {"acme": Doubts(2, 7), "other": Doubts(0, None)}
    await resolved(journal, resolution(AS_SENT))
    await journal.recall("acme", [HeldCopy("forgotten", 9), HeldCopy("job-1", 3)])
    assert await journal.doubts(["acme"]) == {"acme": Doubts(1, 7)}


async def test_an_end_in_doubt_that_is_told_late_undoes_no_resolution(journal: Journal) -> None:
    claims = [wish("released"), wish("sent")]
    await claimed(journal, *claims)
    await journal.conclude("acme", [(one, HTTP_502) for one in claims])
    await resolved(journal, *(resolution(RELEASED, one.job_id) for one in claims))
    again = wish("sent", token="w2-1")
    await claimed(journal, again)
    await journal.conclude("acme", [(again, SENT)])
    journal.tell("acme", [told(IN_DOUBT, one.job_id) for one in claims])
    await asyncio.sleep(0.25)
    late = wish("released", token="w3-1"), wish("sent", token="w3-1")
    assert await verdicts(journal, *late) == [Verdict.CLAIMED, Verdict.ENDED]


async def test_what_is_not_in_doubt_cannot_be_resolved(journal: Journal) -> None:
    await claimed(journal, wish("called"), wish("open"), wish("sent"))
    await journal.conclude("acme", [(wish("open"), released(FINGERPRINT)), (wish("sent"), SENT)])
    found = await resolved(journal, *(resolution(GIVEN_UP, job_id) for job_id in ("called", "open", "sent")))
    assert [(one.is_done, one.record.state) for one in found] == [
        (False, State.CLAIMED),
        (False, State.OPEN),
        (False, State.ENDED),
    ]
    assert await verdicts(journal, wish("called"), wish("open", token="w2-1")) == [Verdict.CLAIMED] * 2


async def test_a_claim_that_no_call_can_still_use_is_in_doubt_and_can_be_resolved(journal: Journal) -> None:
    await claimed(journal, wish())
    await asyncio.sleep(CALL_S_MAX + 0.1)
    assert await are_done(journal, resolution(RELEASED)) == [True]


async def test_of_what_nothing_is_remembered_can_be_resolved(journal: Journal) -> None:
    assert await are_done(journal, resolution(RELEASED), resolution(AS_SENT, "job-2")) == [True, True]
    assert await verdicts(journal, wish(), wish("job-2")) == [Verdict.CLAIMED, Verdict.TOLD]


async def test_another_job_with_the_same_id_is_left_alone(journal: Journal) -> None:
    await claimed(journal, wish())
    await journal.conclude("acme", [(wish(), HTTP_502)])
    (found,) = await resolved(journal, resolution(GIVEN_UP, fingerprint=OTHER))
    assert (found.is_done, found.record.fingerprint) == (False, FINGERPRINT)
    assert await in_doubt(journal) == {"job-1"}


async def test_a_record_that_cannot_be_read_can_be_resolved(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await redis.set(record_key("acme", "job-1"), "X|of|another|release")
        assert await are_done(journal, resolution(GIVEN_UP)) == [True]
        assert await verdicts(journal, wish()) == [Verdict.TOLD]


async def test_a_resolution_is_remembered_for_as_long_as_an_id(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        journal = redis_journal(redis)
        await resolved(journal, resolution(GIVEN_UP), resolution(RELEASED, "job-2"))
        for job_id in ("job-1", "job-2"):
            assert 990 < await redis.ttl(record_key("acme", job_id)) <= 1000


# --- The twin --------------------------------------------------------------------------------------------

TOKENS, JOBS = st.sampled_from(["w1-1", "w1-2", "w2-1"]), st.sampled_from(["a", "b"])
OUTCOMES = st.sampled_from(
    [
        released(FINGERPRINT),
        SENT,
        ended(FINGERPRINT, "dead", {"why": "x|y"}),
        ended(FINGERPRINT, IN_DOUBT, {"why": "HTTP 502"}),
        ended(FINGERPRINT, "expired", {}),
    ]
)
BROKEN = st.sampled_from(
    ["", "C|x", "E|x", "T|y", "Z|a|b|c", f"C|{FINGERPRINT}|12x|t", f"O|{FINGERPRINT}|0", f"O|{FINGERPRINT}|"]
)
STEPS = st.one_of(
    st.tuples(st.just("claim"), JOBS, TOKENS, st.booleans(), st.integers(-3, 3), st.sampled_from([FINGERPRINT, OTHER])),
    st.tuples(st.just("conclude"), JOBS, TOKENS, OUTCOMES),
    st.tuples(
        st.just("tell"),
        JOBS,
        st.sampled_from(["", "w1-1", "w1-2", "w2-1"]),
        st.sampled_from(["sent", "dead", "in_doubt", "released", "given_up"]),
    ),
    st.tuples(
        st.just("resolve"),
        JOBS,
        st.sampled_from([FINGERPRINT, FINGERPRINT, OTHER]),
        st.sampled_from([RELEASED, AS_SENT, GIVEN_UP]),
    ),
    st.tuples(
        st.just("break"),
        JOBS,
        st.sampled_from(["", "C|x", "E|x", "T|y", "Z|a|b|c", f"C|{FINGERPRINT}|12x|t", f"O|{FINGERPRINT}|0", "R|x|y"]),
    ),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 400_000), STEPS), max_size=25))
def test_the_script_decides_as_its_twin(redis_url: str, steps: list[tuple[int, tuple[object, ...]]]) -> None:
    source = resources.files("worker.adapters").joinpath("redis_journal.lua").read_text()
    with SyncRedis.from_url(redis_url) as redis:
        redis.flushdb()
        script = redis.register_script(source)
        epoch_us = now_us = 10**15
        held: dict[str, Record] = {}
        redis.set(epoch_key("twin"), f"{epoch_us} {epoch_us}")

        def ask(job_id: str, *details: object) -> list[object]:
            keys = [epoch_key("twin"), doubt_key("twin"), record_key("twin", job_id)]
            return list(script(keys=keys, args=[*details, "now_us", now_us]))

        for wait_us, (command, job_id, *details) in steps:
            assert isinstance(job_id, str)
            now_us += wait_us
            match command, details:
                case "claim", [str(token), bool(redelivered), int(minutes), str(print_)]:
                    one = Claim(job_id, token, print_, redelivered, now_us + minutes * 10**8)
                    said = ask(
                        job_id, "claim", 100, 300_000, 0, token, print_, int(redelivered), one.published_us, job_id
                    )
                    record, verdict = claim(
                        held.get(job_id), one, now_us=now_us, epoch_us=epoch_us, call_us_max=300_000
                    )
                    held[job_id] = record
                    assert said[1] == verdict
                case "conclude", [str(token), Record() as outcome]:
                    said = ask(job_id, "conclude", 100, token, written(outcome), job_id)
                    held[job_id], is_ours = conclude(held.get(job_id), token, outcome, now_us=now_us)
                    assert said == [is_ours]
                case "tell", [str(token), str(end)]:
                    ask(job_id, "tell", 100, token, FINGERPRINT, end)
                    record_after = tell(held.get(job_id), Told(job_id, token, FINGERPRINT, end), now_us=now_us)
                    held.pop(job_id, None)
                    if record_after is not None:
                        held[job_id] = record_after
                case "resolve", [str(print_), str(end)]:
                    before = held.get(job_id)
                    doubtful = redis.zscore(doubt_key("twin"), job_id)
                    said = ask(job_id, "resolve", 100, 300_000, print_, end, GROUNDS, job_id)
                    one_end = Resolution(job_id, print_, end, GROUNDS)
                    held[job_id], is_done = resolve(before, one_end, now_us=now_us, call_us_max=300_000)
                    assert said[0] == is_done
                    is_settled = is_done or (before is not None and before.fingerprint == print_)
                    assert redis.zscore(doubt_key("twin"), job_id) == (None if is_settled else doubtful)
                case "break", [str(text)]:
                    redis.set(record_key("twin", job_id), text)
                    held[job_id] = read(text)
            stored = redis.get(record_key("twin", job_id))
            assert (read(stored.decode()) if isinstance(stored, bytes) else None) == held.get(job_id)
