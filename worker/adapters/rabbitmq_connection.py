"""Connecting to RabbitMQ and declaring what lives there, with failures in words for a person."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import aio_pika
import aiormq.connection
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.channel import Channel
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from worker.adapters.rabbitmq_frames import tolerate_odd_properties
from worker.adapters.tls import tls_fault
from worker.core.topology import Topology
from worker.flow.observations import Role
from worker.flow.ports import CannotStart


class BrokerGone(ConnectionError):  # noqa: N818 - named for what happened
    """The connection ended while something waited for its answer."""


#: What aio-pika raises when the broker, or the way to it, fails; what it raises beyond that is put right by
#: ``answers_or_gone``.
AMQP_FAILURES = (AMQPError, OSError, TimeoutError, RuntimeError)
HEARTBEAT_S = 20
#: What may stand behind the '?' of an address: files with whom to trust, what to show, and the key to that.
AMQP_TLS_PARAMETERS = ("cafile", "certfile", "keyfile")
#: aiormq lets ten frames wait between a publisher and the socket, and holds its publishing lock meanwhile. Then the
#: next publisher gets the lock one turn of the event loop later, and a busy worker publishes one message a turn: 868
#: jobs a second instead of 1,626, with confirms that take 95 ms instead of 17. The same for frames on their way in.
FRAMES_BUFFERED_MAX = 4096
tolerate_odd_properties()
aiormq.connection.Connection.FRAME_BUFFER_SIZE = FRAMES_BUFFERED_MAX


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is. ``name`` is shown in its list of connections.

    ``tls``: for amqps, whom to trust. ``url_now``: ``url`` with the login that counts now, if that may change.
    """

    url: str = field(repr=False)
    name: str
    timeout_s: float
    tls: ssl.SSLContext | None = None
    url_now: Callable[[], str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        url = URL(self.url)
        return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}"


@contextlib.contextmanager
def answers_or_gone() -> Iterator[None]:
    """Around every wait for the broker: turns aiormq's ways to say that the connection ended into ``BrokerGone``.

    It hands a ``CancelledError`` or a bare ``Exception`` to whoever waits. Taken for a cancellation that somebody
    asked for, the first would end a settlement silently, with its delivery held for ever. The other way round, a
    cancellation that somebody did ask for may get lost in it, or come out as a failure; it is one all the same.
    """
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    try:
        yield
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling() > asked:
            raise
        raise BrokerGone("the connection ended") from error
    except Exception as error:
        if task is not None and task.cancelling() > asked:
            raise asyncio.CancelledError from error
        if type(error) is not Exception:
            raise
        raise BrokerGone(str(error) or "the connection ended") from error
    if task is not None and task.cancelling() > asked:
        raise asyncio.CancelledError


async def connect(address: BrokerAddress, role: Role) -> AbstractConnection:
    """Open a connection; ``CannotStart`` says in a sentence why not."""
    url = URL(address.url_now() if address.url_now else address.url).update_query(heartbeat=str(HEARTBEAT_S))
    try:
        with answers_or_gone():
            return await aio_pika.connect(
                url,
                timeout=address.timeout_s,
                ssl_context=address.tls,
                client_properties={"connection_name": f"{address.name} {role.value}"},
            )
    except (AuthenticationError, ProbableAuthenticationError) as error:
        raise CannotStart(
            f"The broker at {address} refused the login: check user and password in MMS_AMQP_URL."
        ) from error
    except (ConnectionNotAllowed, InvalidFrameError) as error:
        # After a good login the broker answers the opening of a virtual host with a close; aiormq wants another frame.
        raise CannotStart(
            f"The broker at {address} does not let this user into the virtual host: check the path of MMS_AMQP_URL, "
            "that it exists, and that the user may use it."
        ) from error
    except AMQP_FAILURES as error:
        if fault := tls_fault(error, url="MMS_AMQP_URL", ca_file="MMS_AMQP_CA_FILE"):
            raise CannotStart(f"The broker at {address} cannot be trusted: {fault}.") from error
        is_silent = isinstance(error, TimeoutError) and not error.args
        said = f"no answer within {address.timeout_s:g} s" if is_silent else why(error)
        raise CannotStart(
            f"The broker at {address} cannot be reached ({said}): check MMS_AMQP_URL, and that RabbitMQ runs."
        ) from error


async def open_raw_channel(connection: AbstractConnection, *, is_confirmed: bool) -> Channel:
    """Open a channel of the layer below aio-pika, which costs a future less per message and has room for frames."""
    assert connection.transport is not None  # noqa: S101 - ``connect`` returns connections that stand
    channel = await connection.transport.connection.channel(
        publisher_confirms=is_confirmed, on_return_raises=is_confirmed, frame_buffer_size=FRAMES_BUFFERED_MAX
    )
    assert isinstance(channel, Channel)  # noqa: S101 - its interface lacks ``wait``, which the class has
    return channel


def is_ending(channel: Channel) -> bool:
    """Whether ``channel`` has ended or is about to: nothing may be written there any more.

    The broker ends the whole connection, with all other channels, for a frame on a channel whose end was agreed upon.
    aiormq says that a channel is closed some turns of the event loop after that; it knows before, and its own methods
    look there.
    """
    return channel.is_closed or channel._Channel__close_event.is_set()  # type: ignore[attr-defined] # noqa: SLF001


async def declare(channel: AbstractChannel, topology: Topology, timeout_s: float) -> None:
    """Declare what is missing. Raises ``CannotStart`` when something exists in another shape."""
    standing = await _standing(channel, topology, timeout_s) if topology.of_others else frozenset()
    name = ""
    try:
        for exchange in topology.exchanges:
            if exchange.name in standing:
                continue
            name = f"exchange {exchange.name}"
            await channel.exchange_declare(
                exchange.name,
                exchange_type=exchange.kind,
                durable=True,
                arguments=exchange.arguments,
                timeout=timeout_s,
            )
        for queue in topology.queues:
            name = f"queue {queue.name}"
            if queue.name not in standing:
                await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, timeout=timeout_s)
            for source, key in queue.bindings:
                if not {queue.name, source} <= standing:
                    await channel.queue_bind(queue.name, source, routing_key=key, timeout=timeout_s)
    except ChannelPreconditionFailed as error:
        raise CannotStart(
            f"The {name} exists in the broker with other properties ({why(error)}): "
            "delete it once it is empty, or use another virtual host, and start again."
        ) from error


async def _standing(channel: AbstractChannel, topology: Topology, timeout_s: float) -> frozenset[str]:
    """What of ``topology.of_others`` is there. To look takes no right."""
    standing = set()
    looks = [
        *((each.name, "exchange") for each in topology.exchanges if each.name in topology.of_others),
        *((each.name, "queue") for each in topology.queues if each.name in topology.of_others),
    ]
    for name, kind in looks:
        # A channel for each: the broker closes it when there is no such thing.
        looking = await channel.connection.channel(publisher_confirms=False, timeout=timeout_s)
        try:
            await (looking.exchange_declare if kind == "exchange" else looking.queue_declare)(
                name, passive=True, timeout=timeout_s
            )
        except ChannelNotFoundEntity:
            continue
        standing.add(name)
        await looking.close()
    return frozenset(standing)


def why(error: BaseException) -> str:
    """What a failure says, on one line, without the address (it may hold a password)."""
    words = " ".join(str(argument) for argument in error.args if not isinstance(argument, bytes))
    return " ".join(words.split())[:300] or type(error).__name__
