"""Is a server really there? A login over AMQP 0-9-1 and a PING over RESP, with the standard library only.

Each function connects anew, takes at most `wait_s` for every read, and answers False for everything short of
the whole handshake: refused, silent, another program, a wrong password, still loading. `over_tls`: the server speaks
nothing else.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import BinaryIO

from deploy.local.ports import LOOPBACK
from deploy.local.server_tls import unverified

FRAME_BYTES_MAX = 1_048_576
LINE_BYTES_MAX = 65_536

METHOD_FRAME = 1
METHOD_BYTES = 4
FRAME_END = 0xCE
START, START_OK = (10, 10), (10, 11)
TUNE, TUNE_OK = (10, 30), (10, 31)
OPEN, OPEN_OK = (10, 40), (10, 41)
CLOSE, CLOSE_OK = (10, 50), (10, 51)


class _UnexpectedError(Exception):
    """The other side did not say what a ready server says."""


def amqp_login_works(port: int, user: str, password: str, vhost: str, *, wait_s: float, over_tls: bool = False) -> bool:
    try:
        with _connected(port, wait_s, over_tls=over_tls) as peer:
            peer.sendall(b"AMQP\x00\x00\x09\x01")
            _receive_method(peer, START)
            # Client properties (none), mechanism, response, locale.
            credentials = f"\0{user}\0{password}".encode()
            _send_method(peer, START_OK, _long(b"") + _short(b"PLAIN") + _long(credentials) + _short(b"en_US"))
            channels_max, frame_bytes_max, _ = struct.unpack("!HIH", _receive_method(peer, TUNE))
            _send_method(peer, TUNE_OK, struct.pack("!HIH", channels_max, frame_bytes_max, 0))
            _send_method(peer, OPEN, _short(vhost.encode()) + _short(b"") + b"\0")
            _receive_method(peer, OPEN_OK)
            # A connection that is closed in order leaves no warning in the server's log.
            _send_method(peer, CLOSE, struct.pack("!H", 200) + _short(b"") + struct.pack("!HH", 0, 0))
            _receive_method(peer, CLOSE_OK)
            return True
    except (OSError, _UnexpectedError, struct.error):
        return False


def redis_process_id(port: int, *, wait_s: float, login: str = "", over_tls: bool = False) -> int | None:
    """The process id of the Redis server that answers PING on this port; None when none is ready.

    `login`: user and password with a space between; "" where none is asked for.
    """
    try:
        with _connected(port, wait_s, over_tls=over_tls) as peer, peer.makefile("rb") as lines:
            if not _is_let_in(peer, lines, login):
                return None
            peer.sendall(b"PING\r\nINFO server\r\n")
            if lines.readline(LINE_BYTES_MAX) != b"+PONG\r\n":
                return None
            size_bytes = int(lines.readline(LINE_BYTES_MAX).removeprefix(b"$"))
            told = dict(line.split(b":", 1) for line in lines.read(size_bytes).splitlines() if b":" in line)
            return int(told[b"process_id"])
    except (OSError, ValueError, KeyError):
        return None


def redis_flush(port: int, database: int, *, wait_s: float, login: str = "", over_tls: bool = False) -> None:
    """Empty one database. Raises OSError when the server does not do it."""
    with _connected(port, wait_s, over_tls=over_tls) as peer, peer.makefile("rb") as lines:
        if not _is_let_in(peer, lines, login):
            raise OSError("Redis refused the login.")
        peer.sendall(f"SELECT {database}\r\nFLUSHDB\r\n".encode())
        for _ in range(2):
            if (line := lines.readline(LINE_BYTES_MAX)) != b"+OK\r\n":
                raise OSError(f"Redis did not empty database {database}: {line!r}.")


@contextlib.contextmanager
def _connected(port: int, wait_s: float, *, over_tls: bool) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, port), wait_s) as peer:
        if not over_tls:
            yield peer
            return
        with unverified().wrap_socket(peer, server_hostname=LOOPBACK) as wrapped:
            yield wrapped


def _is_let_in(peer: socket.socket, lines: BinaryIO, login: str) -> bool:
    if not login:
        return True
    peer.sendall(f"AUTH {login}\r\n".encode())
    return lines.readline(LINE_BYTES_MAX) == b"+OK\r\n"


def _short(value: bytes) -> bytes:
    return struct.pack("!B", len(value)) + value


def _long(value: bytes) -> bytes:
    return struct.pack("!I", len(value)) + value


def _send_method(peer: socket.socket, method: tuple[int, int], arguments: bytes) -> None:
    payload = struct.pack("!HH", *method) + arguments
    peer.sendall(struct.pack("!BHI", METHOD_FRAME, 0, len(payload)) + payload + bytes([FRAME_END]))


def _receive_method(peer: socket.socket, expected: tuple[int, int]) -> bytes:
    kind, _, size_bytes = struct.unpack("!BHI", _receive(peer, 7))
    if kind != METHOD_FRAME or not METHOD_BYTES <= size_bytes <= FRAME_BYTES_MAX:
        raise _UnexpectedError
    payload = _receive(peer, size_bytes + 1)
    if struct.unpack("!HH", payload[:METHOD_BYTES]) != expected or payload[-1] != FRAME_END:
        raise _UnexpectedError
    return payload[METHOD_BYTES:-1]


def _receive(peer: socket.socket, size_bytes: int) -> bytes:
    received = b""
    while len(received) < size_bytes:
        part = peer.recv(size_bytes - len(received))
        if not part:
            raise _UnexpectedError
        received += part
    return received
