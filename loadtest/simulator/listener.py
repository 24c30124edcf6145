"""The listening socket of the API: TLS with an authority of its own, and refusing connections."""

import asyncio
import socket
import ssl
from pathlib import Path

import trustme
from aiohttp import web

from loadtest.simulator.http_front import reset_connection

BACKLOG = 1_024
CLOSE_S_MAX = 2.0


def make_certificate(ca_file: Path, host: str) -> ssl.SSLContext:
    """A context for localhost and `host`, with a certificate of the authority in `ca_file`."""
    authority = _authority(ca_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    names = dict.fromkeys(("localhost", "127.0.0.1", host))
    authority.issue_cert(*(name for name in names if name != "0.0.0.0")).configure_cert(context)
    return context


def _authority(ca_file: Path) -> trustme.CA:
    """That of the last start, whom clients that still run trust; at the first it is made, and kept with its key."""
    key_file = ca_file.with_suffix(".key")
    if key_file.exists() and ca_file.exists():
        return trustme.CA.from_pem(ca_file.read_bytes(), key_file.read_bytes())
    authority = trustme.CA()
    ca_file.unlink(missing_ok=True)
    key_file.unlink(missing_ok=True)
    key_file.touch(mode=0o600)
    authority.private_key_pem.write_to_path(str(key_file))
    written = ca_file.with_suffix(".new")  # with the certificate both are there, and whole
    authority.cert_pem.write_to_path(str(written))
    written.replace(ca_file)
    return authority


class CuttingServer(web.Server):
    """aiohttp's server, which resets connections while it refuses, also those whose handshake was under way."""

    refuses = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection whose handshake is done, or cut it."""
        super().connection_made(handler, transport)
        if self.refuses:
            reset_connection(transport)


class Listener:
    """Owns the port for its whole life, and listens on it while it is open.

    A second socket, bound and never listening, keeps the port while connections are refused, so that no other
    program can get it in between.
    """

    def __init__(self, server: CuttingServer, context: ssl.SSLContext, host: str, port: int) -> None:
        self._http = server
        self._context = context
        self._keeper = _bound(host, port)
        self._host = host
        self.port: int = self._keeper.getsockname()[1]
        self._listening: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; nothing happens when it does already."""
        self._http.refuses = False
        if self._listening is None:
            self._listening = await asyncio.get_running_loop().create_server(
                self._http, sock=_bound(self._host, self.port), ssl=self._context, backlog=BACKLOG
            )

    async def refuse(self) -> None:
        """Refuse new connections and reset all open ones."""
        self._http.refuses = True
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for connection in self._http.connections:
            reset_connection(connection.transport)

    async def close(self) -> None:
        """Cut everything and give the port back."""
        await self.refuse()
        await self._http.shutdown(CLOSE_S_MAX)
        self._keeper.close()


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
