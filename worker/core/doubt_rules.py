"""What becomes of a held job in doubt without a person: by its record in the journal, and by its account's rule (pure).

Three kinds of held jobs need no person:

* **Resolved, or sent again and ended since**: the journal surely says so. What is held is a leftover.
* **Released, and left there**: whoever had it sent again died on the way. Somebody has decided; this is gone on with.
* **In doubt for longer than its account's rule waits.** To send it again, the journal must remember the doubt: what it
  has forgotten may be the leftover of a job that was sent, and is a person's to decide about.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from worker.core.events import ResolvedBy
from worker.core.held_jobs import HeldJob
from worker.core.journal import GIVEN_UP, IN_DOUBT, MICRO, RELEASED, SENT, Record, Remembered, State
from worker.core.resolution import Grounds

#: Whoever released a job publishes its copy within seconds.
RELEASING_S_MAX = 120.0
#: How a job that was in doubt can end once it was released.
_ENDS_AFTER_RELEASE = frozenset({"sent", "refused", "expired"})


class DoubtRule(enum.StrEnum):
    """What an account does with its jobs in doubt by itself."""

    HOLD = "hold"
    RESEND = "resend"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Deadline:
    """An account's rule, and for how long a job is in doubt before it is carried out."""

    rule: DoubtRule = DoubtRule.HOLD
    after_s: float = 86_400.0

    def is_over(self, since_s: float | None, now_s: float) -> bool:
        """Whether the rule is to be carried out on what is in doubt ``since_s`` (both since 1970)."""
        return self.rule is not DoubtRule.HOLD and since_s is not None and now_s - since_s > self.after_s


@dataclass(frozen=True, slots=True)
class Wish:
    """What to ask of the journal, as in ``Resolution``, and on what grounds."""

    end: str
    grounds: Grounds


def wish_for(held: HeldJob, remembered: Remembered, deadline: Deadline, at: datetime) -> Wish | None:
    """What is to become of ``held`` now; None: it stays. ``remembered``: by the journal under its id."""
    match remembered.record:
        case Record(State.RESOLVED, end=end):
            return Wish(SENT if end == SENT else GIVEN_UP, Grounds(ResolvedBy.RULE, f"the journal has it as {end}"))
        case Record(State.TOLD, end=end) if end in _ENDS_AFTER_RELEASE:
            return Wish(SENT if end == SENT else GIVEN_UP, Grounds(ResolvedBy.RULE, f"it has ended as {end}"))
        case Record(State.OPEN, at_us=at_us) if at.timestamp() - at_us / MICRO > RELEASING_S_MAX:
            return Wish(RELEASED, Grounds(ResolvedBy.RULE, "it was released to be sent again, and still held"))
        case Record(State.OPEN | State.CLAIMED | State.RESOLVED):
            return None
        case Record(State.ENDED | State.TOLD, end=end) if end != IN_DOUBT:
            return None
        case _:
            return _by_rule(held, remembered, deadline, at)


def _by_rule(held: HeldJob, remembered: Remembered, deadline: Deadline, at: datetime) -> Wish | None:
    if held.since is None:
        return None
    # A copy may be left over from a doubt that was resolved: it is in doubt again since then, and not since the first.
    since_s = max(held.since.timestamp(), (remembered.doubt_since_us or 0) / MICRO)
    if not deadline.is_over(since_s, at.timestamp()):
        return None
    record = remembered.record
    is_known = record is not None and record.state is not State.UNREADABLE
    if deadline.rule is DoubtRule.RESEND and not is_known:
        return None
    words = (
        f"the account's rule {deadline.rule}, after {deadline.after_s:g} s:"
        f" it was in doubt for {at.timestamp() - since_s:.0f} s, and nothing said whether it was sent"
    )
    end = RELEASED if deadline.rule is DoubtRule.RESEND else GIVEN_UP
    return Wish(end, Grounds(ResolvedBy.RULE, words))
