"""Publications that belong together, and whether the broker has each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from worker.core.delivery import Publication
from worker.flow.ports import PublishFailed, Publishing


async def confirmed(publishing: Publishing, publications: Sequence[Publication], limit_s: float) -> list[bool]:
    """Publish all together; whether each was confirmed within ``limit_s``, in the same order.

    What was not may be with the broker all the same, or come to it later. Nothing is published while that has no
    chance to be confirmed: a broker with an alarm takes in everything at its end, each copy of it; and when no time is
    left, it may be somebody else's to tell by now.
    """
    if not publications or not publishing.can_publish or limit_s <= 0:
        return [False] * len(publications)
    confirms = publishing.publish_many(publications)
    try:
        await asyncio.wait(confirms, timeout=limit_s)
    finally:
        # Nobody waits for these any more, and what becomes of them is nobody's surprise.
        are_given_up = [confirm.cancel() for confirm in confirms]
    return [
        not is_given_up and _is_confirmed(confirm) for confirm, is_given_up in zip(confirms, are_given_up, strict=True)
    ]


def _is_confirmed(confirm: asyncio.Future[None]) -> bool:
    try:
        confirm.result()
    except PublishFailed:
        return False
    return True
