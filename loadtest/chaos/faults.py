"""What goes wrong, and when: drawn from a seed (pure)."""

import enum
import random
from dataclasses import dataclass, replace


class Family(enum.StrEnum):
    """Which part a fault is of."""

    PROCESS = "workers"
    BROKER = "RabbitMQ"
    STORE = "Redis"
    API = "API"


class Kind(enum.StrEnum):
    """A fault; the value is its name in tables: the part that it is of, and what is wrong."""

    KILL_ONE = "workers: one killed"
    KILL_ALL = "workers: all killed"
    REPLACE_ONE = "workers: one replaced (SIGTERM)"
    FREEZE_ONE = "workers: one frozen (SIGSTOP)"
    DIE_AT_STEP = "workers: one dies at a step"
    BROKER_KILLED = "RabbitMQ: killed"
    BROKER_RESTARTED = "RabbitMQ: restarted"
    BROKER_FROZEN = "RabbitMQ: frozen"
    BROKER_RESET = "RabbitMQ: connections reset"
    BROKER_SILENT = "RabbitMQ: black hole"
    BROKER_DEAF = "RabbitMQ: half-open"
    BROKER_SLOW = "RabbitMQ: slow line"
    BROKER_DOWN = "RabbitMQ: refuses connections"
    STORE_KILLED = "Redis: killed"
    STORE_RESTARTED = "Redis: restarted"
    STORE_FROZEN = "Redis: frozen"
    STORE_RESET = "Redis: connections reset"
    STORE_SILENT = "Redis: black hole"
    STORE_SLOW = "Redis: slow line"
    STORE_DOWN = "Redis: refuses connections"
    STORE_EMPTIED = "Redis: flushed"
    API_REFUSES = "API: refuses connections"
    API_502 = "API: answers 502"
    API_HANGS = "API: never answers"
    API_RESETS = "API: resets after the request"
    API_500_SENT = "API: answers 500, and has sent"
    API_LATE = "API: answers late"
    API_429 = "API: answers 429 at random"
    API_LOWERED = "API: limit lowered"

    @property
    def family(self) -> Family:
        """Which part it is of."""
        return Family(self.value.partition(":")[0])


#: How long each lasts, in seconds; what is over at once has none.
LASTS_S: dict[Kind, tuple[float, float]] = {
    Kind.FREEZE_ONE: (1.0, 60.0),
    Kind.BROKER_KILLED: (0.0, 4.0),
    Kind.BROKER_FROZEN: (1.0, 12.0),
    Kind.BROKER_SILENT: (2.0, 12.0),
    Kind.BROKER_DEAF: (2.0, 12.0),
    Kind.BROKER_SLOW: (3.0, 12.0),
    Kind.BROKER_DOWN: (1.0, 8.0),
    Kind.STORE_KILLED: (0.0, 6.0),
    Kind.STORE_FROZEN: (1.0, 8.0),
    Kind.STORE_SILENT: (2.0, 10.0),
    Kind.STORE_SLOW: (3.0, 12.0),
    Kind.STORE_DOWN: (1.0, 8.0),
    Kind.API_REFUSES: (1.0, 10.0),
    Kind.API_502: (1.0, 10.0),
    Kind.API_HANGS: (1.0, 12.0),
    Kind.API_RESETS: (1.0, 4.0),
    Kind.API_500_SENT: (1.0, 4.0),
    Kind.API_LATE: (1.0, 5.0),
    Kind.API_429: (2.0, 8.0),
    Kind.API_LOWERED: (5.0, 15.0),
}
#: Before the first fault, and after the last one.
WARM_S, CALM_S = 8.0, 10.0
#: From the beginning of one fault to that of the next.
GAP_S = (4.0, 16.0)
#: So often a second fault of another part begins while one lasts.
DOUBLE_CHANCE = 0.3
#: A store that is emptied has forgotten which ids were used: nothing else goes wrong at that time, and no producer
#: publishes twice. The copy of a job that waits even longer is sent again: the books count these by themselves.
ALONE_S = 30.0
MAY_FORGET = frozenset({Kind.STORE_EMPTIED})


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault that begins ``at_s`` after the start. ``chance``: in [0, 1), for what else it has to choose."""

    at_s: float
    kind: Kind
    lasts_s: float
    chance: float

    @property
    def until_s(self) -> float:
        """When it is over."""
        return self.at_s + self.lasts_s


def schedule(seed: int, seconds: float, kinds: tuple[Kind, ...] = tuple(Kind)) -> list[Planned]:
    """The faults of a run: the same for the same arguments. Kinds come in turns, so that a long run has them all."""
    chance = random.Random(seed)
    planned: list[Planned] = []
    waiting: list[Kind] = []
    at_s = WARM_S
    while at_s < seconds - CALM_S:
        if not waiting:
            waiting = list(kinds)
            chance.shuffle(waiting)
        first = _drawn(waiting.pop(), at_s, chance)
        if first.kind in MAY_FORGET:
            at_s += ALONE_S / 2
            first = replace(first, at_s=at_s)
            if first.until_s + ALONE_S / 2 < seconds:
                planned.append(first)
            at_s = first.until_s + ALONE_S / 2
            continue
        planned.append(first)
        end_s = first.until_s
        others = [kind for kind in waiting if kind.family is not first.kind.family and kind not in MAY_FORGET]
        if others and chance.random() < DOUBLE_CHANCE:
            other = chance.choice(others)
            waiting.remove(other)
            second = _drawn(other, at_s + chance.random() * max(1.0, first.lasts_s), chance)
            planned.append(second)
            end_s = max(end_s, second.until_s)
        at_s = end_s + chance.uniform(*GAP_S)
    begun = (one for one in planned if one.at_s < seconds - CALM_S)
    in_time = (replace(one, lasts_s=min(one.lasts_s, seconds - one.at_s)) for one in begun)
    return sorted(in_time, key=lambda one: one.at_s)


def _drawn(kind: Kind, at_s: float, chance: random.Random) -> Planned:
    lasts_s = chance.uniform(*LASTS_S[kind]) if kind in LASTS_S else 0.0
    return Planned(at_s, kind, lasts_s, chance.random())
