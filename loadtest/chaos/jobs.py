"""The jobs that are published while things go wrong: drawn from a seed (pure)."""

import enum
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

ACCOUNT = "acme"
OPTED_OUT = "+61499999999"
JOBS_OF_TEXT = 6
"""So many jobs in a row have the same text, and may share a call."""
LARGE, LARGE_RECIPIENTS_MAX = 0.06, 20


class Sort(enum.StrEnum):
    """What is special about a job."""

    PLAIN = "plain"
    URGENT = "urgent"
    PARTLY_REFUSED = "partly refused"
    REFUSED = "refused"
    EXPIRING = "expiring"
    REPEATED = "published twice"
    MALFORMED = "malformed"


#: How often each occurs, in hundredths.
SHARES = {
    Sort.PLAIN: 62,
    Sort.URGENT: 10,
    Sort.PARTLY_REFUSED: 5,
    Sort.REFUSED: 4,
    Sort.EXPIRING: 8,
    Sort.REPEATED: 8,
    Sort.MALFORMED: 3,
}
#: How a job of each sort may end, whatever else goes wrong.
ENDS = {
    Sort.PLAIN: frozenset({"sent", "in_doubt"}),
    Sort.URGENT: frozenset({"sent", "in_doubt"}),
    Sort.PARTLY_REFUSED: frozenset({"sent", "in_doubt"}),
    Sort.REFUSED: frozenset({"refused", "in_doubt"}),
    Sort.EXPIRING: frozenset({"sent", "expired", "in_doubt"}),
    Sort.REPEATED: frozenset({"sent", "in_doubt"}),
    Sort.MALFORMED: frozenset({"dead"}),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One job. ``to``: its recipients that have not opted out; each number is of one job alone."""

    name: str
    sort: Sort
    to: tuple[str, ...]
    body: bytes
    routing_key: str


class Jobs:
    """Makes one job after the other: with the same seed the same, but for the moment at which an expiring one ends."""

    def __init__(self, seed: int, *, media: Sequence[Mapping[str, str]]) -> None:
        """``media``: their pictures, as a job has them; each in turn for the jobs of a text."""
        self._chance = random.Random(seed)
        self._media = media
        self._made = 0
        self._numbers = 0

    def next(self, now: datetime, *, may_repeat: bool = True) -> Job:
        """The next one; ``may_repeat``: it may be one that is to be published twice."""
        n = self._made
        self._made += 1
        (sort,) = self._chance.choices(list(SHARES), weights=list(SHARES.values()))
        if sort is Sort.REPEATED and not may_repeat:
            sort = Sort.PLAIN
        count = self._chance.randint(2, LARGE_RECIPIENTS_MAX) if self._chance.random() < LARGE else 1
        to = tuple(self._number() for _ in range(0 if sort is Sort.REFUSED else count))
        name = f"chaos-{n}"
        fields: dict[str, object] = {
            "id": name,
            "to": [*to, OPTED_OUT] if sort in (Sort.REFUSED, Sort.PARTLY_REFUSED) else list(to),
            "text": f"Number {n // JOBS_OF_TEXT}",
            "media": self._media[n // JOBS_OF_TEXT % len(self._media)],
        }
        if sort is Sort.MALFORMED:
            fields["text"] = ""
        if sort is Sort.EXPIRING:
            ends = now.astimezone(UTC) + timedelta(seconds=self._chance.uniform(1, 8))
            fields["expires_at"] = ends.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        key = f"{ACCOUNT}.urgent" if sort is Sort.URGENT else ACCOUNT
        return Job(name, sort, to if sort is not Sort.MALFORMED else (), json.dumps(fields).encode(), key)

    def _number(self) -> str:
        self._numbers += 1
        return f"+614{self._numbers:08}"
