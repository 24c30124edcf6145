"""Publishing: persistent, mandatory, confirmed, and never the same thing again on a connection that may carry it.

A broker with an alarm stops reading, for minutes perhaps, and then takes in everything that was written to it. To
give up a wait and publish again on the same connection would make as many copies. So a publication waits for its
confirm as long as its connection lives; what gives up is the connection, when it is not blocked and the oldest
publication has waited too long.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import PublishError

from worker.adapters.rabbitmq_connection import BrokerAddress
from worker.adapters.rabbitmq_link import Link
from worker.adapters.rabbitmq_publications import encoded
from worker.core.delivery import Publication
from worker.core.topology import Topology
from worker.flow.observations import BrokerBlocked, Observer, Published, Role
from worker.flow.ports import CannotStart, Monotonic, PublishFailed

LOOK_S = 0.1
NOBODY = "mms.nobody"


@dataclass(slots=True, eq=False)
class _Unconfirmed:
    """A publication that was written and not confirmed yet. ``since_s``: when, without the time that alarms took."""

    publication: Publication
    message_id: str
    confirm: asyncio.Future[None]
    written_at_s: float
    since_s: float


@dataclass(slots=True, eq=False)
class _Line:
    """A channel in use, and what waits for its confirms there, by delivery tag; the oldest is first."""

    channel: Channel
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    unconfirmed: dict[int, _Unconfirmed] = field(default_factory=dict)


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
        """Write all of them, in order and together.

        Each future ends when the broker has confirmed that one, or with ``PublishFailed`` when it will not: its
        connection ended, or nothing takes what is published there.
        """
        loop = asyncio.get_running_loop()
        now_s = self._monotonic()
        confirms = [loop.create_future() for _ in publications]
        line = self._line
        if line is None or line.channel.is_closed or line.channel.write_queue.full():
            for confirm in confirms:
                self._end(confirm, now_s, "not connected")
            return confirms
        frames = [
            self._expect(line, publication, confirm, now_s)
            for publication, confirm in zip(publications, confirms, strict=True)
        ]
        # Nothing waits in between, so that the broker counts the publications as we do. What counts is the confirm;
        # to wait for the socket's buffer as well would serialise publications.
        line.channel.write_queue.put_nowait(ChannelFrame(payload=b"".join(frames), should_close=False))
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

    def _expect(self, line: _Line, publication: Publication, confirm: asyncio.Future[None], now_s: float) -> bytes:
        """Count the publication, as the broker will, and have what it says lead to ``confirm``; returns its frames.

        This is what ``Channel.basic_publish`` does around its lock, for one that is written with others.
        """
        channel = line.channel
        delivery_tag = channel.delivery_tag + 1
        message_id = f"{line.name}-{delivery_tag}"
        frames = encoded(
            publication, message_id=message_id, channel=channel.number, content_bytes_max=channel.max_content_size
        )
        channel.delivery_tag = delivery_tag
        said = asyncio.get_running_loop().create_future()
        channel.confirmations[delivery_tag] = said
        channel.message_id_delivery_tag[message_id] = delivery_tag
        line.unconfirmed[delivery_tag] = _Unconfirmed(publication, message_id, confirm, now_s, now_s)
        said.add_done_callback(partial(self._said, line, delivery_tag))
        return frames

    def _said(self, line: _Line, delivery_tag: int, said: asyncio.Future[object]) -> None:
        """Take in what the broker said about one publication."""
        waiting = line.unconfirmed.pop(delivery_tag, None)
        if waiting is None:
            return
        line.channel.message_id_delivery_tag.pop(waiting.message_id, None)
        error = said.exception()
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
