"""Looking on while the workers send: a look now and then, and giving up when there is nothing to be seen."""

import time
from collections.abc import Callable, Iterator, Sequence

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.readings import Reading, require_running
from loadtest.worker_process import WorkerProcess

POLL_S = 0.5
STALL_S_MAX = 30.0


class StallWatch:
    """Notices when a number does not grow for STALL_S_MAX."""

    def __init__(self, now_s: float) -> None:
        self._most = 0
        self._grew_at_s = now_s

    def note(self, number: int, now_s: float) -> None:
        """Take in how many jobs are done. Raises NotMeasuredError when that has been the same for too long."""
        if number > self._most:
            self._most, self._grew_at_s = number, now_s
        elif now_s - self._grew_at_s > STALL_S_MAX:
            raise NotMeasuredError(f"Nothing was sent for {STALL_S_MAX:.0f} s, after {self._most} jobs.")


def looks(workers: Sequence[WorkerProcess], look: Callable[[], int]) -> Iterator[int]:
    """How many jobs are done by `look`, every POLL_S, without end.

    Raises NotMeasuredError, with the end of a worker's log, when a worker ends or nothing is done for long.
    """
    stall = StallWatch(time.monotonic())
    while True:
        for worker in workers:
            require_running(worker)
        done = look()
        try:
            stall.note(done, time.monotonic())
        except NotMeasuredError as error:
            raise NotMeasuredError(f"{error} The end of {workers[0].name}'s log:\n{workers[0].log_tail()}") from error
        yield done
        time.sleep(POLL_S)


def require_all_sent(reading: Reading) -> Reading:
    """The reading itself. Raises NotMeasuredError when a job ended otherwise than sent: figures would say nothing."""
    if others := reading.finished - reading.sent:
        raise NotMeasuredError(f"{others} of {reading.finished} jobs ended otherwise than sent.")
    return reading
