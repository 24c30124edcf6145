"""From a body to an answer: taken is said only of what is kept safe."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
import pytest

from tests.virtual_time import run_virtual
from worker.core.replies import Reply
from worker.core.reports import Report
from worker.flow.callbacks import NOT_IN_TIME, NOTE_S, CallbackKind, Callbacks, Malformed
from worker.flow.observations import Observation, ReplyWay, Surprise
from worker.flow.ports import NotTaken

AWAY = NotTaken("the broker is away")
REPORT = {"message_id": "m-1", "status": "Delivered", "recipient": "61400000001"}
REPLY = {"from": "+61400000001", "body": "yes", "message_id": "r-1", "original_message_id": "m-1"}


@dataclass
class Intake:
    """Stands in for both intakes: what it was given, and what it says."""

    answer: NotTaken | None = None
    error: Exception | None = None
    takes_s: float = 0.0
    given: list[tuple[str, list[str], ReplyWay | None]] = field(default_factory=list)

    async def take(
        self,
        account: str,
        entries: Sequence[Report] | Sequence[Reply],
        way: ReplyWay | None = None,
        *,
        limit_s: float,
    ) -> NotTaken | None:
        assert limit_s == 10 - NOTE_S
        self.given.append((account, [entry.message_id for entry in entries], way))
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return self.answer


@dataclass
class Stage:
    reports: Intake = field(default_factory=Intake)
    replies: Intake = field(default_factory=Intake)
    seen: list[Observation] = field(default_factory=list)

    def take(self, body: object, kind: CallbackKind = CallbackKind.REPORTS) -> NotTaken | Malformed | None:
        callbacks = Callbacks(reports=self.reports, replies=self.replies, region="AU", observe=self.seen.append)
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return run_virtual(callbacks.take(kind, "acme", content, limit_s=10))


def test_reports_and_replies_go_where_they_belong() -> None:
    stage = Stage()
    assert stage.take([REPORT, REPORT | {"message_id": "m-2"}]) is None
    assert stage.take(REPLY, CallbackKind.REPLIES) is None
    assert stage.reports.given == [("acme", ["m-1", "m-2"], None)]
    assert stage.replies.given == [("acme", ["r-1"], ReplyWay.CALLBACK)]


@pytest.mark.parametrize("kind", CallbackKind)
def test_nothing_is_taken_at_once(kind: CallbackKind) -> None:
    stage = Stage()
    assert stage.take([], kind) is None
    assert stage.reports.given == stage.replies.given == []


@pytest.mark.parametrize("kind", CallbackKind)
def test_what_cannot_be_read_is_told_and_nobody_asked(kind: CallbackKind) -> None:
    stage = Stage()
    found = stage.take(b"{", kind)
    assert isinstance(found, Malformed)
    assert len(found.mistakes) == 1
    assert stage.reports.given == stage.replies.given == []


@pytest.mark.parametrize(("kind", "entry"), [(CallbackKind.REPORTS, REPORT), (CallbackKind.REPLIES, REPLY)])
def test_what_can_be_read_is_taken_before_the_mistakes_in_the_rest_are_told(
    kind: CallbackKind, entry: dict[str, str]
) -> None:
    stage = Stage()
    found = stage.take([{}, entry], kind)
    assert isinstance(found, Malformed)
    assert [mistake.split(":")[0] for mistake in found.mistakes] == ["entry 1"]
    assert [ids for _, ids, _ in stage.reports.given + stage.replies.given] == [[entry["message_id"]]]


@pytest.mark.parametrize(("kind", "entry"), [(CallbackKind.REPORTS, REPORT), (CallbackKind.REPLIES, REPLY)])
def test_what_is_not_kept_safe_is_not_taken_even_beside_mistakes(kind: CallbackKind, entry: dict[str, str]) -> None:
    stage = Stage(Intake(AWAY), Intake(AWAY))
    assert stage.take([entry], kind) == AWAY
    assert stage.take([{}, entry], kind) == AWAY


def test_what_takes_too_long_is_not_taken() -> None:
    assert Stage(Intake(takes_s=9.9)).take([REPORT]) is None
    assert Stage(Intake(takes_s=10.1)).take([REPORT]) == NOT_IN_TIME


def test_a_bug_is_told_and_what_tripped_it_is_to_come_again() -> None:
    error = KeyError("a bug, with the phone number +61400000001")
    stage = Stage(Intake(error=error))
    assert stage.take([REPORT]) == NotTaken("internal error: KeyError")
    assert stage.seen == [Surprise("callback", error)]
