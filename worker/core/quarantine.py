"""Which messages are looked at with care, since workers may have died of them (pure).

When a worker dies, all that it held comes back: what it died of, and hundreds of neighbours that only were there. The
broker counts how often each came back (``Delivery.comebacks``); from ``SUSPECT_FROM`` on a message is a *suspect*, and
suspects are looked at one at a time, each with a note left outside the process beforehand. A worker that dies over one
leaves the note behind, and so the next worker knows which it was. A message with ``CRASHES_MAX`` such notes is not
looked at again: it becomes a dead letter. Its neighbours go their ways.

The look ends where the journal takes over: from its claim on, a job that ends its worker is in doubt (``journal.py``).
"""

from __future__ import annotations

from worker.core.delivery import Delivery

#: So many deaths or departures of workers in a row, with the same message in hand each time, are rarely chance.
SUSPECT_FROM = 3
#: One death over a message may be chance: somebody killed the process at that moment.
CRASHES_MAX = 2


def is_suspect(delivery: Delivery) -> bool:
    """Whether the delivery is to be looked at with care. A count without a redelivery is a producer's own header."""
    return delivery.redelivered and delivery.comebacks >= SUSPECT_FROM


def died_over_it(crashes: int) -> str:
    """The reason that the dead letter says; nothing of the message is in it, since nobody read it."""
    return f"its worker died {crashes} times while it looked at this message, so it was not looked at again"
