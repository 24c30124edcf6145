"""Deliveries that are taken where they are read, and not in a task each.

aiormq starts a task for each delivery, and keeps books of it in two places; to take one here only puts it somewhere,
and costs less than that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from aiormq.abc import ConsumerCallback, DeliveredMessage
from aiormq.channel import Channel

Receive = Callable[[DeliveredMessage], None]


class _Taken:
    """What aiormq is given instead of a coroutine, and gets back instead of a task: it is over, and nobody hears."""

    def add_done_callback(self, _: Callable[[Any], object]) -> None:
        """There is nothing to be told."""


_TAKEN = _Taken()


async def consume_in_place(
    channel: Channel, queue: str, receive: Receive, *, consumer_tag: str, timeout_s: float
) -> None:
    """Consume ``queue``. ``receive`` must not raise: nobody would read the channel any more, not even to close it.

    Raises what ``basic_consume`` raises.
    """

    def take(message: DeliveredMessage) -> _Taken:
        receive(message)
        return _TAKEN

    in_place = cast("ConsumerCallback", take)
    await channel.basic_consume(queue, in_place, consumer_tag=consumer_tag, timeout=timeout_s)
    # aiormq has made a coroutine around it, which takes what came until here. Or it was cancelled by the broker.
    if consumer_tag in channel.consumers:
        _start_no_task_for_taken(channel)
        channel.consumers[consumer_tag] = in_place


def _start_no_task_for_taken(channel: Channel) -> None:
    if "create_task" in vars(channel):
        return
    start = channel.create_task

    def create_task(work: Coroutine[Any, Any, Any] | _Taken) -> Any:
        return work if isinstance(work, _Taken) else start(work)

    channel.create_task = create_task  # type: ignore[method-assign, assignment]  # it also takes what is no work
