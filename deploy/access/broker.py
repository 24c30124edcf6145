"""The broker's users, and what each may do: computed from what each declares, publishes and takes.

RabbitMQ asks for these rights (https://www.rabbitmq.com/docs/access-control#authorisation), by the names of queues
and exchanges alike:

* configure: to declare or delete it;
* write: to publish to an exchange; to bind a queue; to name an alternate or a dead-letter exchange in a declaration;
* read: to take from a queue; to bind to an exchange; on what is declared with an alternate or a dead-letter exchange.

A passive declaration ("how many wait there?") takes no right but the way into the virtual host.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from worker.core.topology import (
    DEAD_QUEUE,
    EVENTS_EXCHANGE,
    EVENTS_QUEUE,
    IN_DOUBT_QUEUE,
    JOBS_EXCHANGE,
    REPORTS_EXCHANGE,
    REPORTS_QUEUE,
    RETRY_DELAYS_S,
    UNROUTABLE_QUEUE,
    Queue,
    Topology,
    for_receiving,
    for_sending,
    jobs_queues,
    journal_mark,
    retry_queue,
    topology,
)

VHOST: Final = "mms"
#: Stands for any account: they come and go, and their names are checked by the settings to be of this kind.
_ACCOUNT: Final = "ACCOUNT"
_ANY_ACCOUNT: Final = "[A-Za-z0-9_-]{1,64}"
_DEFAULT_EXCHANGE: Final = "amq.default"
_NOTHING: Final = "^$"
#: Queues that upstream systems declare for themselves: named so, or by the broker.
_UPSTREAMS_OWN: Final = (r"upstream\..+", r"amq\.gen-.+")


@dataclass(frozen=True, slots=True)
class Role:
    """A user of the broker. ``own``: patterns of what it may do everything with.

    ``publishes_to``: exchanges, "" is the default one; ``takes_from``: queues; ``listens_to``: exchanges that queues
    of its own are bound to. ``tags`` are about the management interface.
    """

    name: str
    does: str
    declares: Topology = field(default_factory=lambda: Topology((), ()))
    publishes_to: Collection[str] = ()
    takes_from: Collection[str] = ()
    listens_to: Collection[str] = ()
    own: Collection[str] = ()
    tags: Collection[str] = ()

    def configure(self) -> str:
        """What it may declare and delete."""
        return _pattern([*_names(self.declares)], self.own)

    def write(self) -> str:
        """What it may publish to, bind, or have dead letters go to."""
        return _pattern([*self.publishes_to, *_written_by_declaring(self.declares)], self.own)

    def read(self) -> str:
        """What it may take from, or bind to."""
        return _pattern([*self.takes_from, *self.listens_to, *_read_by_declaring(self.declares)], self.own)


def _its_own(declared: Topology) -> Topology:
    """What it declares where all stands that others declare: that is not declared again, and only bound."""
    others = declared.of_others
    return Topology(
        tuple(each for each in declared.exchanges if each.name not in others),
        tuple(
            Queue(queue.name, {}, tuple(binding for binding in queue.bindings if binding[0] not in others))
            if queue.name in others
            else queue
            for queue in declared.queues
        ),
        others,
    )


def _names(declared: Topology) -> Iterator[str]:
    yield from (each.name for each in _its_own(declared).exchanges)
    yield from (each.name for each in declared.queues if each.name not in declared.of_others)


def _written_by_declaring(declared: Topology) -> Iterator[str]:
    own = _its_own(declared)
    yield from (each.arguments["alternate-exchange"] for each in own.exchanges if each.arguments)
    for queue in own.queues:
        if queue.bindings:
            yield queue.name
        if (exchange := queue.arguments.get("x-dead-letter-exchange")) is not None:
            yield exchange


def _read_by_declaring(declared: Topology) -> Iterator[str]:
    own = _its_own(declared)
    yield from (each.name for each in own.exchanges if each.arguments)
    for queue in own.queues:
        yield from (exchange for exchange, _ in queue.bindings)
        if "x-dead-letter-exchange" in queue.arguments:
            yield queue.name


def _pattern(names: Iterable[str], more: Iterable[str]) -> str:
    """One regular expression that takes each name, whole, and nothing else."""
    escaped = {re.escape(name or _DEFAULT_EXCHANGE).replace(_ACCOUNT, _ANY_ACCOUNT) for name in names}
    alternatives = sorted(escaped | set(more))
    return f"^({'|'.join(alternatives)})$" if alternatives else _NOTHING


def _worker() -> Role:
    sending = for_sending([_ACCOUNT])
    return Role(
        "worker",
        "sends: takes jobs, publishes what became of them, puts them back or away",
        declares=Topology((*sending.exchanges, journal_mark(_ACCOUNT)), sending.queues),
        publishes_to=("", JOBS_EXCHANGE, EVENTS_EXCHANGE, *map(retry_queue, RETRY_DELAYS_S)),
        takes_from=(*(queue.name for queue in jobs_queues(_ACCOUNT)), IN_DOUBT_QUEUE),
    )


ROLES: Final = (
    _worker(),
    Role(
        "receiver",
        "takes delivery reports and replies in: it can neither make, take nor see a job",
        declares=for_receiving(),
        publishes_to=(EVENTS_EXCHANGE, REPORTS_EXCHANGE),
        takes_from=(REPORTS_QUEUE,),
    ),
    Role(
        "upstream",
        "your systems: publish jobs and follow events, in queues of their own (named upstream.…)",
        publishes_to=(JOBS_EXCHANGE,),
        takes_from=(EVENTS_QUEUE,),
        listens_to=(EVENTS_EXCHANGE,),
        own=_UPSTREAMS_OWN,
    ),
    Role(
        "operator",
        "people: the commands of mms-worker, and the management interface",
        publishes_to=(JOBS_EXCHANGE, EVENTS_EXCHANGE, REPORTS_EXCHANGE),
        takes_from=(DEAD_QUEUE, IN_DOUBT_QUEUE, UNROUTABLE_QUEUE),
        tags=("monitoring",),
    ),
    Role("monitor", "looks at the management interface, and at nothing in the queues", tags=("monitoring",)),
)


def definitions() -> dict[str, Any]:
    """What `rabbitmqctl import_definitions` takes. No user has a password, and so none can log in."""
    everything = topology(())
    return {
        "vhosts": [{"name": VHOST}],
        "users": [
            {
                "name": role.name,
                "password_hash": "",
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": list(role.tags),
            }
            for role in ROLES
        ],
        "permissions": [
            {
                "user": role.name,
                "vhost": VHOST,
                "configure": role.configure(),
                "write": role.write(),
                "read": role.read(),
            }
            for role in ROLES
        ],
        "exchanges": [
            {
                "name": each.name,
                "vhost": VHOST,
                "type": each.kind,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": each.arguments,
            }
            for each in everything.exchanges
        ],
        "queues": [
            {
                "name": each.name,
                "vhost": VHOST,
                "durable": True,
                "auto_delete": False,
                "arguments": each.arguments,
            }
            for each in everything.queues
        ],
        "bindings": [
            {
                "source": source,
                "vhost": VHOST,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for queue in everything.queues
            for source, key in queue.bindings
        ],
    }


def definitions_text() -> str:
    """The committed file."""
    return json.dumps(definitions(), indent=2) + "\n"
