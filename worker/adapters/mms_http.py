"""The MMS API over HTTPS (source of each field: the vendor's pages of the calls).

Authentication as given: the APPKEY as the user name of HTTP Basic; or, where an account is set so, in a header.
Failures before the first byte are ``NeverLeft``, all later ones ``NoAnswer``.
"""

from __future__ import annotations

import base64
import math
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from worker.adapters.http_transport import AiohttpTransport, TransportLimits
from worker.core.accounts import Credentials
from worker.core.batch import CallContent
from worker.core.multipart import content_type, encode_call
from worker.core.outcome import Answer, NeverLeft, NoAnswer, Response


@dataclass(frozen=True, slots=True)
class _Client:
    """An account's connections, and the headers of its requests."""

    transport: AiohttpTransport
    headers: httpx.Headers = field(repr=False)
    send_headers: httpx.Headers = field(repr=False)
    json_headers: httpx.Headers = field(repr=False)


class MmsHttpApi:
    """Implements the ``Api`` port. ``api_url`` without a trailing slash; ``limits`` are those of each account.

    Each account has connections of its own: what a server or a gateway does to those of one key, to close them or to
    let them hang, does not meet the calls of another.
    """

    def __init__(
        self,
        *,
        api_url: str,
        credentials: Mapping[str, Credentials],
        user_agent: str,
        ssl_context: ssl.SSLContext,
        limits: TransportLimits,
        connections_ahead: int,
        make_body: Callable[[bytes], Any] = bytes,
    ) -> None:
        """``connections_ahead``: how many each account opens before its first slot at most.

        ``make_body``: see ``AiohttpTransport``.
        """
        self._make_body = make_body
        self._ssl_context = ssl_context
        self._limits = limits
        self._send_url = httpx.URL(f"{api_url}/send-mms")
        self._account_url = httpx.URL(f"{api_url}/account")
        self._responses_url = httpx.URL(f"{api_url}/get-responses")
        self._read_url = httpx.URL(f"{api_url}/inbound-read-bulk")
        # 128 random bits: no content can contain it on purpose. One for all calls, so that an account's requests
        # share their headers, which cost more to build than everything else about a request.
        self._boundary = secrets.token_hex(16)
        self._common = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": user_agent}
        self._connections_ahead = connections_ahead
        self._clients: dict[str, _Client] = {}
        for account, shown in credentials.items():
            self.set_credentials(account, shown)

    def set_credentials(self, account: str, credentials: Credentials) -> None:
        """Add an account, or change its key from the next call on; it keeps its connections."""
        known = self._clients.get(account)
        common = self._common | auth_headers(credentials)
        self._clients[account] = _Client(
            transport=known.transport
            if known
            else AiohttpTransport(ssl_context=self._ssl_context, limits=self._limits, make_body=self._make_body),
            headers=httpx.Headers(common),
            send_headers=httpx.Headers(common | {"Content-Type": content_type(self._boundary)}),
            json_headers=httpx.Headers(common | {"Content-Type": "application/json"}),
        )

    async def forget(self, account: str) -> None:
        """Close the account's connections."""
        client = self._clients.pop(account, None)
        if client is not None:
            await client.transport.aclose()

    async def send(self, account: str, content: CallContent, numbers: tuple[str, ...]) -> Response:
        """Make one ``send-mms`` call."""
        body = encode_call(
            boundary=self._boundary,
            subject=content.subject,
            text=content.text,
            picture=content.picture,
            numbers=numbers,
        )
        client = self._clients[account]
        return await _call(client, "POST", self._send_url, client.send_headers, body)

    async def account(self, account: str) -> Response:
        """Make one ``GET account`` call."""
        client = self._clients[account]
        return await _call(client, "GET", self._account_url, client.headers, b"")

    async def responses(self, account: str, page: int) -> Response:
        """Make one ``GET get-responses`` call, for replies to MMS."""
        client = self._clients[account]
        url = self._responses_url.copy_merge_params({"page": page, "type": "mms"})
        return await _call(client, "GET", url, client.headers, b"")

    async def mark_read(self, account: str, message_ids: Sequence[str]) -> Response:
        """Make one ``POST inbound-read-bulk`` call."""
        client = self._clients[account]
        body = orjson.dumps({"message_id": list(message_ids)})
        return await _call(client, "POST", self._read_url, client.json_headers, body)

    async def warm_up(self, account: str, *, calls_per_s: float) -> None:
        """Open the account's connections before its first slot."""
        count = min(self._connections_ahead, max(1, math.ceil(calls_per_s)))
        await self._clients[account].transport.connect_ahead(str(self._send_url), count)

    async def aclose(self) -> None:
        """Close all connections."""
        for account in list(self._clients):
            await self.forget(account)


def auth_headers(credentials: Credentials) -> dict[str, str]:
    """The request headers that carry the key."""
    if credentials.auth == "appkey":
        return {"APPKEY": credentials.app_key}
    pair = base64.b64encode(f"{credentials.app_key}:{credentials.app_secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


async def _call(client: _Client, method: str, url: httpx.URL, headers: httpx.Headers, body: bytes) -> Response:
    # Given as a stream, a body costs no headers to be worked out: the transport knows its length.
    request = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(body))
    try:
        response = await client.transport.handle_async_request(request)
        # Identity was asked for, so there is nothing to decode, and the raw stream costs a tenth of ``read``.
        answer = b"".join(_content_of(response))
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        return NeverLeft(f"no connection to the API: {error}")
    except httpx.TransportError as error:
        return NoAnswer(f"no whole answer from the API: {error}")
    return Answer(response.status_code, answer, _retry_after_in(response))


def _retry_after_in(response: httpx.Response) -> str | None:
    # Not by name: the client's headers find out their encoding for that, each time.
    values = (value for name, value in response.headers.raw if name.lower() == b"retry-after")
    return next((value.decode("latin-1") for value in values), None)


def _content_of(response: httpx.Response) -> httpx.ByteStream:
    assert isinstance(response.stream, httpx.ByteStream)  # noqa: S101 - the transport has read it to its end
    return response.stream
