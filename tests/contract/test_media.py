"""Fetching pictures over real TLS on loopback: every rule that the head of the adapter's module lists."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from worker.adapters.media import REDIRECTS_MAX, REFUSAL_KEPT_S, MediaFetcher
from worker.core.picture import PICTURE_BYTES_MAX, Picture
from worker.flow.ports import MediaRefused, MediaUnavailable

GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01\x00\x00\x3b"
LOOPBACK = ("127.0.0.1/32",)
CDN = "cdn.example.com"
TOKEN = "token-nobody-may-see"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serving_as(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def identity(authority: trustme.CA) -> ssl.SSLContext:
    return serving_as(authority, "127.0.0.1", "127.0.0.2", "*.example.com")


@dataclass
class Site:
    """A server on loopback and what it was asked."""

    handler: Handler
    port: int = 0
    requests: list[web.Request] = field(default_factory=list)

    def url(self, path: str = "/a.gif", host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        self.requests.append(request)
        return await self.handler(request)


@asynccontextmanager
async def serving(
    handler: Handler, tls: ssl.SSLContext | None, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Site]:
    site = Site(handler)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    listening = web.TCPSite(runner, address, port, ssl_context=tls)
    await listening.start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()


@dataclass
class Names(AbstractResolver):
    """A look-up that answers each time with the next of the given answers, and with the last one from then on."""

    answers: list[list[str]]
    error: OSError | None = None
    asked: list[str] = field(default_factory=list)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the library passes it
    ) -> list[ResolveResult]:
        if self.error is not None:
            raise self.error
        addresses = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@dataclass
class Clock:
    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Making:
    """Makes fetchers that are closed when the test ends."""

    trust: ssl.SSLContext
    made: list[MediaFetcher] = field(default_factory=list)

    def __call__(
        self,
        *,
        allowed: tuple[str, ...] = LOOPBACK,
        timeout_s: float = 10.0,
        concurrent_max: int = 8,
        cache_bytes_max: int = 1_000_000,
        monotonic: Callable[[], float] | None = None,
        resolver: AbstractResolver | None = None,
    ) -> MediaFetcher:
        fetcher = MediaFetcher(
            allowed=allowed,
            ssl_context=self.trust,
            timeout_s=timeout_s,
            concurrent_max=concurrent_max,
            cache_bytes_max=cache_bytes_max,
            cache_ttl_s=300.0,
            monotonic=monotonic or Clock(),
            resolver=resolver,
        )
        self.made.append(fetcher)
        return fetcher


@pytest.fixture
async def making(trust: ssl.SSLContext) -> AsyncIterator[Making]:
    making = Making(trust)
    yield making
    for fetcher in making.made:
        await fetcher.aclose()


async def a_gif(_: web.Request) -> web.Response:
    return web.Response(body=GIF, content_type="application/octet-stream")


def answering(response: Callable[[], web.Response]) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return response()

    return handler


class Gate:
    """A handler that answers only when it is opened."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()
        self.now_inside = 0
        self.most_inside = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.now_inside += 1
        self.most_inside = max(self.most_inside, self.now_inside)
        self.asked.set()
        try:
            await self.opened.wait()
            return await a_gif(request)
        finally:
            self.now_inside -= 1


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens in a server and has no event
            await asyncio.sleep(0)


# --- What works ---------------------------------------------------------------------------------------------


async def test_the_picture_is_what_the_host_serves_whatever_it_calls_it(
    making: Making, identity: ssl.SSLContext
) -> None:
    async with serving(a_gif, identity) as site:
        picture = await making().fetch(site.url())
    assert isinstance(picture, Picture)
    assert picture.data == GIF


async def test_the_certificate_is_checked_for_the_name_while_the_address_is_the_checked_one(
    making: Making, authority: trustme.CA
) -> None:
    names_seen: list[str | None] = []
    tls = serving_as(authority, CDN)
    tls.sni_callback = lambda _socket, name, _context: names_seen.append(name)
    names = Names([["127.0.0.1"]])
    async with serving(a_gif, tls) as site:
        assert isinstance(await making(resolver=names).fetch(site.url(host=CDN)), Picture)
        assert site.requests[0].headers["Host"] == f"{CDN}:{site.port}"
    assert names_seen == [CDN]
    assert names.asked == [CDN], "a second look-up could answer something else"


