"""Free loopback ports."""

import random
import socket

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below the ports that Linux gives to outgoing connections (32768 and up): while a server is down, no
connection's own end can take its port."""
TRIES_MAX = 200


def free_port() -> int:
    """A port nobody listens on at this moment.

    Another process may still take it first: whoever starts a server on it must be ready to try another.
    """
    choice = random.SystemRandom()
    for _ in range(TRIES_MAX):
        port = choice.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError(f"No free port was found in {TRIES_MAX} tries from {PORTS.start} to {PORTS.stop - 1}.")
