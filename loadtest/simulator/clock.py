"""One clock for counting and for the ledger."""

import time


class SteadyWallClock:
    """Wall clock at the start, monotonic from then on, in whole microseconds.

    A step of the machine's clock must not change what a rolling second holds, and differences between two
    moments of the ledger must be exact; both would be lost if the wall clock were asked each time.
    """

    __slots__ = ("_offset_ns",)

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_us(self) -> int:
        """Microseconds since 1970, never going back."""
        return (time.monotonic_ns() + self._offset_ns) // 1_000