async def test_the_systems_look_up_is_used_when_no_other_is_given(making: Making, authority: trustme.CA) -> None:
    async with serving(a_gif, serving_as(authority, "localhost")) as site:
        assert isinstance(await making().fetch(site.url(host="localhost")), Picture)


async def test_a_host_entry_lets_the_host_in_by_its_private_address(making: Making, identity: ssl.SSLContext) -> None:
    async with serving(a_gif, identity) as site:
        fetcher = making(allowed=(CDN,), resolver=Names([["127.0.0.1"]]))
        assert isinstance(await fetcher.fetch(site.url(host=CDN)), Picture)


async def test_a_url_goes_out_as_it_was_given_and_nothing_of_ours_with_it(
    making: Making, identity: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def with_a_cookie(_: web.Request) -> web.Response:
        return web.Response(body=GIF, headers={"Set-Cookie": "id=1; Path=/", "Cache-Control": "no-store"})

    clock = Clock()
    async with serving(with_a_cookie, identity) as site:
        fetcher = making(monotonic=clock)
        for _ in range(2):
            assert isinstance(await fetcher.fetch(site.url("/a%2Fb%7E.gif?sig=%2B/c%20d&e=%7e#part")), Picture)
            clock.now_s += 10
    assert [request.raw_path for request in site.requests] == ["/a%2Fb%7E.gif?sig=%2B/c%20d&e=%7e"] * 2
    for request in site.requests:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}
        assert request.headers["Accept-Encoding"] == "identity"


# --- Addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "fe80::1%lo",
        "nonsense",
    ],
)
async def test_a_name_that_has_only_private_addresses_is_refused_without_a_connection(
    making: Making, identity: ssl.SSLContext, address: str
) -> None:
    async with serving(a_gif, identity) as site:
        answer = await making(allowed=(), resolver=Names([[address]])).fetch(site.url(host=CDN))
    assert isinstance(answer, MediaRefused)
    assert CDN in answer.reason
    assert address not in answer.reason
    assert site.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]"])
async def test_an_address_in_the_url_is_checked_as_a_name_is(
    making: Making, identity: ssl.SSLContext, host: str
) -> None:
    async with serving(a_gif, identity) as site:
        assert isinstance(await making(allowed=()).fetch(site.url(host=host)), MediaRefused)
    assert site.requests == []


async def test_only_the_permitted_of_a_names_addresses_is_connected_to(
    making: Making, identity: ssl.SSLContext
) -> None:
    names = Names([["127.0.0.2", "127.0.0.1"]])
    async with serving(a_gif, identity) as site, serving(a_gif, identity, "127.0.0.2", site.port) as forbidden:
        assert isinstance(await making(resolver=names).fetch(site.url(host=CDN)), Picture)
    assert len(site.requests) == 1
    assert forbidden.requests == []


async def test_a_name_that_later_points_elsewhere_is_checked_again(making: Making, identity: ssl.SSLContext) -> None:
    names, clock = Names([["127.0.0.1"], ["127.0.0.2"]]), Clock()
    async with serving(a_gif, identity) as site, serving(a_gif, identity, "127.0.0.2", site.port) as forbidden:
        fetcher = making(resolver=names, monotonic=clock)
        assert isinstance(await fetcher.fetch(site.url(host=CDN)), Picture)
        clock.now_s += 1_000
        assert isinstance(await fetcher.fetch(site.url(host=CDN)), MediaRefused)
    assert forbidden.requests == []


async def test_a_host_that_is_not_on_the_list_is_not_even_looked_up(making: Making) -> None:
    names = Names([["8.8.8.8"]])
    answer = await making(allowed=(CDN,), resolver=names).fetch("https://other.example.com/a.gif")
    assert isinstance(answer, MediaRefused)
    assert "MMS_MEDIA_HOSTS_ALLOWED" in answer.reason
    assert names.asked == []


