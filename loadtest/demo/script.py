"""What happens to the workers while they send, and when (pure)."""

import enum

LOWER_AT = (0.2, 0.6)
REPLY_AT = 0.4
KILL_AT = 0.45
"""As shares of all jobs that have ended; between the two bursts, so that calls are under way."""
LOWERED_S = 1.5


class Step(enum.Enum):
    """One thing to do."""

    LOWER_LIMIT = enum.auto()
    RESTORE_LIMIT = enum.auto()
    HAVE_REPLIES = enum.auto()
    KILL_WORKER = enum.auto()


class Script:
    """Says what is due: twice the limit is lowered for a moment, and in between replies come in.

    Then, too, a worker is killed, if asked for.
    """

    def __init__(self, *, is_killing: bool) -> None:
        self._waiting = [(share, Step.LOWER_LIMIT) for share in LOWER_AT]
        self._waiting.append((REPLY_AT, Step.HAVE_REPLIES))
        if is_killing:
            self._waiting.append((KILL_AT, Step.KILL_WORKER))
        self._waiting.sort(key=lambda entry: entry[0])
        self._restore_at_s: float | None = None

    def due(self, ended_share: float, now_s: float) -> list[Step]:
        """Steps to do now, each told once."""
        steps = []
        if self._restore_at_s is not None and now_s >= self._restore_at_s:
            self._restore_at_s = None
            steps.append(Step.RESTORE_LIMIT)
        # One at a time, and nothing else while the limit is low: each effect is to be seen.
        if self._restore_at_s is None and self._waiting and ended_share >= self._waiting[0][0]:
            _, step = self._waiting.pop(0)
            if step is Step.LOWER_LIMIT:
                self._restore_at_s = now_s + LOWERED_S
            steps.append(step)
        return steps
