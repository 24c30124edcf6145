"""Which replies were told: the contract, over memory and over Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from worker.adapters.memory_sendings import MemoryReplyBook
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_reply_book import RedisReplyBook, reply_key
from worker.flow.ports import JournalAway, ReplyFound
from worker.parts import build_reply_book
from worker.settings import Settings, load

Book = MemoryReplyBook | RedisReplyBook
KEEP_S = 1_000
OURS, BUSY, TOLD = ReplyFound.OURS, ReplyFound.BUSY, ReplyFound.TOLD


@pytest.fixture(params=["memory", "redis"])
async def book(request: pytest.FixtureRequest) -> AsyncIterator[Book]:
    if request.param == "memory":
        yield MemoryReplyBook(keep_s=KEEP_S, monotonic=time.monotonic)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield RedisReplyBook(redis=redis, keep_s=KEEP_S)


async def test_a_reply_is_told_by_one_and_once(book: Book) -> None:
    assert await book.look("acme", ["a", "b"], "r1") == [OURS, OURS]
    assert await book.look("acme", ["b", "c"], "r2") == [BUSY, OURS]
    assert await book.look("acme", ["a"], "r1") == [OURS]  # it asks again: the answer was lost
    assert await book.told("acme", ["a"]) is None
    assert await book.look("acme", ["a", "b"], "r1") == [TOLD, OURS]
    assert await book.look("acme", ["a", "b"], "r2") == [TOLD, BUSY]
    assert await book.look("other", ["a"], "r2") == [OURS]


async def test_what_is_put_off_anybody_may_tell(book: Book) -> None:
    await book.look("acme", ["a", "b"], "r1")
    await book.told("acme", ["b"])
    await book.put_off("acme", ["a", "b"], "r2")
    assert await book.look("acme", ["a"], "r2") == [BUSY]
    assert await book.put_off("acme", ["a", "b", "c"], "r1") is None
    assert await book.look("acme", ["a", "b"], "r2") == [OURS, TOLD]


async def test_what_nobody_looked_at_can_be_told(book: Book) -> None:
    await book.told("acme", ["a"])
    assert await book.look("acme", ["a"], "r1") == [TOLD]


async def test_a_thousand_at_once_in_their_order(book: Book) -> None:
    await book.told("acme", [f"r{n}" for n in range(0, 1_000, 3)])
    found = await book.look("acme", [f"r{n}" for n in range(1_000)], "r1")
    assert found == [OURS if n % 3 else TOLD for n in range(1_000)]
    assert await book.look("acme", [], "r1") == []


async def test_who_dies_while_telling_holds_it_up_for_a_while_only_and_what_was_told_is_forgotten_in_time() -> None:
    now_s = 0.0
    book = MemoryReplyBook(keep_s=KEEP_S, monotonic=lambda: now_s)
    await book.look("acme", ["a"], "r1")
    now_s = 14.9
    assert await book.look("acme", ["a"], "r2") == [BUSY]
    now_s = 15.1
    assert await book.look("acme", ["a"], "r2") == [OURS]
    await book.told("acme", ["a"])
    now_s += KEEP_S - 1
    assert await book.look("acme", ["a"], "r2") == [TOLD]
    await book.told("acme", ["a"])
    now_s += KEEP_S - 1
    assert await book.look("acme", ["a"], "r2") == [TOLD]
    now_s += 2
    assert await book.look("acme", ["a"], "r2") == [OURS]


async def test_on_redis_a_claim_and_what_is_told_end_by_themselves(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        book = RedisReplyBook(redis=redis, keep_s=KEEP_S)
        await book.look("acme", ["a", "b"], "r1")
        await book.told("acme", ["b"])
        assert 14_000 < await redis.pttl(reply_key("acme", "a")) <= 15_000
        assert (KEEP_S - 10) * 1_000 < await redis.pttl(reply_key("acme", "b")) <= KEEP_S * 1_000
        await redis.pexpire(reply_key("acme", "b"), 5_000)
        await book.told("acme", ["b"])
        assert await redis.pttl(reply_key("acme", "b")) > 5_000


async def test_a_key_of_another_type_is_nobodys(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.lpush(reply_key("acme", "a"), "x")
        book = RedisReplyBook(redis=redis, keep_s=KEEP_S)
        assert await book.look("acme", ["a"], "r1") == [OURS]
        assert await book.look("acme", ["a"], "r2") == [BUSY]


async def test_redis_that_cannot_be_reached_is_a_value() -> None:
    async with redis_client("redis://127.0.0.1:1/0", timeout_s=0.2) as redis:
        book = RedisReplyBook(redis=redis, keep_s=KEEP_S)
        answers = [await book.look("acme", ["a"], "r1"), await book.told("acme", ["a"])]
        answers.append(await book.put_off("acme", ["a"], "r1"))
        assert [type(answer) for answer in answers] == [JournalAway] * 3


@pytest.mark.parametrize(("deduplication_s", "keep_s"), [("700", 259_200), ("604800", 604_800)])
async def test_however_soon_jobs_are_forgotten_replies_are_remembered_for_days(
    redis_url: str, deduplication_s: str, keep_s: int
) -> None:
    given = {"MMS_API_URL": "https://api.example", "MMS_APP_KEY": "key-1", "MMS_DEDUPLICATION_S": deduplication_s}
    settings = load(given)
    assert isinstance(settings, Settings)
    async with Redis.from_url(redis_url) as redis:
        await build_reply_book(settings, redis).told("acme", ["a"])
        assert keep_s - 60 < await redis.ttl(reply_key("acme", "a")) <= keep_s
