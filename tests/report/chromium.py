"""A Chromium without a window, driven over its DevTools protocol: what a page says, asks for, and shows."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

#: A cold start on a busy machine takes some seconds.
START_S_MAX = 30.0
ANSWER_S_MAX = 20.0
CONDITION_S_MAX = 20.0
POLL_S = 0.05
MESSAGE_BYTES_MAX = 16_000_000
PHONE_PX = 600
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # continuous integration runs as root
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class ChromiumError(Exception):
    """It did not start, did not answer, or found a mistake in what it was asked."""


@dataclass(slots=True)
class Page:
    """One page, from before it is loaded. `requests`: addresses it asked for; `complaints`: errors and warnings."""

    _socket: aiohttp.ClientWebSocketResponse
    _session_id: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    _number: int = 0

    async def ask(self, method: str, **parameters: Any) -> Any:
        """Raises ChromiumError."""
        self._number += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        told = {"id": self._number, "sessionId": self._session_id, "method": method, "params": parameters}
        await self._socket.send_json(told)
        return await asyncio.wait_for(answer, ANSWER_S_MAX)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON has it. Raises ChromiumError when it throws."""
        told = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise ChromiumError(f"{expression}: {told['exceptionDetails']}")
        return told["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait for an expression to be true. Raises ChromiumError, with what the page complained of."""
        give_up_at_s = asyncio.get_running_loop().time() + CONDITION_S_MAX
        while not await self.value(expression):
            if asyncio.get_running_loop().time() > give_up_at_s:
                raise ChromiumError(f"not within {CONDITION_S_MAX:g} s: {expression}; {self.complaints}")
            await asyncio.sleep(POLL_S)

    async def show(self, path: Path, *, width_px: int, scheme: Literal["light", "dark"]) -> None:
        """Load a file (by its whole path) in a window of a width, and wait until it says that all is drawn."""
        await self.ask("Page.navigate", url="about:blank")
        await self.ask("Page.enable")
        await self.ask("Network.enable")
        await self.ask("Log.enable")
        await self.ask("Runtime.enable")
        await self.ask("Emulation.setEmulatedMedia", media="")
        await self.width(width_px)
        await self.scheme(scheme)
        self.requests.clear()
        self.complaints.clear()
        await self.ask("Page.navigate", url=path.as_uri())
        await self.until("document.documentElement?.dataset.drawn === 'yes'")

    async def width(self, width_px: int) -> None:
        """How wide the window is; a narrow one is a telephone's."""
        metrics = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < PHONE_PX}
        await self.ask("Emulation.setDeviceMetricsOverride", **metrics)

    async def scheme(self, scheme: Literal["light", "dark"]) -> None:
        """What the person's system prefers."""
        await self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse, from a place in the window to another."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        await self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        await self.ask("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **held)
        await self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], **held)
        await self.ask("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **held)

    async def listen(self) -> None:
        """Take in what the browser says, for as long as the page is there."""
        async for message in self._socket:
            told = message.json()
            if told.get("sessionId") == self._session_id:
                self._take(told)

    def _take(self, told: dict[str, Any]) -> None:
        if (answer := self._answers.pop(told.get("id", 0), None)) is not None:
            if answer.done():
                return
            if "error" in told:
                answer.set_exception(ChromiumError(str(told["error"])))
            else:
                answer.set_result(told["result"])
            return
        said = told.get("params", {})
        match told.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(said["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if said["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str([each.get("value") for each in said["args"]]))
            case "Log.entryAdded" if said["entry"]["level"] in {"error", "warning"}:
                self.complaints.append(said["entry"]["text"])


@asynccontextmanager
async def chromium(binary: Path) -> AsyncIterator[Page]:
    """A browser with a profile of its own and one empty page; both are gone afterwards. Raises ChromiumError."""
    with tempfile.TemporaryDirectory(prefix="mms-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            str(binary),
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(START_S_MAX):
                address = await _address(process)
            # What it says from now on is of no interest, but must not fill the pipe.
            drained = asyncio.create_task(_drain(process))
            try:
                async with _page(address) as page:
                    yield page
            finally:
                drained.cancel()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = ""
    async for line in process.stderr:
        said += line.decode(errors="replace")
        if found := re.search(r"DevTools listening on (ws://\S+)", said):
            return found[1]
    raise ChromiumError(f"Chromium ended while starting: {said[-2_000:]}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65_536):
        pass


@asynccontextmanager
async def _page(address: str) -> AsyncIterator[Page]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(address, max_msg_size=MESSAGE_BYTES_MAX) as socket,
    ):
        targets = await _told(socket, "Target.getTargets")
        target_id = next(each["targetId"] for each in targets["targetInfos"] if each["type"] == "page")
        attached = await _told(socket, "Target.attachToTarget", targetId=target_id, flatten=True)
        page = Page(socket, attached["sessionId"])
        listening = asyncio.create_task(page.listen())
        try:
            yield page
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            if not listening.cancelled() and (failure := listening.exception()):
                raise failure


async def _told(socket: aiohttp.ClientWebSocketResponse, method: str, **parameters: Any) -> Any:
    """An answer of the browser itself, before anybody listens to its page."""
    await socket.send_json({"id": 1, "method": method, "params": parameters})
    async with asyncio.timeout(ANSWER_S_MAX):
        while (told := await socket.receive_json()).get("id") != 1:
            pass
    if "error" in told:
        raise ChromiumError(str(told["error"]))
    return told["result"]
