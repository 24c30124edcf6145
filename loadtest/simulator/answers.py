"""What the API answers to a call, and in which manner: decided by the service, done by the HTTP front."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Whole:
    """The answer leaves in one piece, after the usual time."""


@dataclass(frozen=True, slots=True)
class Late:
    """The answer leaves so long after the call arrived."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Never:
    """No byte ever; the connection stays open until the client gives up."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (RST), before any byte of an answer."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """The head and half of the body, then the end of the connection."""


@dataclass(frozen=True, slots=True)
class Dripping:
    """The head at once, then the body one byte at a time."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class DrippingHead:
    """The head one byte at a time, then the body."""

    pause_s: float


Manner = Whole | Late | Never | Reset | Truncated | Dripping | DrippingHead


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to one call.

    `result` is for the ledger: the API's code or the kind of the fault. `recipients` is how many were
    accepted, whether the client ever hears of it or not.
    """

    result: str
    http_status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    recipients: int = 0
    manner: Manner = Whole()


def page(result: str, http_status: int, title: str) -> Answer:
    """A page of HTML, as a gateway or proxy writes it."""
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(result, http_status, body.encode(), "text/html")