async def test_plain_http_is_refused(making: Making) -> None:
    async with serving(a_gif, None) as site:
        answer = await making().fetch(site.url().replace("https:", "http:"))
    assert isinstance(answer, MediaRefused)
    assert site.requests == []


# --- TLS and the way there ----------------------------------------------------------------------------------


async def test_a_certificate_for_another_host_is_not_accepted(making: Making, authority: trustme.CA) -> None:
    async with serving(a_gif, serving_as(authority, "other.example.com")) as site:
        answer = await making(resolver=Names([["127.0.0.1"]])).fetch(site.url(host=CDN))
    assert isinstance(answer, MediaUnavailable)
    assert "certificate" in answer.reason
    assert site.requests == []


async def test_a_certificate_of_an_unknown_authority_is_not_accepted(making: Making) -> None:
    async with serving(a_gif, serving_as(trustme.CA(), "127.0.0.1")) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaUnavailable)
    assert "certificate" in answer.reason
    assert site.requests == []


async def test_a_context_that_does_not_verify_is_refused_at_once() -> None:
    for is_name_checked, mode in ((False, ssl.CERT_NONE), (False, ssl.CERT_REQUIRED)):
        context = ssl.create_default_context()
        context.check_hostname = is_name_checked
        context.verify_mode = mode
        with pytest.raises(ValueError, match="must"):
            MediaFetcher(allowed=(), ssl_context=context)


async def test_a_host_that_speaks_no_tls_may_work_later(making: Making) -> None:
    async with serving(a_gif, None) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaUnavailable)
    assert site.requests == []


async def test_a_port_that_nobody_listens_on_may_work_later_and_the_address_is_not_told(making: Making) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"https://{CDN}:{reserved.getsockname()[1]}/"
        answer = await making(resolver=Names([["127.0.0.1"]])).fetch(url)
    assert answer == MediaUnavailable(f"No connection to {CDN} could be made (Connection refused).")


async def test_a_name_that_cannot_be_looked_up_may_work_later(making: Making) -> None:
    failure = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    for names in (Names([], error=failure), Names([[]])):
        answer = await making(resolver=names).fetch(f"https://{CDN}/")
        assert answer == MediaUnavailable(f"The host name {CDN} could not be looked up.")


# --- Answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 204, 206, 300, 301, 304, 400, 401, 403, 404, 410, 451])
async def test_an_answer_that_will_stay_is_refused(making: Making, identity: ssl.SSLContext, status: int) -> None:
    async with serving(answering(lambda: web.Response(status=status)), identity) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaRefused)
    assert str(status) in answer.reason


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_an_answer_that_may_pass_may_work_later(making: Making, identity: ssl.SSLContext, status: int) -> None:
    async with serving(answering(lambda: web.Response(status=status)), identity) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaUnavailable)
    assert str(status) in answer.reason


@pytest.mark.parametrize("body", [b"", b"<html>", GIF[:8]])
async def test_a_body_that_is_no_picture_is_refused_in_a_whole_sentence(
    making: Making, identity: ssl.SSLContext, body: bytes
) -> None:
    async with serving(answering(lambda: web.Response(body=body, content_type="image/gif")), identity) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaRefused)
    assert answer.reason.startswith("The picture at 127.0.0.1 ")
    assert answer.reason.endswith(".")


async def test_a_compressed_body_is_refused_and_never_unpacked(making: Making, identity: ssl.SSLContext) -> None:
    gzipped = {"Content-Encoding": "gzip"}
    async with serving(answering(lambda: web.Response(body=GIF, headers=gzipped)), identity) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaRefused)
    assert "encodes" in answer.reason


async def test_a_picture_of_exactly_the_most_bytes_is_taken(making: Making, identity: ssl.SSLContext) -> None:
    body = GIF.ljust(PICTURE_BYTES_MAX, b"\0")
    async with serving(answering(lambda: web.Response(body=body)), identity) as site:
        picture = await making().fetch(site.url())
    assert isinstance(picture, Picture)
    assert picture.data == body


