"""The run itself: publish, watch, disturb, stop the workers, close the books."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.demo.books import US_PER_S, Books, Death
from loadtest.demo.broker import DEAD_QUEUE, JOBS_QUEUES, UNROUTABLE_QUEUE, DemoBroker, open_broker
from loadtest.demo.callbacks import API_KEY, Address, plan_for, replies_to
from loadtest.demo.inbound import Inbound
from loadtest.demo.jobs import CUT, OPTED_OUT, DemoJob
from loadtest.demo.live import Moment, Screen, WorkerSeen
from loadtest.demo.script import Script, Step
from loadtest.demo.table import Result
from loadtest.simulator.control_client import SimulatorControl
from loadtest.simulator.faults import Fault
from loadtest.worker_process import WorkerProcess

TICK_S = 0.2
RUN_S_MAX = 120.0
"""For the usual number of jobs; with more of them in proportion."""
JOBS_USUAL = 600
INBOUND_S_MAX = 80.0
"""So long after the last end what comes back is awaited: the report of a job in doubt is believed after 48 s, when no
call can be under way any more whose answer would tell more."""
DOUBT_WORDS = "What is in doubt is resolved by its report, once no call under way can explain that: within a minute."
QUIET_S = 0.5
QUIET_AFTER_DEATH_S = 2.0
"""No call for so long after the last end: then nothing is under way any more. What a dead worker held comes back
to the others, and may even wait in a delay queue first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. `workers` and the `receiver` are running and ready; it listens at `address`."""

    jobs: Sequence[DemoJob]
    workers: Sequence[WorkerProcess]
    receiver: WorkerProcess
    address: Address
    limit_per_s: int
    is_killing: bool

    @property
    def run_s_max(self) -> float:
        """How long it may take until every job has an end."""
        return RUN_S_MAX * max(1.0, len(self.jobs) / JOBS_USUAL)


@dataclass(frozen=True, slots=True)
class Finished:
    """`why_not` says in a sentence why the run was given up, if it was."""

    result: Result
    why_not: str | None


async def run(plan: Plan, *, amqp_url: str, control: SimulatorControl, screen: Screen) -> Finished:
    """Run it all; raises LoadTestError when the broker fails, and SimulatorControlError when the simulator does."""
    for number in OPTED_OUT:
        control.opt_out(number)
    control.set_callbacks(API_KEY, plan_for(plan.address))
    control.add_fault(Fault("reset_after_accept", count=1, marker=CUT))
    books, inbound = Books(plan.jobs), Inbound()

    def take(event: dict[str, Any]) -> None:
        books.take(event)
        inbound.take(event)

    async with open_broker(amqp_url, take) as broker:
        watch = Watch(plan, books=books, inbound=inbound, broker=broker, control=control, screen=screen)
        with screen:
            why_not = await watch.until_finished()
        await stop((*plan.workers, plan.receiver), screen)
        await broker.read_all_events()
        accepted = control.accepted()
        reckoning = books.reckon(
            letters=await broker.take_out(DEAD_QUEUE),
            unroutable=await broker.take_out(UNROUTABLE_QUEUE),
            accepted=accepted,
            left_over=await broker.depth(*JOBS_QUEUES),
        )
        result = Result(
            reckoning=reckoning,
            inbound=inbound.reckon(
                posted=control.callbacks(),
                replies=control.replies(API_KEY),
                replies_sent=watch.replies_sent,
                job_of_message=books.job_of_message(accepted),
            ),
            summary=control.summary(),
            limit_per_s=plan.limit_per_s,
            bursts=watch.bursts,
            deaths=tuple(watch.deaths),
            is_kill_asked=plan.is_killing,
            published_at_us=broker.published_at_us,
        )
        return Finished(result, why_not)


async def stop(workers: Sequence[WorkerProcess], screen: Screen) -> None:
    """Have all of them end their calls and stop."""
    for worker in workers:
        worker.ask_to_stop()
    for worker in workers:
        if not await asyncio.to_thread(worker.wait_until_stopped):
            screen.say(f"{worker.name.capitalize()} did not stop when it was told to, and was killed.")


class Watch:
    """Publishes, and looks at everything once a tick until every job has an end, and all that comes back is told."""

    def __init__(
        self,
        plan: Plan,
        *,
        books: Books,
        inbound: Inbound,
        broker: DemoBroker,
        control: SimulatorControl,
        screen: Screen,
    ) -> None:
        self.replies_sent: dict[str, str] = {}
        """The message that each reply answers, by the reply's id."""
        self.deaths: list[Death] = []
        self.bursts = 0
        self._plan = plan
        self._books = books
        self._inbound = inbound
        self._broker = broker
        self._control = control
        self._screen = screen
        self._script = Script(is_killing=plan.is_killing)
        self._limit_per_s = plan.limit_per_s
        self._arrivals = Arrivals(control)
        self._seen_dead: set[str] = set()
        self._sent_s: float | None = None
        self._started_s = time.monotonic()

    async def until_finished(self) -> str | None:
        """Return when every job has an end and nothing is under way any more, or why not."""
        publishing = asyncio.create_task(self._broker.publish_all(self._plan.jobs))
        try:
            while True:
                if publishing.done():
                    publishing.result()
                moment = await self._look()
                self._screen.show(moment)
                if (answer := self._answer(moment, is_published=publishing.done())) is not None:
                    return answer or None
                for due in self._script.due(moment.ended / len(self._plan.jobs), moment.elapsed_s):
                    self._do(due)
                await asyncio.sleep(TICK_S)
        finally:
            publishing.cancel()
            await asyncio.wait((publishing,))

    def _answer(self, moment: Moment, *, is_published: bool) -> str | None:
        """Empty when all is done, a sentence when it is given up, None to go on."""
        quiet_s = QUIET_AFTER_DEATH_S if self.deaths else QUIET_S
        is_done = is_published and moment.backlog == 0 and moment.queued == 0
        if is_done and self._sent_s is None:
            self._sent_s = moment.elapsed_s
            if moment.in_doubt:
                self._screen.say(f"After {self._elapsed_s:.1f} s every job has an end. {DOUBT_WORDS}")
        if is_done and self._arrivals.none_for_s() >= quiet_s and self._is_all_told():
            return ""
        if all(worker.ended for worker in moment.workers):
            return "No worker is left."
        if self._sent_s is not None:
            if self._plan.receiver.ended is not None:
                return "The receiver ended: what the API told it then is not known."
            if moment.elapsed_s > self._sent_s + INBOUND_S_MAX:
                return f"Not all that came back was told within {INBOUND_S_MAX:.0f} s."
        elif moment.elapsed_s > self._plan.run_s_max:
            return f"Not done within {self._plan.run_s_max:.0f} s: {moment.backlog} jobs have no end yet."
        return None

    def _is_all_told(self) -> bool:
        """Whether every report and reply is told, and no job is in doubt of which a report told."""
        if self._books.in_doubt & self._inbound.jobs_reported or not self.replies_sent:
            return False
        if not self._inbound.is_complete(self._control.callback_summary(), len(self.replies_sent)):
            return False
        return all(reply.is_read for reply in self._control.replies(API_KEY))

    async def _look(self) -> Moment:
        workers = tuple(self._look_at(worker) for worker in self._plan.workers)
        summary = self._control.summary()
        unroutable = await self._broker.depth(UNROUTABLE_QUEUE)
        return Moment(
            elapsed_s=self._elapsed_s,
            published=len(self._broker.published_at_us),
            ended=self._books.ended + unroutable,
            sent=self._books.sent,
            pace_per_s=self._arrivals.in_last_second(),
            limit_per_s=self._limit_per_s,
            limit_usual_per_s=self._plan.limit_per_s,
            queued=await self._broker.depth(*JOBS_QUEUES),
            throttled=summary.throttled_calls,
            reports=self._inbound.reports,
            replies=self._inbound.replies,
            in_doubt=len(self._books.in_doubt),
            workers=workers,
        )

    def _look_at(self, worker: WorkerProcess) -> WorkerSeen:
        alive_at_us = worker.alive_at_us
        ended = worker.ended
        if ended is not None and worker.name not in self._seen_dead:
            self._seen_dead.add(worker.name)
            self.deaths.append(Death(alive_at_us, time.time_ns() // 1_000))
            others = [other.name for other in self._plan.workers if other.ended is None]
            then = f"{' and '.join(others)} will do its work" if others else "none is left to do its work"
            self._screen.say(f"{worker.name.capitalize()} {ended} after {self._elapsed_s:.1f} s: {then}.")
        return WorkerSeen(worker.name, worker.pid, ended)

    def _do(self, due: Step) -> None:
        match due:
            case Step.LOWER_LIMIT:
                self.bursts += 1
                self._set_limit(self._plan.limit_per_s // 2)
            case Step.RESTORE_LIMIT:
                self._set_limit(self._plan.limit_per_s)
            case Step.HAVE_REPLIES:
                self._have_replies()
            case Step.KILL_WORKER:
                worker = self._plan.workers[-1]
                if worker.ended is None:
                    worker.kill()

    def _have_replies(self) -> None:
        replies = replies_to(self._control.accepted())
        ids = self._control.add_replies(API_KEY, replies)
        sent = (reply["original_message_id"] for reply in replies)
        self.replies_sent = dict(zip(ids, sent, strict=True))
        self._screen.say(f"After {self._elapsed_s:.1f} s {len(ids)} replies come in.")

    def _set_limit(self, limit_per_s: int) -> None:
        self._control.set_rate(limit_per_s)
        self._limit_per_s = limit_per_s
        self._screen.say(f"After {self._elapsed_s:.1f} s the API allows {limit_per_s} calls a second.")

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s


class Arrivals:
    """When calls reached the API, of late, and sends in particular; its clock is this machine's."""

    def __init__(self, control: SimulatorControl) -> None:
        self._control = control
        self._read = 0
        self._recent_us: deque[int] = deque()
        self._last_us = time.time_ns() // 1_000

    def in_last_second(self) -> int:
        """Calls in the second that ends now, refused ones included."""
        calls = self._control.calls(self._read)
        self._read += len(calls)
        self._recent_us.extend(call.at_us for call in calls)
        sends_us = (call.at_us for call in calls if call.operation == "send-mms")
        self._last_us = max([self._last_us, *sends_us])
        second_ago_us = time.time_ns() // 1_000 - US_PER_S
        while self._recent_us and self._recent_us[0] < second_ago_us:
            self._recent_us.popleft()
        return len(self._recent_us)

    def none_for_s(self) -> float:
        """How long ago the last send was that `in_last_second` has seen."""
        return (time.time_ns() // 1_000 - self._last_us) / US_PER_S
