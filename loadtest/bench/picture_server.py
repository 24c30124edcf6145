"""One picture over HTTPS, as the address in a job names it. A thread of this process: a worker fetches it once."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import trustme

from deploy.local.ports import LOOPBACK
from loadtest.bench.jobs import inline

IDLE_S_MAX = 30.0


class PictureServer:
    """Serves `picture` for every path, for as long as the `with` block lasts; its CA is written into `folder`."""

    def __init__(self, picture: bytes, *, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "media-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(LOOPBACK).configure_cert(context)
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler_of(picture))
        # The handshake waits for its connection's own thread: no client can hold up the others.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The picture's address."""
        return f"https://{LOOPBACK}:{self._server.server_port}/picture.png"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def media_of(
    picture: bytes, by: Literal["url", "data"], *, folder: Path
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """A job's `media` for the picture, and the settings that a worker needs to get it, during the block."""
    if by == "data":
        yield inline(picture), {}
        return
    with PictureServer(picture, folder=folder) as server:
        settings = {"MMS_MEDIA_HOSTS_ALLOWED": LOOPBACK, "MMS_MEDIA_CA_FILE": str(server.ca_file)}
        yield {"url": server.url}, settings


def _handler_of(picture: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_S_MAX

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(picture)))
            self.send_header("Cache-Control", "max-age=86400")
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nobody reads it."""

    return Handler
