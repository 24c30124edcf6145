"""Publishing: persistent, mandatory, confirmed, and never the same thing again on a connection that may carry it.

A broker with an alarm stops reading, for minutes perhaps, and then takes in everything that was written to it. To
give up a wait and publish again on the same connection would make as many copies. So a publication waits for its
confirm as long as its connection lives; what gives up is the connection, when it is not blocked and the oldest
publication has waited too long.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from aiormq.channel import Channel
from aiormq.exceptions import PublishError

from worker.adapters.rabbitmq_connection import BrokerAddress, is_ending
from worker.adapters.rabbitmq_link import Link
from worker.adapters.rabbitmq_publications import encoded
from worker.adapters.rabbitmq_writing import Writing
from worker.core.delivery import Publication
from worker.core.topology import Topology
from worker.flow.observations import BrokerBlocked, Observer, Published, Role
from worker.flow.ports import CannotStart, Monotonic, PublishFailed

LOOK_S = 0.1
NOBODY = "mms.nobody"


@dataclass(slots=True, eq=False)
class _Unconfirmed:
    """A publication that was written and not confirmed yet. ``since_s``: when, without the time that alarms took.

    It stands where aiormq keeps a future for each publication, and is told there what the broker says: ``said`` gets it
    and the error, if it is one. A future in between would cost two turns of the event loop.
    """

    publication: Publication
    message_id: str
    delivery_tag: int
    confirm: asyncio.Future[None]
    written_at_s: float
    since_s: float
    line: _Line
    said: Callable[[_Line, _Unconfirmed, BaseException | None], None]
    is_over: bool = False

    def done(self) -> bool:
        """Whether the broker has said something about it."""
        return self.is_over

    def cancelled(self) -> bool:
        """Nobody else gives it up."""
        return False

    def set_result(self, _: object) -> None:
        """The broker has it."""
        self.is_over = True
        self.said(self.line, self, None)

    def set_exception(self, error: BaseException) -> None:
        """The broker does not have it."""
        self.is_over = True
        self.said(self.line, self, error)


@dataclass(slots=True, eq=False)
class _Line:
    """A channel in use, and what waits for its confirms there, by delivery tag; the oldest is first."""

    channel: Channel
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    unconfirmed: dict[int, _Unconfirmed] = field(default_factory=dict)
    #: What is to be written together.
    frames: list[bytes] = field(default_factory=list)
    writing: Writing = field(init=False)

    def __post_init__(self) -> None:
        self.writing = Writing(self.channel, self._take_frames)

    def _take_frames(self) -> bytes:
        frames, self.frames = self.frames, []
        return b"".join(frames)


class Publisher:
    """Publishes over a link of its own. ``timeout_s``: how long a confirm may take while there is no alarm."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        topology: Topology,
        timeout_s: float,
        observe: Observer,
        monotonic: Monotonic,
        probe_exchange: str = "",
    ) -> None:
        """``probe_exchange``: one that this user may publish to and that leads nobody's messages anywhere."""
        self.link = Link(
            role=Role.PUBLISH, address=address, topology=topology, observe=observe, set_up=self._open_channel
        )
        self._timeout_s = timeout_s
        self._observe = observe
        self._monotonic = monotonic
        self._probe_exchange = probe_exchange
        self._line: _Line | None = None
        self._unblocked = asyncio.Event()
        self._unblocked.set()

    @property
    def can_publish(self) -> bool:
        """Whether the connection stands and the broker reads from it."""
        return self.link.ready.is_set() and self._unblocked.is_set()

    async def ready(self) -> None:
        """Wait until ``can_publish``."""
        while not self.can_publish:
            await self.link.ready.wait()
            await self._unblocked.wait()

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        """Write all of them, in order and together, with all others of this turn of the event loop.

        Each future ends when the broker has confirmed that one, or with ``PublishFailed`` when it will not: its
        connection ended, or nothing takes what is published there.
        """
        loop = asyncio.get_running_loop()
        now_s = self._monotonic()
        confirms = [loop.create_future() for _ in publications]
        line = self._line
        if line is None or is_ending(line.channel) or line.channel.write_queue.full():
            for confirm in confirms:
                self._end(confirm, now_s, "not connected")
            return confirms
        line.writing.soon()
        # Nothing else writes to this channel, and nothing waits in between, so that the broker counts the publications
        # as we do. What counts is the confirm; to wait for the socket's buffer as well would serialise publications.
        for publication, confirm in zip(publications, confirms, strict=True):
            self._write(line, publication, confirm, now_s)
        return confirms

    async def watch(self) -> None:
        """Notice alarms, and give the connection up when confirms do not come although there is none."""
        while True:
            await asyncio.sleep(LOOK_S)
            is_blocked = await self.link.is_blocked()
            if is_blocked is self._unblocked.is_set():
                self._observe(BrokerBlocked(Role.PUBLISH, is_blocked=is_blocked))
            if is_blocked:
                self._unblocked.clear()
                # The time that the alarm takes is the broker's, not the publications'.
                for waiting in self._line.unconfirmed.values() if self._line else ():
                    waiting.since_s = self._monotonic()
                continue
            self._unblocked.set()
            oldest = next(iter(self._line.unconfirmed.values()), None) if self._line else None
            if oldest is not None and self._monotonic() - oldest.since_s > self._timeout_s:
                self.link.end(f"no confirm within {self._timeout_s:g} s")

    async def _open_channel(self) -> None:
        """Open the channel and have one publication, to nobody, confirmed.

        A broker tells a new connection of its alarm only when something is published; until then calls would be made
        whose outcome could not be told.
        """
        channel = await self.link.open_channel(is_confirmed=True)
        try:
            await channel.basic_publish(
                b"", exchange=self._probe_exchange, routing_key=NOBODY, mandatory=False, timeout=self._timeout_s
            )
        except TimeoutError as error:
            raise CannotStart(
                f"The broker confirms nothing within {self._timeout_s:g} s: look for an alarm there (memory, disk), "
                "or raise MMS_PUBLISH_TIMEOUT_S."
            ) from error
        self._line = line = _Line(channel)
        channel.closing.add_done_callback(lambda _: self._lost(line))

    def _write(self, line: _Line, publication: Publication, confirm: asyncio.Future[None], now_s: float) -> None:
        """Count the publication, as the broker will, have what it says lead to ``confirm``, and leave it to be written.

        This is what ``Channel.basic_publish`` does around its lock, for one that is written with others. What is
        counted is written, also when one of the others cannot be: else all later confirms would be taken for an
        earlier one's.
        """
        channel = line.channel
        delivery_tag = channel.delivery_tag + 1
        message_id = f"{line.name}-{delivery_tag}"
        frames = encoded(
            publication, message_id=message_id, channel=channel.number, content_bytes_max=channel.max_content_size
        )
        channel.delivery_tag = delivery_tag
        waiting = _Unconfirmed(publication, message_id, delivery_tag, confirm, now_s, now_s, line, self._said)
        channel.confirmations[delivery_tag] = cast("asyncio.Future[Any]", waiting)
        channel.message_id_delivery_tag[message_id] = delivery_tag
        line.unconfirmed[delivery_tag] = waiting
        line.frames.append(frames)

    def _said(self, line: _Line, waiting: _Unconfirmed, error: BaseException | None) -> None:
        """Take in what the broker said about one publication."""
        if line.unconfirmed.pop(waiting.delivery_tag, None) is None:
            return
        line.channel.message_id_delivery_tag.pop(waiting.message_id, None)
        failure = None if error is None else type(error).__name__
        if isinstance(error, PublishError):
            # What should take it is gone: start over, which declares it again.
            publication = waiting.publication
            self.link.end(f"no queue takes what is published to {publication.exchange or publication.routing_key}")
            failure = "unroutable"
        self._end(waiting.confirm, waiting.written_at_s, failure)

    def _lost(self, line: _Line) -> None:
        """The channel ended: what waits there will not be confirmed."""
        unconfirmed, line.unconfirmed = line.unconfirmed, {}
        for waiting in unconfirmed.values():
            self._end(waiting.confirm, waiting.written_at_s, "connection lost")

    def _end(self, confirm: asyncio.Future[None], written_at_s: float, failure: str | None) -> None:
        self._observe(Published(self._monotonic() - written_at_s, failure))
        if confirm.done():
            return  # nobody waits for it any more
        if failure is None:
            confirm.set_result(None)
        else:
            confirm.set_exception(PublishFailed(failure))