async def test_a_length_that_is_too_large_is_refused_before_the_body(making: Making, identity: ssl.SSLContext) -> None:
    never = asyncio.Event()

    async def head_only(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(PICTURE_BYTES_MAX + 1)})
        await response.prepare(request)
        await never.wait()
        return response

    async with serving(head_only, identity) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaRefused)
    assert "380,000" in answer.reason


async def test_a_body_without_length_is_refused_at_the_first_byte_too_many(
    making: Making, identity: ssl.SSLContext
) -> None:
    never = asyncio.Event()

    async def without_end(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(GIF.ljust(PICTURE_BYTES_MAX + 1, b"\0"))
        await never.wait()
        return response

    async with serving(without_end, identity) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaRefused)
    assert "more than 380,000 bytes" in answer.reason


async def test_a_body_that_is_cut_off_may_work_later(making: Making, identity: ssl.SSLContext) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(GIF)
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(cut, identity) as site:
        answer = await making().fetch(site.url())
    assert isinstance(answer, MediaUnavailable)


async def test_something_that_is_not_http_may_work_later(making: Making, identity: ssl.SSLContext) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0, ssl=identity)
    async with server:
        answer = await making().fetch(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/?{TOKEN}")
    assert isinstance(answer, MediaUnavailable)
    assert TOKEN not in answer.reason


async def test_a_body_that_trickles_ends_with_the_one_deadline(making: Making, identity: ssl.SSLContext) -> None:
    left = asyncio.Event()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"G")
                await asyncio.sleep(0.01)
        finally:
            left.set()

    async with serving(trickle, identity) as site:
        async with asyncio.timeout(2):
            answer = await making(timeout_s=0.15).fetch(site.url())
            await left.wait()
    assert answer == MediaUnavailable("127.0.0.1 did not hand out the picture within 0.15 s.")


async def test_a_host_that_never_shakes_hands_ends_with_the_deadline(making: Making) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        async with asyncio.timeout(2):
            assert isinstance(await making(timeout_s=0.1).fetch(url), MediaUnavailable)


# --- Redirects ----------------------------------------------------------------------------------------------


def redirecting(location: Callable[[web.Request], str | None], status: int = 302) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        to = location(request)
        return await a_gif(request) if to is None else web.Response(status=status, headers={"Location": to})

    return handler


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(making: Making, identity: ssl.SSLContext, status: int) -> None:
    handler = redirecting(lambda request: "b%7E.gif?x=%20" if request.path == "/d/a.gif" else None, status)
    async with serving(handler, identity) as site:
        assert isinstance(await making().fetch(site.url("/d/a.gif")), Picture)
    assert [request.raw_path for request in site.requests] == ["/d/a.gif", "/d/b%7E.gif?x=%20"]
    assert "Referer" not in site.requests[1].headers


async def test_redirects_are_followed_so_often_and_no_more(making: Making, identity: ssl.SSLContext) -> None:
    def next_of(request: web.Request) -> str | None:
        left = int(request.path[1:])
        return f"/{left - 1}" if left else None

    async with serving(redirecting(next_of), identity) as site:
        fetcher = making()
        assert isinstance(await fetcher.fetch(site.url(f"/{REDIRECTS_MAX}")), Picture)
        assert isinstance(await fetcher.fetch(site.url(f"/{REDIRECTS_MAX + 1}")), MediaRefused)
    assert len(site.requests) == 2 * (REDIRECTS_MAX + 1)


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.2:{port}/a.gif",
        "//127.0.0.2:{port}/a.gif",
        "https://[::1]:{port}/",
        "https://[::ffff:127.0.0.2]:{port}/",
        "https://2130706433:{port}/",
        "https://169.254.169.254/latest/meta-data/",
        "https://inside.example.com:{port}/",
        "http://127.0.0.1:{port}/a.gif",
        "https://user:password@127.0.0.1:{port}/b.gif",
        "file:///etc/passwd",
        "https://[/",
        "b c.gif",
    ],
)
async def test_a_redirect_passes_the_same_checks(making: Making, identity: ssl.SSLContext, location: str) -> None:
    names = Names([["127.0.0.2"]])
    site_port = 0
    handler = redirecting(lambda request: location.format(port=site_port) if request.path == "/a.gif" else None)
    async with serving(handler, identity) as site, serving(a_gif, identity, "127.0.0.2", site.port) as forbidden:
        site_port = site.port
        answer = await making(resolver=names).fetch(site.url(f"/a.gif?{TOKEN}"))
    assert isinstance(answer, MediaRefused)
    assert TOKEN not in answer.reason
    assert len(site.requests) == 1
    assert forbidden.requests == []


