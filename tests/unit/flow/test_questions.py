"""Questions beside the sending: in slots like calls, few of them, and of no consequence for those that send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryApi, MemoryLimiter, SeenCall
from worker.core.envelope import Envelope
from worker.core.outcome import Answer, NoAnswer, NotSent, Response, Throttled
from worker.flow.observations import CallFinished, CallResult, Observation, Operation, Surprise
from worker.flow.ports import Slots
from worker.flow.questions import SLOT_S_MAX, TRIES_MAX, Questions

WELL = Answer(200, orjson.dumps({"meta": {"code": 200, "status": "SUCCESS"}, "data": {"mms_balance": "7"}}))
OVER_LIMIT = Answer(429, b"")


async def nobody_sends(call: SeenCall) -> Response:
    raise AssertionError(call)


@dataclass
class Scene:
    """One process that asks, and what it shares with the workers."""

    limit_per_s: float = 10.0
    seen: list[Observation] = field(default_factory=list)
    asked_at_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.limiter = MemoryLimiter(limit_per_s={"acme": self.limit_per_s}, span_us=12_000, monotonic=self.loop.time)
        self.api = MemoryApi(nobody_sends, monotonic=self.loop.time)
        self.questions = Questions(
            account="acme", api=self.api, limiter=self.limiter, monotonic=self.loop.time, observe=self.seen.append
        )

    async def ask(self, *answers: Response | Exception, is_probe: bool = False) -> Any:
        """Ask once; the answers come one after the other."""
        coming = iter(answers)

        async def answer(_: object) -> Response:
            self.asked_at_s.append(self.loop.time())
            await asyncio.sleep(0.02)
            given = next(coming)
            if isinstance(given, Exception):
                raise given
            return given

        return await self.questions.ask(Operation.REPLIES, answer, is_probe=is_probe)

    @property
    def results(self) -> list[CallResult]:
        return [seen.result for seen in self.seen if isinstance(seen, CallFinished)]


def played(play: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    async def work() -> None:
        await play(Scene(**options))

    run_virtual(work())


def test_an_answer_comes_back_and_is_seen_as_a_call_of_its_operation() -> None:
    async def play(scene: Scene) -> None:
        answer = await scene.ask(WELL)
        assert isinstance(answer, Envelope)
        assert answer.data == {"mms_balance": "7"}
        (call,) = [seen for seen in scene.seen if isinstance(seen, CallFinished)]
        assert (call.account, call.operation, call.result) == ("acme", Operation.REPLIES, CallResult.SENT)
        assert call.duration_s == pytest.approx(0.02, abs=0.01)

    played(play)


@pytest.mark.parametrize("limit_per_s", [0.5, 10.0, 150.0])
def test_one_in_twenty_slots_is_asked_for_however_much_there_is_to_ask(limit_per_s: float) -> None:
    async def play(scene: Scene) -> None:
        await asyncio.gather(*(scene.ask(WELL) for _ in range(6)))
        gaps_s = [late - early for early, late in zip(scene.asked_at_s, scene.asked_at_s[1:], strict=False)]
        assert len(gaps_s) == 5
        assert min(gaps_s) >= 20 / limit_per_s
        assert max(gaps_s) <= 1.2 * 20 / limit_per_s + 0.1

    played(play, limit_per_s=limit_per_s)


def test_a_question_waits_behind_the_slots_that_were_given_to_calls() -> None:
    async def play(scene: Scene) -> None:
        await scene.ask(WELL)
        await asyncio.sleep(10)
        for _ in range(3):
            given = await scene.limiter.reserve("acme", 1)
            assert isinstance(given, Slots)
            last_s = given.at_s(given.count - 1)
        await scene.ask(WELL)
        assert scene.asked_at_s[-1] >= last_s + 0.1

    played(play)


def test_a_suspended_account_is_not_asked_but_for_a_probe() -> None:
    async def play(scene: Scene) -> None:
        await scene.limiter.suspend("acme", "credit")
        answer = await scene.ask()
        assert answer == NotSent("the account is suspended (credit)")
        assert scene.asked_at_s == []
        assert isinstance(await scene.ask(WELL, is_probe=True), Envelope)
        await scene.limiter.suspend("acme", "")
        assert isinstance(await scene.ask(WELL), Envelope)

    played(play)


def test_a_429_is_told_to_the_limiter_and_the_question_put_again() -> None:
    async def play(scene: Scene) -> None:
        answer = await scene.ask(Answer(429, b"", retry_after="7"), WELL)
        assert isinstance(answer, Envelope)
        first_s, second_s = scene.asked_at_s
        assert second_s >= first_s + 7
        assert scene.results == [CallResult.THROTTLED, CallResult.SENT]

    played(play)


def test_after_some_429s_who_asked_is_told() -> None:
    async def play(scene: Scene) -> None:
        assert isinstance(await scene.ask(*[OVER_LIMIT] * TRIES_MAX), Throttled)
        assert len(scene.asked_at_s) == TRIES_MAX

    played(play)


@pytest.mark.parametrize("bad", [NoAnswer("reset"), Answer(500, b""), Answer(401, b""), RuntimeError("a bug")])
def test_however_it_fails_the_account_goes_on_sending(bad: Response | Exception) -> None:
    async def play(scene: Scene) -> None:
        for _ in range(8):
            assert not isinstance(await scene.ask(bad), Envelope)
        given = await scene.limiter.reserve("acme", 1)
        assert isinstance(given, Slots)
        assert given.count == 1
        assert not given.state.suspended
        assert len(scene.results) == 8
        assert any(isinstance(seen, Surprise) for seen in scene.seen) is isinstance(bad, Exception)

    played(play)


def test_an_answer_does_not_make_good_for_calls_that_failed() -> None:
    """The breaker counts calls in a row; a question in between says nothing of them."""

    async def play(scene: Scene) -> None:
        trips = []
        for _ in range(3):
            slots = await scene.limiter.reserve("acme", 1)
            assert isinstance(slots, Slots)
            await asyncio.sleep(1)
            trips.append(await scene.limiter.failed("acme", slots, 0))
            assert isinstance(await scene.ask(WELL, is_probe=True), Envelope)
        assert trips == [False, False, True]

    played(play)


def test_without_a_slot_for_long_there_is_no_answer() -> None:
    async def play(scene: Scene) -> None:
        scene.limiter.away = "gone"
        started_s = scene.loop.time()
        answer = await scene.ask()
        assert isinstance(answer, NotSent)
        assert "no slot" in answer.why
        assert scene.loop.time() - started_s == pytest.approx(SLOT_S_MAX, abs=1)
        scene.limiter.away = None
        assert isinstance(await scene.ask(WELL), Envelope)

    played(play)


def test_a_closed_account_is_not_asked_in_a_slot_that_was_promised_before() -> None:
    async def play(scene: Scene) -> None:
        await scene.ask(WELL)
        await asyncio.sleep(10)
        for _ in range(5):
            await scene.limiter.reserve("acme", 1)  # ours comes in half a second
        asking = asyncio.create_task(scene.ask(WELL))
        await asyncio.sleep(0.1)
        refused = await scene.limiter.reserve("acme", 1)
        assert isinstance(refused, Slots)
        await scene.limiter.refused("acme", refused, 0, spread_s=0.0, retry_after_s=5.0)
        closed_at_s = scene.loop.time()
        await asking
        assert scene.asked_at_s[-1] >= closed_at_s + 5

    played(play)


def test_slots_that_a_busy_process_misses_are_few_as_well() -> None:
    async def play(scene: Scene) -> None:
        await scene.ask(WELL)
        reserve, reserved_at_s = scene.limiter.reserve, list[float]()

        async def reserve_late(*arguments: Any, **options: Any) -> Any:
            answer = await reserve(*arguments, **options)
            if isinstance(answer, Slots) and answer.count:
                reserved_at_s.append(scene.loop.time())
                scene.loop.stall(0.3)  # type: ignore[attr-defined]
            return answer

        scene.limiter.reserve = reserve_late  # type: ignore[method-assign]
        began_s = scene.loop.time()
        assert await scene.ask(WELL) == NotSent(f"there was no slot within {SLOT_S_MAX:g} s")
        assert 1 < len(reserved_at_s) <= 1 + (scene.loop.time() - began_s) / scene.questions.interval_s

    played(play)
