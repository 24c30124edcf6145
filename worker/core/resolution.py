"""On what grounds a job in doubt is resolved, and how that is told (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from worker.core.delivery import Publication
from worker.core.events import EventType, ResolvedAs, ResolvedBy, job_event, recipients, refusals
from worker.core.journal import GIVEN_UP, SENT

SETTLED_AS = {SENT: ResolvedAs.SENT, GIVEN_UP: ResolvedAs.GIVEN_UP}


@dataclass(frozen=True, slots=True)
class Grounds:
    """Who resolves, and what the evidence is, in words.

    Where the API's own word is known: ``accepted``, the numbers that it took with their message ids, and ``refused``,
    the others and why.
    """

    by: ResolvedBy
    evidence: str
    accepted: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def resolved_event(
    grounds: Grounds,
    resolution: ResolvedAs,
    *,
    account: str,
    job_id: str,
    reference: str | None,
    attempt: int,
    at: datetime,
    number: int,
) -> Publication:
    """Build the event that a job in doubt is resolved. ``number``: how many times it is resolved, this one included."""
    more: dict[str, Any] = {"resolution": resolution.value, "by": grounds.by.value, "evidence": grounds.evidence}
    if grounds.accepted:
        more["recipients"] = recipients(grounds.accepted)
    if grounds.refused:
        more["refused"] = refusals(grounds.refused)
    return job_event(
        EventType.RESOLVED,
        account=account,
        job_id=job_id,
        reference=reference,
        attempt=attempt,
        at=at,
        more=more,
        number=number,
    )


def written(grounds: Grounds) -> str:
    """The grounds as the journal keeps them until they are told."""
    return orjson.dumps([grounds.by.value, grounds.evidence, grounds.accepted, grounds.refused]).decode()


def read(text: str) -> Grounds | None:
    """Grounds as they were ``written``; None when they cannot be read."""
    try:
        by, evidence, accepted, refused = orjson.loads(text)
        return Grounds(ResolvedBy(by), str(evidence), _pairs(accepted), _pairs(refused))
    except (ValueError, TypeError):
        return None


def _pairs(listed: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(one), str(other)) for one, other in listed)
