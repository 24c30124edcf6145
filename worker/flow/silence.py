"""How long the API has been silent: calls that wait for an answer while none comes at all (pure)."""

from __future__ import annotations

from collections import OrderedDict

#: Silence is worth noticing after so many times what an answer usually takes, within these bounds.
USUAL_TIMES = 8.0
NOTICED_S_MIN, NOTICED_S_MAX = 1.0, 10.0
#: While nothing is known of how long answers take.
NOTICED_S_UNKNOWN = 2.0


class Silence:
    """Of one account's calls; moments are on the monotonic clock."""

    def __init__(self) -> None:
        self._left_s: OrderedDict[object, float] = OrderedDict()
        self._heard_s = 0.0

    def __len__(self) -> int:
        return len(self._left_s)

    def left(self, call: object, at_s: float) -> None:
        """A call leaves."""
        self._left_s[call] = at_s

    def ended(self, call: object, at_s: float) -> None:
        """It was answered, or failed in a way that can be seen."""
        self._left_s.pop(call, None)
        self._heard_s = at_s

    def lasts_s(self, now_s: float) -> float:
        """Since when nothing was heard while calls wait: since the last answer, or since the oldest of them left."""
        oldest_s = next(iter(self._left_s.values()), now_s)
        return now_s - max(oldest_s, self._heard_s)


def noticed_after_s(usual_s: float) -> float:
    """How long a silence must last; ``usual_s``: what an answer usually takes at most (0: not known)."""
    if usual_s <= 0:
        return NOTICED_S_UNKNOWN
    return min(max(USUAL_TIMES * usual_s, NOTICED_S_MIN), NOTICED_S_MAX)
