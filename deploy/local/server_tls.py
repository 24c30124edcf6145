"""What a private server shows of itself, and the readiness look at one that speaks TLS alone."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files: the authority, for clients to trust; the server's certificate with its chain; its key."""

    authority: Path
    certificate: Path
    key: Path


def unverified() -> ssl.SSLContext:
    """For the question whether a server is there, not whose it is: tests give it certificates that do not hold.

    What is told over it is the random password of a server of ours on the loopback address, nothing else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
