"""Posts callbacks over HTTP as they fall due, from beside the simulated API."""

import asyncio
import contextlib
import ssl

import aiohttp

from loadtest.simulator.callbacks import Batch, Callbacks
from loadtest.simulator.clock import SteadyWallClock

POST_S_MAX = 15.0
NO_ANSWER = 0


class Poster:
    """Posts what falls due in `callbacks`, for ever; `due` is set when there is something new."""

    def __init__(self, callbacks: Callbacks, clock: SteadyWallClock, due: asyncio.Event) -> None:
        self._callbacks = callbacks
        self._clock = clock
        self._due = due
        self._trusted: dict[str, ssl.SSLContext] = {}

    def trust(self, ca_file: str) -> None:
        """Read whom `ca_file` trusts, again; ValueError with a sentence when that cannot be done."""
        try:
            self._trusted[ca_file] = ssl.create_default_context(cafile=ca_file or None)
        except OSError as error:  # ssl.SSLError is one, too
            raise ValueError(f"The file of whom to trust, {ca_file}, cannot be read: {error}.") from error

    async def run(self) -> None:
        """Ends when it is cancelled; requests under way are cut then."""
        timeout = aiohttp.ClientTimeout(total=POST_S_MAX)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as under_way,
        ):
            while True:
                self._due.clear()
                while (batch := self._callbacks.take(self._clock.now_us())) is not None:
                    under_way.create_task(self._post(session, batch))
                await self._wait()

    async def _wait(self) -> None:
        """Until something falls due."""
        next_at_us = self._callbacks.next_at_us()
        wait_s = None if next_at_us is None else max(0.0, (next_at_us - self._clock.now_us()) / 1e6)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._due.wait()

    async def _post(self, session: aiohttp.ClientSession, batch: Batch) -> None:
        status = NO_ANSWER
        try:
            async with session.post(
                batch.url,
                data=batch.body,
                headers={"Content-Type": "application/json"},
                ssl=self._trusted[batch.ca_file],
                allow_redirects=False,
            ) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass  # it is posted again
        self._callbacks.answered(batch, status, self._clock.now_us())
        self._due.set()
