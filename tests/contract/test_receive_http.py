"""Where the vendor posts: real sockets, TLS, and clients of all kinds."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
import orjson
import pytest
import trustme

from worker.adapters.receive_http import BODY_BYTES_MAX, CallbackServer
from worker.flow.callbacks import CallbackKind, Malformed
from worker.flow.observations import CallbackAnswered, CallbackResult, Observation
from worker.flow.ports import CannotStart, NotTaken

TOKENS = {"acme": "the-token-of-acme", "other": "the-token-of-other"}
REPORTS, REPLIES = "/callbacks/acme/the-token-of-acme/reports", "/callbacks/acme/the-token-of-acme/replies"
Fault = NotTaken | Malformed | None


@dataclass
class Desk:
    """Takes what is posted, and answers as a test says."""

    answer: Fault = None
    taken: list[tuple[CallbackKind, str, bytes]] = field(default_factory=list)
    limits_s: list[float] = field(default_factory=list)
    until: asyncio.Event | None = None

    async def take(self, kind: CallbackKind, account: str, body: bytes, *, limit_s: float) -> Fault:
        self.taken.append((kind, account, body))
        self.limits_s.append(limit_s)
        if self.until is not None:
            await self.until.wait()
        return self.answer


@dataclass
class Stage:
    """A server, what it has observed, and a client of it."""

    server: CallbackServer
    desk: Desk
    seen: list[Observation]
    client: httpx.AsyncClient
    trusted: ssl.SSLContext

    def another_client(self) -> httpx.AsyncClient:
        """One with connections of its own."""
        return httpx.AsyncClient(base_url=self.client.base_url, verify=self.trusted, trust_env=False, timeout=20)

    def results(self) -> list[CallbackResult]:
        return [one.result for one in self.seen if isinstance(one, CallbackAnswered)]

    async def line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, to say on it whatever a test wants."""
        return await asyncio.open_connection("127.0.0.1", self.server.port)


@asynccontextmanager
async def a_stage(
    *, tls: bool = False, strange_wait_s: float = 0.0, take_s_max: float = 10.0, **bounds: int
) -> AsyncIterator[Stage]:
    desk, seen = Desk(), list[Observation]()
    ca = trustme.CA()
    shown, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.issue_cert("127.0.0.1").configure_cert(shown)
    ca.configure_trust(trusted)
    server = CallbackServer(
        host="127.0.0.1",
        port=0,
        tls=shown if tls else None,
        tokens=TOKENS,
        take=desk.take,
        observe=seen.append,
        monotonic=time.monotonic,
        strange_wait_s=strange_wait_s,
        take_s_max=take_s_max,
        **bounds,
    )
    await server.start()
    url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
    try:
        async with httpx.AsyncClient(base_url=url, verify=trusted, trust_env=False, timeout=20) as client:
            yield Stage(server, desk, seen, client, trusted)
    finally:
        await server.close()


def reasons(answer: httpx.Response) -> list[str]:
    said: list[str] = orjson.loads(answer.content)["reasons"]
    return said


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - another connection's doing
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("tls", [True, False])
async def test_what_is_posted_arrives_as_it_is(tls: bool) -> None:  # noqa: FBT001 - a parameter
    async with a_stage(tls=tls) as stage:
        for path, body in ((REPORTS, b'[{"a": 1}]'), (REPLIES, b"\xff\x00 no JSON"), (f"{REPORTS}?x=1", b"")):
            answer = await stage.client.post(path, content=body)
            assert (answer.status_code, answer.json()) == (200, {"taken": True})
        assert stage.desk.taken == [
            (CallbackKind.REPORTS, "acme", b'[{"a": 1}]'),
            (CallbackKind.REPLIES, "acme", b"\xff\x00 no JSON"),
            (CallbackKind.REPORTS, "acme", b""),
        ]
        assert stage.results() == [CallbackResult.TAKEN] * 3
        assert all(0 < limit_s <= 10 for limit_s in stage.desk.limits_s)


