"""Publishing: persistent, mandatory, confirmed, and never the same thing again on a connection that may carry it.

A broker with an alarm stops reading, for minutes perhaps, and then takes in everything that was written to it. To
give up a wait and publish again on the same connection would make as many copies. So a publication waits for its
confirm as long as its connection lives; what gives up is the connection, when it is not blocked and the oldest
publication has waited too long.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from dataclasses import replace

import aiormq
from aiormq.channel import Channel
from aiormq.exceptions import PublishError

from worker.adapters.rabbitmq_connection import AMQP_FAILURES, BrokerAddress, BrokerGone, answers_or_gone
from worker.adapters.rabbitmq_link import Link
from worker.core.delivery import OUR_HEADERS, Publication
from worker.core.topology import Topology
from worker.flow.observations import BrokerBlocked, Observer, Published, Role
from worker.flow.ports import CannotStart, Monotonic, PublishFailed

LOOK_S = 0.1
NOBODY = "mms.nobody"


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
    ) -> None:
        self.link = Link(
            role=Role.PUBLISH, address=address, topology=topology, observe=observe, set_up=self._open_channel
        )
        self._timeout_s = timeout_s
        self._observe = observe
        self._monotonic = monotonic
        self._channel: Channel | None = None
        self._numbers = itertools.count()
        #: When each publication that waits for its confirm was made; the oldest is first.
        self._unconfirmed: dict[int, float] = {}
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

    async def publish(self, publication: Publication) -> None:
        """Return once the broker has confirmed; raise ``PublishFailed`` when the connection ended before."""
        started_s = self._monotonic()
        number = next(self._numbers)
        self._unconfirmed[number] = started_s
        try:
            failure = await self._try_to_publish(publication)
        finally:
            self._unconfirmed.pop(number, None)
        self._observe(Published(self._monotonic() - started_s, failure))
        if failure is not None:
            raise PublishFailed(failure)

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
                self._unconfirmed = dict.fromkeys(self._unconfirmed, self._monotonic())
                continue
            self._unblocked.set()
            oldest_s = next(iter(self._unconfirmed.values()), None)
            if oldest_s is not None and self._monotonic() - oldest_s > self._timeout_s:
                self.link.end(f"no confirm within {self._timeout_s:g} s")

    async def _open_channel(self) -> None:
        """Open the channel and have one publication, to nobody, confirmed.

        A broker tells a new connection of its alarm only when something is published; until then calls would be made
        whose outcome could not be told.
        """
        channel = await self.link.open_channel(is_confirmed=True)
        try:
            await channel.basic_publish(b"", routing_key=NOBODY, mandatory=False, timeout=self._timeout_s)
        except TimeoutError as error:
            raise CannotStart(
                f"The broker confirms nothing within {self._timeout_s:g} s: look for an alarm there (memory, disk), "
                "or raise MMS_PUBLISH_TIMEOUT_S."
            ) from error
        self._channel = channel

    async def _try_to_publish(self, publication: Publication) -> str | None:
        channel = self._channel
        if channel is None or channel.is_closed:
            return "not connected"
        properties = aiormq.spec.Basic.Properties(
            content_type=publication.content_type,
            delivery_mode=2,
            headers=dict(publication.headers),
            timestamp=publication.published_at,
        )
        try:
            with answers_or_gone():
                await channel.basic_publish(
                    publication.body,
                    exchange=publication.exchange,
                    routing_key=publication.routing_key,
                    properties=properties,
                    mandatory=True,
                    # The confirm is what counts; waiting for the socket's buffer too would serialise publications.
                    wait=False,
                )
        except (TypeError, ValueError, struct.error):
            if not publication.headers:
                raise
            # A producer's header that can be read and not written must not end the process, job after job.
            own = {name: value for name, value in publication.headers.items() if name.startswith(OUR_HEADERS)}
            return await self._try_to_publish(replace(publication, headers=own if own != publication.headers else {}))
        except PublishError:
            # What should take it is gone: start over, which declares it again.
            target = publication.exchange or publication.routing_key
            self.link.end(f"no queue takes what is published to {target}")
            return "unroutable"
        except BrokerGone:
            return "connection lost"
        except AMQP_FAILURES as error:
            return type(error).__name__
        return None
