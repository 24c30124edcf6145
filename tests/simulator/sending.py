"""What the simulator's tests send: forms made by hand, so that no library mends what a test breaks."""

import io
import json
import random
import ssl
from collections.abc import Sequence
from typing import Any, Self

import aiohttp

from loadtest.simulator.accounts import Accounts
from loadtest.simulator.envelopes import EnvelopeKind, Envelopes
from loadtest.simulator.faults import FaultPlan
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.limit import Limit, limit_for
from loadtest.simulator.server import Simulator
from loadtest.simulator.service import Arrival, MmsService

BOUNDARY = "tests-boundary-7f3a"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2_000)
KEY = "TEST-KEY"
NUMBER = "+61412345678"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(
    *,
    subject: str | None = "Subject",
    text: str | None = "Text",
    picture: bytes | None = PNG,
    numbers: Sequence[str] | str | None = (NUMBER,),
    more: bytes = b"",
) -> bytes:
    body = more
    if subject is not None:
        body += part("subject", subject.encode())
    if text is not None:
        body += part("mms_text", text.encode())
    if picture is not None:
        body += part("mms_file", picture, "picture.png")
    if numbers is not None:
        body += part("numbers", (numbers if isinstance(numbers, str) else json.dumps(list(numbers))).encode())
    return body + f"--{BOUNDARY}--\r\n".encode()


def new_service(*, rate_per_s: int | None = None, envelope: EnvelopeKind = "meta", seed: int = 1) -> MmsService:
    def new_limit(rate: int) -> Limit:
        return limit_for("rolling", rate, burst=None, refused_count=False)

    chance = random.Random(seed)  # noqa: S311 - repeatable, and no secret
    return MmsService(
        Accounts(rate_per_s, new_limit),
        Envelopes(envelope, chance),
        FaultPlan(chance),
        Ledger(),
    )


def send_to(service: MmsService, body: bytes, at_us: int = 1_000_000, key: str = KEY) -> Any:
    """Send without HTTP; the Answer."""
    return service.finish(service.arrive("send-mms", key, at_us), CONTENT_TYPE, body, at_us)


def arrives(service: MmsService, at_us: int) -> bool:
    """Whether a call that arrives then is within the limit."""
    return isinstance(service.arrive("send-mms", KEY, at_us), Arrival)


class Client:
    """An HTTPS client of one simulator, with the right credentials unless told otherwise."""

    def __init__(self, simulator: Simulator, connections: int = 20) -> None:
        self._api_url = simulator.api_url
        context = ssl.create_default_context(cafile=str(simulator.ca_file))
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=connections),
            timeout=aiohttp.ClientTimeout(total=10),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def send(
        self, body: bytes | None = None, *, headers: dict[str, str] | None = None, timeout_s: float = 10
    ) -> tuple[int, Any]:
        """Send; the status and the body, parsed when it is JSON."""
        if headers is None:
            headers = {"Authorization": aiohttp.encode_basic_auth(KEY, "")}
        return await self.request(
            "POST", "/send-mms", form() if body is None else body, {"Content-Type": CONTENT_TYPE, **headers}, timeout_s
        )

    async def request(
        self, method: str, path: str, body: bytes, headers: dict[str, str], timeout_s: float = 10
    ) -> tuple[int, Any]:
        async with self.session.request(
            method,
            self._api_url + path,
            data=io.BytesIO(body),  # aiohttp warns of large bytes
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as answer:
            content = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(content) if is_json else content
