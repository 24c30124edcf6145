"""The admin port: ``/metrics``, ``/healthz`` (the event loop turns), ``/readyz`` (connected and consuming)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from worker.flow.ports import CannotStart


class AdminServer:
    """Serves on ``host:port`` (0: any free port; ``port`` tells which)."""

    def __init__(
        self, *, host: str, port: int, registry: CollectorRegistry, not_ready_because: Callable[[], str | None]
    ) -> None:
        self._host = host
        self._asked_port = port
        self._registry = registry
        self._not_ready_because = not_ready_because
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        addresses = self._runner.addresses if self._runner else []
        return int(addresses[0][1]) if addresses else 0

    async def start(self) -> None:
        """Listen. Raises ``CannotStart`` when the port is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._readiness)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._asked_port).start()
        except OSError as error:
            await self.close()
            why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
            raise CannotStart(
                f"The admin port {self._host}:{self._asked_port} cannot be used ({why}): "
                "set MMS_ADMIN_PORT (0 takes any free port) or MMS_ADMIN_HOST."
            ) from error

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _: web.Request) -> web.Response:
        # In a thread: with dozens of accounts it takes long enough for calls to miss their slots.
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readiness(self, _: web.Request) -> web.Response:
        reason = self._not_ready_because()
        return web.Response(text="ready\n") if reason is None else web.Response(text=f"{reason}\n", status=503)
