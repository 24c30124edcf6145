"""What the tools do alone is measured with calls like those of the scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from rich.console import Console

from loadtest.bench import capacity
from loadtest.bench.capacity import CallCapacity, CallKind, Load
from loadtest.bench.jobs import USUAL_PICTURE_SIDE_PX
from loadtest.bench.system import System
from loadtest.load import site
from loadtest.load.result import Capacity
from loadtest.load.scenario_files import read_scenarios


class Alone:
    """Of a system; nobody looks at its broker here."""

    broker = None


@pytest.mark.parametrize(("scenario", "recipients"), [("steady", 1), ("million", 1_000)])
def test_the_simulator_is_measured_with_the_scenarios_kind_of_call(
    monkeypatch: pytest.MonkeyPatch, scenario: str, recipients: int
) -> None:
    asked: list[CallKind] = []

    def measure(_broker: object, _console: Console, *, kinds: Sequence[CallKind], seed: int) -> capacity.Capacity:
        asked.extend(kinds)
        assert seed == 1
        calls = tuple(CallCapacity(kind, 20_000, Load(2.0, 9_000 // kind.numbers, 1.0, 1.0)) for kind in kinds)
        return capacity.Capacity(calls, Load(2.0, 6_000, 0.5, 1.0))

    monkeypatch.setattr(site, "measure_capacity", measure)
    found = site._capacity(cast(System, Alone()), read_scenarios()[scenario], 1, Console())
    assert asked == [CallKind(recipients, USUAL_PICTURE_SIDE_PX)]
    assert found == Capacity(9_000 // recipients, 12_000, recipients)