# --- Sharing and keeping ------------------------------------------------------------------------------------


async def test_fetches_of_one_url_at_the_same_time_share_one_request(making: Making, identity: ssl.SSLContext) -> None:
    gate = Gate()
    async with serving(gate, identity) as site:
        fetcher = making()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetcher.fetch(site.url())) for _ in range(20)]
            await gate.asked.wait()
            gate.opened.set()
        assert all(isinstance(task.result(), Picture) for task in tasks)
    assert len(site.requests) == 1


async def test_one_caller_that_is_cancelled_leaves_the_others_theirs(making: Making, identity: ssl.SSLContext) -> None:
    gate = Gate()
    async with serving(gate, identity) as site:
        fetcher = making()
        first, second = (asyncio.create_task(fetcher.fetch(site.url())) for _ in range(2))
        await gate.asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.opened.set()
        assert isinstance(await second, Picture)
    assert len(site.requests) == 1


async def test_a_request_that_nobody_waits_for_ends_and_the_next_caller_gets_a_new_one(
    making: Making, identity: ssl.SSLContext
) -> None:
    gate = Gate()
    async with serving(gate, identity) as site:
        fetcher = making(concurrent_max=1)
        callers = [asyncio.create_task(fetcher.fetch(site.url())) for _ in range(2)]
        await gate.asked.wait()
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        again = asyncio.create_task(fetcher.fetch(site.url()))
        await until(lambda: len(site.requests) == 2)
        assert site.requests[0].transport is None, "its connection is closed"
        gate.opened.set()
        assert isinstance(await again, Picture)


async def test_a_picture_is_asked_for_again_only_when_its_time_is_over(
    making: Making, identity: ssl.SSLContext
) -> None:
    bodies = iter([GIF, GIF + b"changed"])
    clock = Clock()
    async with serving(answering(lambda: web.Response(body=next(bodies))), identity) as site:
        fetcher = making(monotonic=clock)
        seen: list[bytes] = []
        for wait_s in (0, 299, 1):
            clock.now_s += wait_s
            picture = await fetcher.fetch(site.url())
            assert isinstance(picture, Picture)
            seen.append(picture.data)
    assert seen == [GIF, GIF, GIF + b"changed"]


async def test_a_host_that_limits_the_time_is_heard(making: Making, identity: ssl.SSLContext) -> None:
    clock = Clock()
    limited = {"Cache-Control": "max-age=60"}
    async with serving(answering(lambda: web.Response(body=GIF, headers=limited)), identity) as site:
        fetcher = making(monotonic=clock)
        for wait_s in (0, 59, 1):
            clock.now_s += wait_s
            await fetcher.fetch(site.url())
    assert len(site.requests) == 2


async def test_kept_pictures_stay_within_their_bytes(making: Making, identity: ssl.SSLContext) -> None:
    body = GIF.ljust(30_000, b"\0")
    async with serving(answering(lambda: web.Response(body=body)), identity) as site:
        fetcher = making(cache_bytes_max=70_000)
        for path in ("/1", "/2", "/3", "/3", "/2", "/1"):
            assert isinstance(await fetcher.fetch(site.url(path)), Picture)
    assert [request.path for request in site.requests] == ["/1", "/2", "/3", "/1"]


