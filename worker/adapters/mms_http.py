"""The MMS API over HTTPS (source of each field: the vendor's page of ``send-mms``).

Authentication as given: the APPKEY as the user name of HTTP Basic; or, where an account is set so, in a header.
Failures before the first byte are ``NeverLeft``, all later ones ``NoAnswer``.
"""

from __future__ import annotations

import base64
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import httpx

from worker.adapters.http_transport import AiohttpTransport, TransportLimits
from worker.core.multipart import content_type, encode_call
from worker.core.outcome import Answer, NeverLeft, NoAnswer, Reply
from worker.flow.ports import CallContent


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's key, and how it is shown to the API."""

    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    auth: Literal["basic", "appkey"]

    def headers(self) -> dict[str, str]:
        """The request headers that carry the key."""
        if self.auth == "appkey":
            return {"APPKEY": self.app_key}
        pair = base64.b64encode(f"{self.app_key}:{self.app_secret}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


class MmsHttpApi:
    """Implements the ``Api`` port. ``api_url`` without a trailing slash."""

    def __init__(
        self,
        *,
        api_url: str,
        credentials: Mapping[str, Credentials],
        user_agent: str,
        ssl_context: ssl.SSLContext,
        limits: TransportLimits,
        connections_ahead: int,
    ) -> None:
        self._transport = AiohttpTransport(ssl_context=ssl_context, limits=limits)
        self._send_url = httpx.URL(f"{api_url}/send-mms")
        self._account_url = httpx.URL(f"{api_url}/account")
        # 128 random bits: no content can contain it on purpose. One for all calls, so that an account's requests
        # share their headers, which cost more to build than everything else about a request.
        self._boundary = secrets.token_hex(16)
        common = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": user_agent}
        posted = {"Content-Type": content_type(self._boundary)}
        self._headers = {name: httpx.Headers(common | shown.headers()) for name, shown in credentials.items()}
        self._send_headers = {
            name: httpx.Headers(common | posted | shown.headers()) for name, shown in credentials.items()
        }
        self._connections_ahead = connections_ahead

    async def send(self, account: str, content: CallContent, numbers: tuple[str, ...]) -> Reply:
        """Make one ``send-mms`` call."""
        body = encode_call(
            boundary=self._boundary,
            subject=content.subject,
            text=content.text,
            picture=content.picture,
            numbers=numbers,
        )
        return await self._call("POST", self._send_url, self._send_headers[account], body)

    async def account(self, account: str) -> Reply:
        """Make one ``GET account`` call."""
        return await self._call("GET", self._account_url, self._headers[account], b"")

    async def warm_up(self) -> None:
        """Open connections before the first slot."""
        await self._transport.connect_ahead(str(self._send_url), self._connections_ahead)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _call(self, method: str, url: httpx.URL, headers: httpx.Headers, body: bytes) -> Reply:
        # Given as a stream, a body costs no headers to be worked out: the transport knows its length.
        request = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(body))
        try:
            response = await self._transport.handle_async_request(request)
            # Identity was asked for, so there is nothing to decode, and the raw stream costs a tenth of ``aread``.
            answer = b"".join([chunk async for chunk in _stream_of(response)])
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return NeverLeft(f"no connection to the API: {error}")
        except httpx.TransportError as error:
            return NoAnswer(f"no whole answer from the API: {error}")
        return Answer(response.status_code, answer, response.headers.get("retry-after"))


def _stream_of(response: httpx.Response) -> httpx.AsyncByteStream:
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - an async transport's response has one
    return response.stream
