"""What the vendor tells an account of its own accord, where to, and with which bad habits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson

WAIT_S_MAX = 7 * 86_400.0
BATCH_MAX = 1_000
AT_ONCE_MAX = 64
TRIES_MAX = 10_000
RETRIES_MAX = 100
STATUS_CHARACTERS_MAX = 40
#: After how long siblings of the API are seen to repeat what was not taken.
RETRIES_S = (60.0, 300.0, 3_600.0, 86_400.0)


@dataclass(frozen=True, slots=True)
class CallbackPlan:
    """Where and how reports and replies are posted; ValueError with one sentence when a value is out of range.

    `url` is the account's address, to which `/reports` and `/replies` are added; `ca_file` a PEM file of who may have
    signed its certificate (empty: whoever the machine trusts). Verification cannot be turned off.

    A message's final report is due `delay_s` ± `spread_s` after it was accepted, and carries one of `finals` (weights
    by status). Shares, from 0 to 1: `dispatched` of all messages have a report on the way, at half the time, of which
    `out_of_order` come after the final one; `repeated` of all reports are posted twice; `late` of all messages are told
    `late_s` later; of `early` of all calls the reports leave at once, and the call's own answer half a second later;
    `replies` of all replies are posted, besides being unread ones in the inbox.

    At most `batch_max` reports go into one request, and `at_once` requests of the account are under way. What is
    answered with anything but 200 is posted again after `retries_s`, the last of them over and over, until it was
    tried `tries_max` times. With `quirks` numbers come with and without a plus, names and statuses in several letter
    cases, and a report alone sometimes without its array.
    """

    url: str = field(repr=False)
    ca_file: str = ""
    delay_s: float = 1.0
    spread_s: float = 0.5
    finals: Mapping[str, float] = field(default_factory=lambda: {"Delivered": 1.0})
    dispatched: float = 0.5
    out_of_order: float = 0.0
    repeated: float = 0.0
    early: float = 0.0
    late: float = 0.0
    late_s: float = 30.0
    replies: float = 1.0
    batch_max: int = 100
    at_once: int = 4
    retries_s: Sequence[float] = RETRIES_S
    tries_max: int = len(RETRIES_S) + 1
    quirks: bool = True

    def __post_init__(self) -> None:
        """Check all of it; TypeError when something is of a wrong type altogether."""
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname or address.query or address.fragment:
            raise ValueError("The address of callbacks is https://HOST/PATH (or http), without a query.")
        if not self.finals or not all(0 < len(status) <= STATUS_CHARACTERS_MAX for status in self.finals):
            raise ValueError(f"finals names at least one status, of {STATUS_CHARACTERS_MAX} characters at most.")
        if not 1 <= len(self.retries_s) <= RETRIES_MAX:
            raise ValueError(f"retries_s has 1 to {RETRIES_MAX} waits, not {len(self.retries_s)}.")
        for name, value, least, most in self._ranges():
            if not least <= value <= most:
                raise ValueError(f"{name} is between {least:g} and {most:g}, not {value:g}.")
        for name in ("batch_max", "at_once", "tries_max"):
            if not isinstance(getattr(self, name), int):
                raise TypeError(f"{name} is a whole number")
        if not sum(self.finals.values()):
            raise ValueError("The weights of finals must not all be 0.")

    def _ranges(self) -> list[tuple[str, float, float, float]]:
        shares = ("dispatched", "out_of_order", "repeated", "early", "late", "replies")
        waits = ("delay_s", "spread_s", "late_s")
        return [
            *((name, getattr(self, name), 0.0, 1.0) for name in shares),
            *((name, getattr(self, name), 0.0, WAIT_S_MAX) for name in waits),
            *(("A wait of retries_s", wait_s, 0.0, WAIT_S_MAX) for wait_s in self.retries_s),
            *((f"The weight of {status}", weight, 0.0, 1e9) for status, weight in self.finals.items()),
            ("batch_max", self.batch_max, 1, BATCH_MAX),
            ("at_once", self.at_once, 1, AT_ONCE_MAX),
            ("tries_max", self.tries_max, 1, TRIES_MAX),
        ]

    def retry_s(self, tries: int) -> float | None:
        """How long after try number `tries` (from 1) the next one comes; None: it was the last one."""
        return None if tries >= self.tries_max else self.retries_s[min(tries, len(self.retries_s)) - 1]


def read_callbacks_file(path: Path) -> dict[str, CallbackPlan]:
    """Read `{"APPKEY": {"url": …, …}}`: a plan for each account; ValueError with one sentence when it cannot be done.

    No sentence quotes an address, which holds a secret.
    """
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise ValueError(f"The callbacks file {path} cannot be read: {why}.") from None
    if not isinstance(content, dict) or not all(isinstance(plan, dict) for plan in content.values()):
        raise ValueError(f"The callbacks file {path} must hold an object of plans by APPKEY.")
    try:
        return {key: CallbackPlan(**plan) for key, plan in content.items()}
    except (TypeError, AttributeError):
        raise ValueError(f"A plan in {path} needs at least its url, and numbers where numbers belong.") from None
