"""Deliveries that are taken where they are read, and not in a task each.

aiormq starts a task for each delivery, and keeps books of it in two places; to take one here only puts it somewhere,
and costs less than that. So a callback of ours is a plain function that answers ``TAKEN``, and the channel starts no
task for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from aiormq.channel import Channel


class InPlace:
    """What aiormq is given instead of a coroutine, and gets back instead of a task: it is over, and nobody hears."""

    def add_done_callback(self, _: Callable[[Any], object]) -> None:
        """There is nothing to be told."""


TAKEN = InPlace()


def take_in_place(channel: Channel) -> None:
    """Have ``channel`` start no task for callbacks that answer ``TAKEN``. An exception of one ends the channel."""
    start = channel.create_task

    def create_task(work: Coroutine[Any, Any, Any] | InPlace) -> Any:
        return work if isinstance(work, InPlace) else start(work)

    channel.create_task = create_task  # type: ignore[method-assign, assignment]  # it also takes what is no work
