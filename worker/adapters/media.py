"""Pictures fetched over https from URLs that producers chose: hostile until proven otherwise.

What holds for every fetch, redirects included:
1. the URL, its host and every address are checked (`media_addresses`); the connection goes to a checked
   address and no name is looked up twice, while the certificate and SNI are those of the URL's host;
2. nothing of ours is sent: no cookies, credentials, referrer, and no proxy from the environment is used;
3. at most PICTURE_BYTES_MAX + 1 bytes of a body are kept, no encoding is undone, the bytes decide the kind;
4. it ends within twice `timeout_s`: once at most waiting for a place, once at most fetching, body included;
5. reasons name the host, never the URL (its query may carry a token), and nothing is logged.

Redirects are followed (REDIRECTS_MAX, by us and not by the library), since storage services and CDNs answer
with one as a matter of course; each hop passes the same checks.
"""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from worker.adapters.media_addresses import allowance_from, checked_url
from worker.adapters.media_kept import Kept, fresh_s
from worker.adapters.media_lookup import AddressesRefusedError, CheckedResolver, ThreadedLookup
from worker.core.picture import PICTURE_BYTES_MAX, Picture, PictureRefused, picture_from
from worker.flow.ports import MediaRefused, MediaUnavailable

REDIRECTS_MAX: Final = 3
# A refusal is remembered just long enough that a campaign does not ask for the same bad URL at its full pace.
REFUSAL_KEPT_S: Final = 5.0
CHUNK_BYTES: Final = 65_536

_HEADERS: Final = {
    "Accept": "image/png, image/gif, image/jpeg",
    "Accept-Encoding": "identity",
    "User-Agent": "mms-worker",
}
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class _Moved:
    location: str


@dataclass(frozen=True, slots=True)
class _Fetched:
    picture: Picture
    fresh_s: float


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Picture | MediaRefused | MediaUnavailable]
    waiting: int = 0


