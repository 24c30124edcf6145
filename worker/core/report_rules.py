"""What becomes of a delivery report of a message that nobody knows (pure).

1. It may have come before the answer to its own send, of any job at all: it **waits**, until no call that had begun
   when the message was first heard of can be without its trace. What counts is how long it has waited in the broker,
   and was looked at in vain: while the store is away, or when its clock is set, messages grow older and nothing is
   learned of them.
2. There are **doubts**: jobs that may have been sent to this recipient, and none of whose messages is known. With as
   many unknown messages as doubts each doubt was sent, and this message is taken for the oldest one's. With fewer, some
   doubt was not sent, and nobody can tell which. What may still turn out to be of another send does not count; where
   there would be enough with it, this one waits for that.
3. There are none, or nobody can tell: it is told without a job. Shortly after a job was sent to the same recipient, a
   message that is nobody's is taken for a second one of that job.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.sendings import SentJob, Stranger

#: A report waits so many times as long as for its own send's answer, at most, until it is known what others are of.
_WAITS_MAX = 2


@dataclass(frozen=True, slots=True)
class Wait:
    """Look at it again in a while."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """It is a message of one of these, the oldest first: of one that is still in doubt, if there is one."""

    doubts: tuple[SentJob, ...]


@dataclass(frozen=True, slots=True)
class Alone:
    """Tell it without a job. ``twice``: the job that was sent twice by the look of it, if this is news."""

    twice: SentJob | None


def judge(found: Stranger, *, waited_s: int, wait_s_max: float) -> Wait | OneOf | Alone:
    """Decide. ``waited_s``: how long this report has waited; ``wait_s_max``: how long one waits for its send's answer.

    A report that waited in vain says so for the later ones of its message.
    """
    if found.is_first and waited_s < wait_s_max:
        return Wait()
    if found.doubts and found.unknown >= len(found.doubts):
        return OneOf(found.doubts)
    if found.doubts and found.unknown + found.fresh >= len(found.doubts) and waited_s < _WAITS_MAX * wait_s_max:
        return Wait()
    return Alone(found.sent if found.is_first and not found.doubts else None)
