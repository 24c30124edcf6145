"""What is remembered of messages: the contract, over memory and over Redis; and the Lua script against its twin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from importlib import resources

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from worker.adapters.memory_sendings import MemorySendings
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_groups import RedisGroups
from worker.adapters.redis_journal import RedisJournal, epoch_key
from worker.adapters.redis_sendings import RedisSendings, recipient_key
from worker.core.journal import Claim, ended
from worker.core.recipients import MESSAGES_MAX, NOBODY, Recipient, assign, look, note, put_off, read, told
from worker.core.reports import Report
from worker.core.sendings import Ask, Busy, Found, Known, Repeated, SentJob, Stranger, Trace
from worker.flow.observations import Observation
from worker.flow.ports import JournalAway

Sendings = MemorySendings | RedisSendings

KEEP_S, NOTED_S_MAX = 1_000, 80.0
TO, ALSO_TO = "+61412345678", "+61412345679"
FIRST = "r1-1"
ONE, OTHER = SentJob("job-1", "crm:1"), SentJob("job-2", None)


def fail(error: BaseException) -> None:
    raise error


def groups_on(redis: Redis, seen: list[Observation] | None = None) -> RedisGroups:
    observe = (seen if seen is not None else []).append
    return RedisGroups(redis=redis, monotonic=time.monotonic, observe=observe, on_failure=fail)


def sendings_on(redis: Redis) -> RedisSendings:
    return RedisSendings(groups=groups_on(redis), keep_s=KEEP_S, noted_s_max=NOTED_S_MAX)


@pytest.fixture(params=["memory", "redis"])
async def sendings(request: pytest.FixtureRequest) -> AsyncIterator[Sendings]:
    if request.param == "memory":
        yield MemorySendings(keep_s=KEEP_S, noted_s_max=NOTED_S_MAX, monotonic=time.monotonic)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield sendings_on(redis)


def sent(message_id: str, job: SentJob = ONE, to: str = TO) -> Trace:
    return Trace(to, message_id, job.job_id, job.reference)


def in_doubt(job: SentJob = ONE, to: str = TO) -> Trace:
    return sent("", job, to)


def ask(message_id: str, status: str = "delivered", token: str = FIRST, to: str = TO) -> Ask:
    return Ask(Report(message_id, to, status), token)


async def look_at(sendings: Sendings, *asks: Ask) -> list[Found]:
    found = await sendings.look("acme", asks)
    assert not isinstance(found, JournalAway)
    return found


async def stranger(sendings: Sendings, one: Ask) -> Stranger:
    (found,) = await look_at(sendings, one)
    assert isinstance(found, Stranger)
    return found


async def known(sendings: Sendings, one: Ask) -> Known:
    (found,) = await look_at(sendings, one)
    assert isinstance(found, Known)
    return found


async def test_a_report_finds_the_job_that_was_sent(sendings: Sendings) -> None:
    assert await sendings.note("acme", [sent("m1"), sent("m2", OTHER, ALSO_TO)]) == []
    await asyncio.sleep(0.02)
    first, second, elsewhere = await look_at(sendings, ask("m1"), ask("m2", to=ALSO_TO), ask("m1", to=ALSO_TO))
    assert isinstance(first, Known)
    assert isinstance(second, Known)
    assert (first.job, first.final, second.job) == (ONE, None, OTHER)
    assert 20_000 <= first.age_us < 10_000_000
    assert isinstance(elsewhere, Stranger)
    assert isinstance((await sendings.look("other", [ask("m1")]))[0], Stranger)  # type: ignore[index]


async def test_a_report_that_was_told_is_repeated_and_another_status_is_not(sendings: Sendings) -> None:
    await sendings.note("acme", [sent("m1")])
    await known(sendings, ask("m1", "dispatched"))
    assert await sendings.told("acme", [ask("m1", "dispatched")]) is None
    assert await look_at(sendings, ask("m1", "dispatched", "r2-1")) == [Repeated()]
    assert (await known(sendings, ask("m1", "delivered", "r2-1"))).final is None
    await sendings.told("acme", [ask("m1", "delivered", "r2-1")])
    assert (await known(sendings, ask("m1", "queued"))).final == "delivered"
    assert await look_at(sendings, ask("m1", "dispatched"), ask("m1", "delivered")) == [Repeated(), Repeated()]


async def test_one_receiver_at_a_time_tells_of_a_message(sendings: Sendings) -> None:
    await sendings.note("acme", [sent("m1"), sent("m2")])
    await known(sendings, ask("m1", "delivered", "r1-1"))
    assert await look_at(sendings, ask("m1", "delivered", "r2-1"), ask("m1", "queued", "r2-1")) == [Busy(), Busy()]
    await known(sendings, ask("m2", "delivered", "r2-1"))
    await known(sendings, ask("m1", "delivered", "r1-1"))  # it asks again: the answer was lost
    await known(sendings, ask("m1", "queued", "r1-1"))


async def test_what_is_put_off_anybody_may_tell(sendings: Sendings) -> None:
    await stranger(sendings, ask("m1", token="r1-1"))
    await sendings.put_off("acme", [ask("m1", token="r2-1")])
    assert await look_at(sendings, ask("m1", token="r2-1")) == [Busy()]
    assert await sendings.put_off("acme", [ask("m1", token="r1-1")]) is None
    await stranger(sendings, ask("m1", token="r2-1"))
    assert await sendings.put_off("acme", [ask("never heard of")]) is None


async def test_a_report_that_came_first_is_known_once_its_send_is_answered(sendings: Sendings) -> None:
    first = await stranger(sendings, ask("m1"))
    assert (first.doubts, first.unknown, first.sent, first.final) == ((), 1, None, None)
    await sendings.put_off("acme", [ask("m1")])
    await asyncio.sleep(0.02)
    await stranger(sendings, ask("m1"))
    await sendings.note("acme", [sent("m1")])
    assert (await known(sendings, ask("m1"))).job == ONE


async def test_a_message_that_nobody_knows_may_be_of_a_job_in_doubt(sendings: Sendings) -> None:
    await sendings.note("acme", [in_doubt(), in_doubt(OTHER), in_doubt(), in_doubt(OTHER, ALSO_TO)])
    found = await stranger(sendings, ask("m1"))
    assert (found.doubts, found.unknown) == ((ONE, OTHER), 1)
    assert (await stranger(sendings, ask("m2"))).fresh == 1
    await stranger(sendings, replace(ask("m1"), has_waited=True))
    second = await stranger(sendings, ask("m2"))
    assert (second.unknown, second.fresh) == (2, 0)
    assert await sendings.assign("acme", ask("m1").report, ONE) is False
    assert await sendings.assign("acme", ask("m1").report, ONE) is False  # the answer was lost
    assert (await known(sendings, ask("m1"))).job == ONE
    left = await stranger(sendings, ask("m2"))
    assert (left.doubts, left.unknown, left.sent) == ((OTHER,), 1, ONE)
    assert (await stranger(sendings, ask("m3", to=ALSO_TO))).doubts == (OTHER,)


async def test_what_is_in_doubt_is_told_again_and_stays_assigned(sendings: Sendings) -> None:
    await sendings.note("acme", [in_doubt()])
    await sendings.assign("acme", ask("m1").report, ONE)
    await sendings.note("acme", [in_doubt()])
    assert (await stranger(sendings, ask("m2"))).doubts == ()


async def test_a_message_of_the_first_call_proves_that_a_resent_job_was_sent_twice(sendings: Sendings) -> None:
    await sendings.note("acme", [in_doubt()])
    assert await sendings.note("acme", [sent("m2")]) == []
    found = await stranger(sendings, ask("m1"))
    assert (found.doubts, found.sent) == ((ONE,), ONE)
    assert await sendings.assign("acme", ask("m1").report, ONE) is True
    assert await sendings.assign("acme", ask("m1").report, ONE) is True  # the answer was lost
    assert (await stranger(sendings, ask("m3"))).doubts == ()


async def test_a_job_with_two_messages_to_one_recipient_is_found_when_the_second_is_noted(sendings: Sendings) -> None:
    assert await sendings.note("acme", [sent("m1"), sent("m2", to=ALSO_TO), sent("m3", OTHER)]) == []
    again = [sent("m4"), sent("m5", to=ALSO_TO), sent("m3", OTHER)]
    assert await sendings.note("acme", again) == ["job-1"]
    assert await sendings.note("acme", again) == ["job-1"]  # the answer was lost


async def test_an_answer_that_comes_late_ends_the_doubt(sendings: Sendings) -> None:
    await sendings.note("acme", [in_doubt(), in_doubt(to=ALSO_TO)])
    late = [Trace(TO, "m1", "job-1", None, ends_doubt=True), Trace(ALSO_TO, "", "job-1", None, ends_doubt=True)]
    assert await sendings.note("acme", late) == []
    assert (await known(sendings, ask("m1"))).job == SentJob("job-1", None)
    assert (await stranger(sendings, ask("m2"))).doubts == ()
    assert (await stranger(sendings, ask("m3", to=ALSO_TO))).doubts == ()


async def test_what_an_answer_says_of_a_message_outweighs_what_it_was_assigned_to(sendings: Sendings) -> None:
    await sendings.assign("acme", ask("m1").report, ONE)
    await sendings.note("acme", [sent("m1", OTHER)])
    assert (await known(sendings, ask("m1"))).job == OTHER
    assert await sendings.assign("acme", ask("m1").report, ONE) is False
    assert (await known(sendings, ask("m1"))).job == OTHER


async def test_the_job_of_a_message_can_be_found(sendings: Sendings) -> None:
    await sendings.note("acme", [sent("m1"), sent("m2", OTHER, ALSO_TO)])
    await stranger(sendings, ask("m3"))
    pairs = [(ALSO_TO, "m2"), (TO, "m1"), (TO, "m3"), (TO, "m2"), ("+61400000000", "m1")]
    assert await sendings.find("acme", pairs) == [OTHER, ONE, None, None, None]
    assert await sendings.find("acme", []) == []


async def test_a_thousand_at_once_each_get_their_own(sendings: Sendings) -> None:
    numbers = [f"+614{n:08d}" for n in range(1_000)]
    traces = [sent(f"m{n}", SentJob(f"j{n}", None), to) for n, to in enumerate(numbers)]
    assert await sendings.note("acme", traces) == []
    found = await look_at(sendings, *(ask(f"m{n}", to=to) for n, to in enumerate(numbers) if n % 3))
    assert [one.job.job_id for one in found if isinstance(one, Known)] == [f"j{n}" for n in range(1_000) if n % 3]
    twice = await sendings.note("acme", [sent(f"n{n}", SentJob(f"j{n}", None), to) for n, to in enumerate(numbers)])
    assert twice == [f"j{n}" for n in range(1_000)]


async def test_of_a_recipient_only_so_many_messages_are_remembered(sendings: Sendings) -> None:
    await sendings.note("acme", [sent(f"m{n}", SentJob(f"j{n}", None)) for n in range(MESSAGES_MAX + 1)])
    found = await sendings.find("acme", [(TO, "m0"), (TO, "m1"), (TO, f"m{MESSAGES_MAX}")])
    assert not isinstance(found, JournalAway)
    assert [job and job.job_id for job in found] == [None, "j1", f"j{MESSAGES_MAX}"]


async def test_words_of_all_kinds_come_back_as_they_were(sendings: Sendings) -> None:
    job = SentJob('a"\\/\u2028é😀', "")
    await sendings.note("acme", [sent('m"1\\\x00', job)])
    assert (await known(sendings, ask('m"1\\\x00', "wörd / \x01"))).job == job
    await sendings.told("acme", [ask('m"1\\\x00', "wörd / \x01")])
    assert await look_at(sendings, ask('m"1\\\x00', "wörd / \x01")) == [Repeated()]


# --- Redis ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "x", "5", "null", "[]", '{"m":5}', '{"m":[5]}', '{"m":[{"i":"m1"}]}', '{"d":[{}]}']
)
async def test_what_cannot_be_read_is_nobody(redis_url: str, text: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.set(recipient_key("acme", TO), text)
        sendings = sendings_on(redis)
        await stranger(sendings, ask("m1"))
        assert await sendings.note("acme", [sent("m1")]) == []
        assert (await known(sendings, ask("m1"))).job == ONE


async def test_a_key_of_another_type_is_nobody(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.lpush(recipient_key("acme", TO), "x")
        sendings = sendings_on(redis)
        assert await sendings.note("acme", [sent("m1")]) == []
        assert (await known(sendings, ask("m1"))).job == ONE


async def test_a_recipient_is_remembered_for_as_long_as_it_is_set(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await sendings_on(redis).note("acme", [sent("m1", OTHER)])
        assert b"null" not in (await redis.get(recipient_key("acme", TO)) or b"")  # there are millions of them
        assert KEEP_S - 10 < await redis.ttl(recipient_key("acme", TO)) <= KEEP_S


async def test_redis_that_cannot_be_reached_is_a_value() -> None:
    async with redis_client("redis://127.0.0.1:1/0", timeout_s=0.2) as redis:
        sendings = sendings_on(redis)
        answers = [
            await sendings.note("acme", [sent("m1")]),
            await sendings.look("acme", [ask("m1")]),
            await sendings.assign("acme", ask("m1").report, ONE),
            await sendings.told("acme", [ask("m1")]),
            await sendings.put_off("acme", [ask("m1")]),
            await sendings.find("acme", [(TO, "m1")]),
        ]
        assert [type(answer) for answer in answers] == [JournalAway] * 6


async def test_traces_go_with_the_outcome_that_they_are_of_in_one_round_trip_and_after_it(redis_url: str) -> None:
    seen: list[Observation] = []
    async with Redis.from_url(redis_url) as redis:
        groups = groups_on(redis, seen)
        journal = RedisJournal(groups=groups, keep_s=KEEP_S, call_s_max=10, on_failure=fail)
        sendings = RedisSendings(groups=groups, keep_s=KEEP_S, noted_s_max=NOTED_S_MAX)
        claims = [Claim(f"j{n}", "w1-1", "print", redelivered=False, published_us=0) for n in range(200)]
        await journal.claim("acme", claims)
        await sendings.note("acme", [sent("m0")])
        seen.clear()
        await redis.config_resetstat()
        traces = [sent(f"m{n}", SentJob(f"j{n}", None), f"+614{n:08d}") for n in range(200)]
        concluded, twice = await asyncio.gather(
            journal.conclude("acme", [(one, ended("print", "sent", {})) for one in claims]),
            sendings.note("acme", traces),
        )
        assert (concluded, twice) == ([True] * 200, [])
        assert len(seen) == 1
        calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert calls == 5  # one of the journal, and one for each 64 recipients
        assert await redis.exists(epoch_key("acme"))
        await journal.close()
        await groups.close()


async def test_what_is_asked_at_once_goes_in_one_run(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        sendings = sendings_on(redis)
        await stranger(sendings, ask("m0"))
        await redis.config_resetstat()
        numbers = [f"+614{n:08d}" for n in range(64)]
        found = await asyncio.gather(*(look_at(sendings, ask("m1", to=number)) for number in numbers))
        assert all(isinstance(one, Stranger) for (one,) in found)
        assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == 1


async def test_whoever_waits_when_the_way_is_closed_gets_an_answer(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        groups = groups_on(redis)
        sendings = RedisSendings(groups=groups, keep_s=KEEP_S, noted_s_max=NOTED_S_MAX)
        asking = asyncio.gather(*(sendings.look("acme", [ask(f"m{n}")]) for n in range(200)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await groups.close()
        async with asyncio.timeout(5):
            answers = await asking
        assert any(isinstance(answer, JournalAway) for answer in answers)


# --- The twin ------------------------------------------------------------------------------------------------

MESSAGES, JOBS = st.sampled_from(["m1", "m2", "m3"]), st.sampled_from([ONE, OTHER, SentJob("job-3", 'a"é/')])
STATUSES, TOKENS = st.sampled_from(["queued", "delivered", "failed", "odd one"]), st.sampled_from(["r1", "r2"])
NUMBERS = st.sampled_from([TO, TO, ALSO_TO])
Decide = Callable[[Recipient, int], tuple[Recipient, object]]


def steps_of() -> st.SearchStrategy[tuple[str, list[tuple[str, tuple[object, ...], Decide]]]]:
    """A command with up to three items: the number, what the script is told, and what the twin decides."""

    def items(one: st.SearchStrategy[tuple[tuple[object, ...], Decide]]) -> st.SearchStrategy[list[object]]:
        return st.lists(st.tuples(NUMBERS, one).map(lambda of: (of[0], *of[1])), min_size=1, max_size=3)

    def noted(message_id: str, job: SentJob, ends: bool) -> tuple[tuple[object, ...], Decide]:  # noqa: FBT001
        trace = Trace(TO, message_id, job.job_id, job.reference, ends)
        return (message_id, job.job_id, job.reference, ends), lambda of, now_ms: note(of, trace, now_ms=now_ms)

    def looked(message_id: str, status: str, token: str, waited: bool) -> tuple[tuple[object, ...], Decide]:  # noqa: FBT001
        return (message_id, status, token, waited), lambda of, now_ms: look(
            of, message_id, status, token, has_waited=waited, now_ms=now_ms
        )

    def assigned(message_id: str, job: SentJob) -> tuple[tuple[object, ...], Decide]:
        return (message_id, job.job_id, job.reference), lambda of, now_ms: assign(of, message_id, job, now_ms=now_ms)

    def were_told(message_id: str, status: str) -> tuple[tuple[object, ...], Decide]:
        return (message_id, status), lambda of, now_ms: (told(of, message_id, status, now_ms=now_ms), 0)

    def were_put_off(message_id: str, status: str, token: str) -> tuple[tuple[object, ...], Decide]:
        return (message_id, status, token), lambda of, _: (put_off(of, message_id, status, token), 0)

    or_none = st.one_of(MESSAGES, st.just(""))
    commands = {
        "note": st.builds(noted, or_none, JOBS, st.booleans()),
        "look": st.builds(looked, MESSAGES, STATUSES, TOKENS, st.booleans()),
        "assign": st.builds(assigned, MESSAGES, JOBS),
        "told": st.builds(were_told, MESSAGES, STATUSES),
        "put_off": st.builds(were_put_off, MESSAGES, STATUSES, TOKENS),
    }
    return st.one_of([st.tuples(st.just(name), items(one)) for name, one in commands.items()])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from([0, 1, 5_000, 14_999, 60_000, 500_000]), steps_of()), max_size=25))
def test_the_script_decides_as_its_twin(
    redis_url: str, steps: Sequence[tuple[int, tuple[str, list[tuple[str, tuple[object, ...], Decide]]]]]
) -> None:
    source = resources.files("worker.adapters").joinpath("redis_sendings.lua").read_text()
    with SyncRedis.from_url(redis_url) as redis:
        redis.flushdb()
        script = redis.register_script(source)
        now_ms = 1_764_125_531_000
        held: dict[str, Recipient] = {}
        for wait_ms, (command, items) in steps:
            now_ms += wait_ms
            keys = [recipient_key("twin", number) for number, _, _ in items]
            told_items = orjson.dumps([item for _, item, _ in items])
            said = list(script(keys=keys, args=[command, KEEP_S, told_items, "now_ms", now_ms]))
            if command == "look":
                assert said[0] == now_ms
                texts = said[2::2]
                said = said[1::2]
            for n, (number, _, decide) in enumerate(items):
                kept = held.get(number, NOBODY).kept(now_ms=now_ms, keep_ms=KEEP_S * 1_000)
                held[number], answer = decide(kept, now_ms)
                assert said[n] == answer
                if command == "look":
                    assert read(texts[n]) == held[number]
            for number, known_of in held.items():
                stored = redis.get(recipient_key("twin", number))
                assert isinstance(stored, bytes | None)
                assert read(stored).kept(now_ms=now_ms, keep_ms=KEEP_S * 1_000) == known_of.kept(
                    now_ms=now_ms, keep_ms=KEEP_S * 1_000
                )