NO_HTTP = {
    "no method": b"+61412345678 / HTTP/1.1\r\n\r\n",
    "no header": f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\n+61412345678 x\r\n\r\n".encode(),
    "no length": f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Length: +61412345678\r\n\r\n".encode(),
    "no chunk": f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+61412345678\r\n".encode(),
    "a long address": b"POST /callbacks/61412345678" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("said", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_answered_in_our_own_words_and_counted(said: bytes) -> None:
    async with a_stage() as stage:
        reader, writer = await stage.line()
        writer.write(said)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert b" 400 " in answer
        assert b"aiohttp" not in answer
        assert b"61412345678" not in answer
        assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["reasons"]
        assert stage.results() == [CallbackResult.UNKNOWN_ADDRESS]
        assert stage.desk.taken == []


STRANGE = {
    "a wrong token": ("POST", "/callbacks/acme/the-token-of-acm3/reports"),
    "an empty token": ("POST", "/callbacks/acme//reports"),
    "a token that goes on": ("POST", "/callbacks/acme/the-token-of-acme1/reports"),
    "a token cut short": ("POST", "/callbacks/acme/the-token-of-acm/reports"),
    "another account's token": ("POST", "/callbacks/acme/the-token-of-other/reports"),
    "no such account": ("POST", "/callbacks/nobody/the-token-of-acme/reports"),
    "no account": ("POST", "/callbacks//the-token-of-acme/reports"),
    "no such kind": ("POST", "/callbacks/acme/the-token-of-acme/letters"),
    "no kind": ("POST", "/callbacks/acme/the-token-of-acme"),
    "more than the kind": ("POST", "/callbacks/acme/the-token-of-acme/reports/1"),
    "another place": ("POST", "/elsewhere/acme/the-token-of-acme/reports"),
    "half a pair of surrogates": ("POST", "/callbacks/acme/%ED%A0%80/reports"),
    "the root": ("GET", "/"),
    "a wrong token asked for": ("GET", "/callbacks/acme/the-token-of-acm3/reports"),
    "the options": ("OPTIONS", "/callbacks/acme/the-token-of-acm3/reports"),
}


@pytest.mark.parametrize("what", STRANGE)
async def test_an_address_that_is_nobodys_gets_the_same_answer_after_the_same_wait(what: str) -> None:
    method, path = STRANGE[what]
    async with a_stage(strange_wait_s=0.2) as stage:
        began_s = time.monotonic()
        answer = await stage.client.request(method, path, content=b"[]")
        assert time.monotonic() - began_s >= 0.2
        assert answer.status_code == 404
        assert answer.content == b'{"reasons":["there is nothing here"]}'
        assert set(answer.headers) == {"content-type", "content-length", "date", "server"}
        assert answer.headers["server"] == "mms-worker"
        assert stage.desk.taken == []
        (seen,) = stage.seen
        assert isinstance(seen, CallbackAnswered)
        assert (seen.result, seen.account, seen.why) == (CallbackResult.UNKNOWN_ADDRESS, None, None)


async def test_guesses_on_one_connection_wait_for_each_other() -> None:
    async with a_stage(strange_wait_s=0.1) as stage:
        reader, writer = await stage.line()
        began_s = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        for _ in range(5):
            await reader.readuntil(b"there is nothing here")
        assert time.monotonic() - began_s >= 0.5
        writer.close()


@pytest.mark.parametrize("way", ["told beforehand", "in pieces"])
async def test_a_body_may_have_just_as_many_bytes_and_no_more(way: str) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for begin, end in pairwise([*range(0, size, 65_536), size]):
            yield b"x" * (end - begin)

    async with a_stage() as stage:
        for size, expected in ((BODY_BYTES_MAX, 200), (BODY_BYTES_MAX + 1, 413)):
            content = b"x" * size if way == "told beforehand" else pieces(size)
            answer = await stage.client.post(REPORTS, content=content)
            assert answer.status_code == expected
        assert [len(body) for _, _, body in stage.desk.taken] == [BODY_BYTES_MAX]
        assert stage.results() == [CallbackResult.TAKEN, CallbackResult.TOO_LARGE]
        assert reasons(answer) == ["the body has more than 1,048,576 bytes"]


async def test_a_size_that_is_told_beforehand_is_refused_before_anything_is_read() -> None:
    async with a_stage() as stage:
        reader, writer = await stage.line()
        writer.write(f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n".encode())
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def test_what_cannot_be_read_is_told_with_the_mistakes() -> None:
    async with a_stage() as stage:
        stage.desk.answer = Malformed(("entry 1: status is missing", "entry 2: is a number, not an object"))
        answer = await stage.client.post(REPORTS, content=b"[{}, 1]")
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("application/json")
        assert reasons(answer) == ["entry 1: status is missing", "entry 2: is a number, not an object"]
        (seen,) = stage.seen
        assert isinstance(seen, CallbackAnswered)
        assert (seen.result, seen.account) == (CallbackResult.MALFORMED, "acme")
        assert seen.why == "entry 1: status is missing; entry 2: is a number, not an object"


async def test_what_cannot_be_kept_safe_is_to_be_posted_again_and_the_cause_is_not_told_outside() -> None:
    async with a_stage() as stage:
        stage.desk.answer = NotTaken("the broker at 10.0.0.1 is away")
        answer = await stage.client.post(REPORTS, content=b"[]")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert reasons(answer) == ["it cannot be taken now: post it again"]
        (seen,) = stage.seen
        assert isinstance(seen, CallbackAnswered)
        assert (seen.result, seen.why) == (CallbackResult.NOT_TAKEN, "the broker at 10.0.0.1 is away")


async def test_who_has_the_token_is_told_that_he_must_post() -> None:
    async with a_stage() as stage:
        answer = await stage.client.get(REPORTS)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert stage.desk.taken == []


async def test_a_compressed_body_is_refused_and_not_inflated() -> None:
    async with a_stage() as stage:
        answer = await stage.client.post(REPORTS, content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 400
        assert reasons(answer) == ["the body is compressed, which is not taken"]
        assert stage.desk.taken == []


async def test_who_asks_before_he_posts_is_told_to_go_on() -> None:
    async with a_stage() as stage:
        reader, writer = await stage.line()
        writer.write(
            f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"[]")
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with a_stage(take_s_max=0.3) as stage:
        reader, writer = await stage.line()
        writer.write(f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[".encode())
        assert b" 503 " in await asyncio.wait_for(reader.readline(), 5)
        assert stage.desk.taken == []
        await asyncio.wait_for(reader.read(), 5)  # its end: what comes later is nobody's body
        writer.close()


async def test_who_goes_away_in_the_middle_disturbs_nobody() -> None:
    async with a_stage() as stage:
        _, writer = await stage.line()
        writer.write(f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[".encode())
        await until(lambda: stage.server.in_hand == 1)
        writer.transport.abort()
        await until(lambda: stage.results() == [CallbackResult.NOT_TAKEN])
        assert stage.desk.taken == []
        assert (await stage.client.post(REPORTS, content=b"[]")).status_code == 200
        assert stage.server.in_hand == 0


async def test_a_body_that_is_not_what_its_headers_say_is_refused_at_once() -> None:
    async with a_stage() as stage:
        reader, writer = await stage.line()
        writer.write(f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n".encode())
        await until(lambda: stage.server.in_hand == 1)
        writer.write(b"not a size\r\n")
        async with asyncio.timeout(5):
            answer = await reader.read()  # to its end: nothing can be read on there
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1") == 1
        assert b"the body is not transferred as its headers say" in answer
        assert stage.results() == [CallbackResult.MALFORMED]
        assert stage.desk.taken == []
        writer.close()


async def test_what_follows_a_whole_body_and_is_no_request_does_not_harm_it() -> None:
    async with a_stage() as stage:
        stage.desk.until = asyncio.Event()
        reader, writer = await stage.line()
        writer.write(f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]".encode())
        await until(lambda: stage.desk.taken)
        writer.write(b"no request\r\n\r\n")
        await asyncio.sleep(0.1)
        stage.desk.until.set()
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert stage.results() == [CallbackResult.TAKEN, CallbackResult.UNKNOWN_ADDRESS]
        writer.close()


async def test_no_more_bodies_are_in_hand_than_there_is_room_for() -> None:
    async with a_stage(take_s_max=0.5, bodies_max=1) as stage:
        stage.desk.until = asyncio.Event()
        first = asyncio.create_task(stage.client.post(REPORTS, content=b"1"))
        await until(lambda: stage.desk.taken)
        second = await stage.client.post(REPORTS, content=b"2")
        assert second.status_code == 503
        third = asyncio.create_task(stage.client.post(REPORTS, content=b"3"))
        await until(lambda: stage.server.in_hand == 2)
        stage.desk.until.set()
        assert [(await one).status_code for one in (first, third)] == [200, 200]
        assert [body for _, _, body in stage.desk.taken] == [b"1", b"3"]


async def is_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether something that is said there is answered."""
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return b" 404 " in await asyncio.wait_for(reader.readline(), 5)
    except ConnectionError:
        return False


async def test_of_too_many_connections_the_oldest_goes_that_has_never_shown_a_token() -> None:
    async with a_stage(connections_max=3) as stage:
        trusted = await stage.line()
        trusted[1].write(f"GET {REPORTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await trusted[0].readuntil(b"posted")
        lines = [await stage.line() for _ in range(4)]
        for reader, writer in lines[:2]:
            assert await asyncio.wait_for(reader.read(), 5) == b""  # told as its end
            writer.close()
        trusted[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"nothing here" in await trusted[0].readuntil(b"nothing here")
        for reader, writer in lines[2:]:
            assert await is_open(reader, writer)
            writer.close()
        trusted[1].close()


async def test_tokens_can_be_changed_while_it_runs() -> None:
    async with a_stage() as stage:
        stage.server.admit({"new": "the-token-of-new"})
        assert (await stage.client.post(REPORTS, content=b"[]")).status_code == 404
        assert (await stage.client.post("/callbacks/new/the-token-of-new/reports", content=b"[]")).status_code == 200


async def test_a_port_that_is_taken_is_one_sentence() -> None:
    async with a_stage() as stage:
        second = CallbackServer(
            host="127.0.0.1",
            port=stage.server.port,
            tls=None,
            tokens=TOKENS,
            take=stage.desk.take,
            observe=stage.seen.append,
            monotonic=time.monotonic,
        )
        with pytest.raises(CannotStart, match="set MMS_RECEIVE_PORT"):
            await second.start()


async def test_a_host_that_nobody_knows_is_one_sentence_that_says_so() -> None:
    server = CallbackServer(
        host="nobody.invalid",
        port=0,
        tls=None,
        tokens=TOKENS,
        take=Desk().take,
        observe=print,
        monotonic=time.monotonic,
    )
    with pytest.raises(CannotStart) as raised:
        await server.start()
    assert "Unknown error" not in str(raised.value)
    assert "set MMS_RECEIVE_PORT (0 takes any free port) or MMS_RECEIVE_HOST" in str(raised.value)


@pytest.mark.parametrize("tls", [True, False])
async def test_at_its_end_what_is_in_hand_is_answered_and_nothing_more_is_taken(tls: bool) -> None:  # noqa: FBT001 - a parameter
    async with a_stage(tls=tls) as stage, stage.another_client() as idle:
        await end_while_in_hand(stage, idle)


async def end_while_in_hand(stage: Stage, idle: httpx.AsyncClient) -> None:
    """``idle`` has a connection that stays open, which is not to be waited for."""
    await idle.post(REPORTS, content=b"0")
    stage.desk.until = asyncio.Event()
    in_hand = asyncio.create_task(stage.client.post(REPORTS, content=b"1"))
    await until(lambda: len(stage.desk.taken) == 2)
    closing = asyncio.create_task(stage.server.close())
    await refused(lambda: stage.client.post(REPORTS, content=b"2"))
    await asyncio.sleep(0.2)
    assert not closing.done()
    stage.desk.until.set()
    assert (await in_hand).status_code == 200
    await asyncio.wait_for(closing, 5)
    assert [body for _, _, body in stage.desk.taken] == [b"0", b"1"]


@pytest.mark.parametrize("kept_open", [True, False])
async def test_at_its_end_a_body_that_is_still_coming_is_read_and_taken(kept_open: bool) -> None:  # noqa: FBT001 - a parameter
    async with a_stage() as stage, stage.another_client() as idle:
        await idle.post(REPORTS, content=b"0")
        reader, writer = await stage.line()
        writer.write(f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[".encode())
        await until(lambda: stage.server.in_hand == 1)
        closing = asyncio.create_task(stage.server.close())
        await asyncio.sleep(0.2)
        writer.write(b"]")
        if kept_open:
            async with asyncio.timeout(5):
                answer = await reader.read()  # to its end: nothing more is taken there
            assert answer.startswith(b"HTTP/1.1 200 ")
        else:
            writer.close()
        await asyncio.wait_for(closing, 5)
        assert [body for _, _, body in stage.desk.taken] == [b"0", b"[]"]
        writer.close()


async def refused(ask: Callable[[], Awaitable[object]]) -> None:
    async def ask_again() -> None:
        while True:
            await ask()

    with pytest.raises(httpx.TransportError):
        await asyncio.wait_for(ask_again(), 5)