async def test_a_refusal_is_remembered_for_seconds_and_a_failure_not_at_all(
    making: Making, identity: ssl.SSLContext
) -> None:
    clock = Clock()

    async def by_path(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path[1:]))

    async with serving(by_path, identity) as site:
        fetcher = making(monotonic=clock)
        for wait_s in (0, REFUSAL_KEPT_S - 1, 1):
            clock.now_s += wait_s
            await fetcher.fetch(site.url("/404"))
            await fetcher.fetch(site.url("/503"))
    assert [request.path for request in site.requests] == ["/404", "/503", "/503", "/404", "/503"]


# --- Bounds and the end -------------------------------------------------------------------------------------


async def test_no_more_fetches_run_at_once_than_agreed_and_one_host_gets_half(
    making: Making, identity: ssl.SSLContext
) -> None:
    slow, quick = Gate(), Gate()
    quick.opened.set()
    async with serving(slow, identity) as slow_site, serving(quick, identity, "127.0.0.2") as quick_site:
        fetcher = making(allowed=("127.0.0.0/8",), concurrent_max=4)
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(fetcher.fetch(slow_site.url(f"/{number}")))
            await until(lambda: slow.now_inside == 2)
            assert isinstance(await fetcher.fetch(quick_site.url(host="127.0.0.2")), Picture)
            slow.opened.set()
    assert slow.most_inside == 2
    assert len(slow_site.requests) == 10


async def test_all_hosts_together_get_no_more_places_than_agreed(making: Making, identity: ssl.SSLContext) -> None:
    gate, names = Gate(), Names([["127.0.0.1"]])
    async with serving(gate, identity) as site:
        fetcher = making(resolver=names, concurrent_max=2)
        async with asyncio.TaskGroup() as group:
            for name in ("a.example.com", "b.example.com", "c.example.com", CDN):
                group.create_task(fetcher.fetch(site.url(host=name)))
            await until(lambda: gate.now_inside == 2)
            assert len(names.asked) == 2, "the others have not even begun"
            gate.opened.set()
    assert gate.most_inside == 2
    assert len(site.requests) == 4


async def test_waiting_for_a_place_ends_too(making: Making, identity: ssl.SSLContext) -> None:
    gate = Gate()
    async with serving(gate, identity) as site:
        fetcher = making(concurrent_max=1, timeout_s=0.1)
        first, second = await asyncio.gather(fetcher.fetch(site.url("/1")), fetcher.fetch(site.url("/2")))
    assert isinstance(first, MediaUnavailable)
    assert isinstance(second, MediaUnavailable)


async def test_closing_ends_what_is_under_way_with_a_value_and_leaves_nothing(
    making: Making, identity: ssl.SSLContext
) -> None:
    gate = Gate()
    async with serving(gate, identity) as site:
        fetcher = making()
        under_way = asyncio.create_task(fetcher.fetch(site.url()))
        await gate.asked.wait()
        await fetcher.aclose()
        assert isinstance(await under_way, MediaUnavailable)
        assert isinstance(await fetcher.fetch(site.url("/late")), MediaUnavailable)
    assert len(site.requests) == 1


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_no_url_is_ever_logged_or_told(
    making: Making, identity: ssl.SSLContext, everything_logged: pytest.LogCaptureFixture
) -> None:
    asyncio.get_running_loop().set_debug(True)

    async def by_path(request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": f"http://127.0.0.1/{TOKEN}"})
        if request.path == "/cookie":
            return web.Response(body=b"no", headers={"Set-Cookie": "=;;\x7f bad"})
        return web.Response(status=int(request.path[1:]))

    async with serving(by_path, identity) as site:
        fetcher = making()
        urls = [site.url(f"{path}?{TOKEN}") for path in ("/404", "/503", "/moved", "/cookie")]
        urls += [
            f"https://127.0.0.1:1/{TOKEN}",
            f"https://{TOKEN}@127.0.0.1/",
            f"https://h/ {TOKEN}",
            f"https://127.1/{TOKEN}",
        ]
        answers = [await fetcher.fetch(url) for url in urls]
        ours = [record for record in everything_logged.records if record.name != "aiohttp.access"]
    assert all(isinstance(answer, MediaRefused | MediaUnavailable) for answer in answers)
    assert all(TOKEN not in repr(answer) for answer in answers)
    assert all(TOKEN not in record.getMessage() for record in ours)