class MediaFetcher:
    """Fetches pictures; to be made inside a running event loop, closed with `aclose`.

    `allowed`: entries of MMS_MEDIA_HOSTS_ALLOWED; ValueError names every entry that cannot be read.
    `ssl_context` must verify certificates and host names (ValueError). `cache_ttl_s` is how long a change
    behind a URL can stay unseen. `resolver` is closed with the fetcher.
    """

    def __init__(
        self,
        *,
        allowed: Sequence[str],
        ssl_context: ssl.SSLContext,
        timeout_s: float = 20.0,
        concurrent_max: int = 8,
        cache_bytes_max: int = 64 * 1024 * 1024,
        cache_ttl_s: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
        resolver: AbstractResolver | None = None,
    ) -> None:
        if ssl_context.verify_mode != ssl.CERT_REQUIRED or not ssl_context.check_hostname:
            raise ValueError("The TLS settings for media do not verify certificates and host names; they must.")
        self._allowance = allowance_from(allowed)
        self._timeout_s = timeout_s
        self._cache_ttl_s = cache_ttl_s
        self._monotonic = monotonic
        self._places = _Places(concurrent_max)
        self._kept: Kept[Picture | MediaRefused] = Kept(bytes_max=cache_bytes_max)
        self._flights: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[Picture | MediaRefused | MediaUnavailable]] = set()
        self._is_closed = False
        self._resolver = CheckedResolver(resolver or ThreadedLookup(threads_max=concurrent_max), self._allowance)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=ssl_context,
                resolver=self._resolver,
                use_dns_cache=False,
                # A connection serves one request, so that every fetch checks the name's addresses anew.
                force_close=True,
                limit=0,  # the places are the bound
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),  # one deadline of ours covers everything
        )

    def kept(self, url: str) -> Picture | MediaRefused | None:
        """What is known of `url` without asking anybody."""
        return self._kept.get(url, now_s=self._monotonic())

    async def fetch(self, url: str) -> Picture | MediaRefused | MediaUnavailable:
        """The picture at `url`; fetches of one URL at the same time share one request.

        `MediaRefused` will never work, `MediaUnavailable` may work later; each says why in a sentence.
        Cancelling one caller leaves the others theirs; the request ends when nobody waits for it.
        """
        kept = self.kept(url)
        if kept is not None:
            return kept
        checked = checked_url(url, self._allowance)
        if isinstance(checked, MediaRefused):
            return checked
        if self._is_closed:
            return _STOPPING
        flight = self._flights.get(url)
        if flight is None:
            task = asyncio.create_task(self._fetch_and_keep(url, checked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            flight = self._flights[url] = _Flight(task)
        return await self._share(url, flight)

    async def _share(self, url: str, flight: _Flight) -> Picture | MediaRefused | MediaUnavailable:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self._is_closed and current is not None and not current.cancelling():
                return _STOPPING  # it was the request that was cancelled, not this caller
            raise
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                # Out of the table first: who comes now must not join a request that is being cancelled.
                if self._flights.get(url) is flight:
                    del self._flights[url]
                flight.task.cancel()

    async def aclose(self) -> None:
        """End what is under way (its callers get `MediaUnavailable`) and close every connection."""
        self._is_closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()
        await self._resolver.close()

    async def _fetch_and_keep(self, key: str, url: URL) -> Picture | MediaRefused | MediaUnavailable:
        answer = await self._fetch_in_turn(url)
        now_s = self._monotonic()
        match answer:
            case _Fetched():
                until_s = now_s + answer.fresh_s
                self._kept.put(key, answer.picture, value_bytes=len(answer.picture.data), until_s=until_s)
                return answer.picture
            case MediaRefused():
                until_s = now_s + min(REFUSAL_KEPT_S, self._cache_ttl_s)
                self._kept.put(key, answer, value_bytes=len(answer.reason), until_s=until_s)
                return answer
            case MediaUnavailable():
                return answer

    async def _fetch_in_turn(self, url: URL) -> _Fetched | MediaRefused | MediaUnavailable:
        host = _host(url)
        async with AsyncExitStack() as place:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await place.enter_async_context(self._places.taken_for(host))
            except TimeoutError:
                return MediaUnavailable(
                    f"Too many pictures were being fetched for {host} to have its turn within {self._timeout_s:g} s."
                )
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._follow(url)
            except TimeoutError:
                return MediaUnavailable(f"{host} did not hand out the picture within {self._timeout_s:g} s.")

    async def _follow(self, url: URL) -> _Fetched | MediaRefused | MediaUnavailable:
        for _ in range(REDIRECTS_MAX + 1):
            answer = await self._ask(url)
            if not isinstance(answer, _Moved):
                return answer
            try:
                target = checked_url(urljoin(str(url), answer.location), self._allowance)
            except ValueError:
                return MediaRefused(f"{_host(url)} redirects to something that is not a URL.")
            if isinstance(target, MediaRefused):
                return MediaRefused(f"{_host(url)} redirects to where nothing is fetched from: {target.reason}")
            url = target
        return MediaRefused(f"{_host(url)} redirects after {REDIRECTS_MAX} redirects; give the picture's final URL.")

    async def _ask(self, url: URL) -> _Fetched | _Moved | MediaRefused | MediaUnavailable:
        """One request, every foreign exception made an answer."""
        host = _host(url)
        try:
            response = await self._session.get(url, allow_redirects=False)
            try:
                return await self._read(host, response)
            finally:
                response.close()
        except AddressesRefusedError as refused:
            return MediaRefused(str(refused))
        except aiohttp.InvalidURL:
            return MediaRefused("The picture's URL cannot be asked; correct it.")
        except (aiohttp.ClientError, OSError) as error:
            return MediaUnavailable(_sentence(host, error))

    async def _read(
        self, host: str, response: aiohttp.ClientResponse
    ) -> _Fetched | _Moved | MediaRefused | MediaUnavailable:
        location = response.headers.get("Location")
        if response.status in _MOVED and location is not None:
            return _Moved(location)
        no_picture = _why_no_picture(host, response)
        if no_picture is not None:
            return no_picture
        data = await _body(response)
        if data is None:
            return MediaRefused(
                f"The picture at {host} has more than {PICTURE_BYTES_MAX:,} bytes, the most the API takes."
            )
        # What the host calls it does not matter: storage services call everything application/octet-stream.
        picture = picture_from(data, content_type=None)
        if isinstance(picture, PictureRefused):
            return MediaRefused(f"The picture at {host} {picture.reason}.")
        cache_control = ",".join(response.headers.getall("Cache-Control", []))
        return _Fetched(picture, fresh_s(cache_control, ttl_s=self._cache_ttl_s))


_STOPPING: Final = MediaUnavailable("The worker is stopping; no picture is fetched any more.")


def _host(url: URL) -> str:
    return (url.raw_host or "").lower()


def _why_no_picture(host: str, response: aiohttp.ClientResponse) -> MediaRefused | MediaUnavailable | None:
    """What the head of the answer says against reading its body."""
    status = response.status
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return MediaUnavailable(f"{host} answered {status} instead of the picture.")
    if status != HTTPStatus.OK:
        return MediaRefused(f"{host} answered {status} instead of the picture; check the URL.")
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        return MediaRefused(f"{host} encodes the picture, though none was asked for; serve it as it is.")
    return None


async def _body(response: aiohttp.ClientResponse) -> bytes | None:
    """The whole body, or None when it is larger than PICTURE_BYTES_MAX; reading stops there."""
    if (response.content_length or 0) > PICTURE_BYTES_MAX:
        return None
    data = bytearray()
    while chunk := await response.content.read(min(CHUNK_BYTES, PICTURE_BYTES_MAX + 1 - len(data))):
        data += chunk
        if len(data) > PICTURE_BYTES_MAX:
            return None
    return bytes(data)


def _sentence(host: str, error: Exception) -> str:
    """What went wrong on the way, in our words: the library's name addresses, and producers read this."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"The host name {host} could not be looked up."
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "no reason given"
            return f"The certificate of {host} cannot be trusted ({str(why).rstrip('.')})."
        case aiohttp.ClientSSLError():
            return f"No TLS connection to {host} could be made."
        case aiohttp.ClientConnectorError():
            why = os.strerror(error.errno) if error.errno else "no reason given"
            return f"No connection to {host} could be made ({why})."
        case _:
            return f"{host} broke off, or did not answer in HTTP ({type(error).__name__})."


@dataclass(slots=True)
class _HostPlaces:
    free: asyncio.Semaphore
    users: int = 0


class _Places:
    """How many fetches run at once: `total`; half of that for one host, so that a slow one leaves room."""

    def __init__(self, total: int) -> None:
        self._free = asyncio.Semaphore(total)
        self._per_host = (total + 1) // 2
        self._hosts: dict[str, _HostPlaces] = {}

    @asynccontextmanager
    async def taken_for(self, host: str) -> AsyncIterator[None]:
        places = self._hosts.setdefault(host, _HostPlaces(asyncio.Semaphore(self._per_host)))
        places.users += 1
        try:
            # The host's first: who waits for its host must not hold a place that others could use.
            async with places.free, self._free:
                yield
        finally:
            places.users -= 1
            if places.users == 0:
                del self._hosts[host]
