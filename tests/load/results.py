"""A small result, made up: three seconds of one account with two processes and a fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadtest.load.result import (
    ALL,
    FORMAT,
    AccountFigures,
    AccountSeries,
    Capacity,
    Claim,
    Conditions,
    Correctness,
    FaultFigures,
    Latency,
    Machine,
    Phase,
    Preload,
    ProcessSeries,
    Producer,
    Result,
    Series,
    Versions,
)

ACCOUNT = AccountSeries((14.0, 15.0, 15.0), (14, 15, 15), (15, 15, 15), (0.0, 0.0, 0.0))
WORKER = ProcessSeries((None, 0.2, 0.3), (60.0, 61.0, 62.0))
SIMULATOR = ProcessSeries((0.1, 0.1, 0.1), (50.0, 50.0, 50.0))
FIGURES = AccountFigures("default", 15, 44, 0, 2.0, 0.99, 1.0, 15, 44, 14.7, 14.7)
CALL = Latency(
    "publish to call", "from here to there", 44, 20.0, 18.0, 30.0, 40.0, 45.0, 50.0, ((0.0, 1.0), (100.0, 50.0))
)
BOOKS = Correctness(44, 43, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, ())
FAULT = FaultFigures("Redis restarted", "Redis: restarted, 0.1 s", 1.0, 1.1, 0.4, "to there", 1)
SERIES = Series(
    step_s=1.0,
    t_s=(1.0, 2.0, 3.0),
    accounts={ALL: ACCOUNT, "default": ACCOUNT},
    published_per_s=(16.0, 16.0, 12.0),
    ended_per_s=(14.0, 15.0, 15.0),
    backlog=(2, 3, 0),
    ideal_backlog=(1.0, 2.0, 0.0),
    processes={"worker 1": WORKER, "simulator": SIMULATOR},
)
RESULT = Result(
    format=FORMAT,
    scenario="small",
    title="Small",
    purpose="To be tested with.",
    command="python -m loadtest run small",
    seed=1,
    started_at="2026-11-26T12:00:00.000Z",
    seconds=3.0,
    workers=1,
    settings={"MMS_READ_TIMEOUT_S": "6"},
    machine=Machine(2, (0.1, 0.2, 0.3), "3.11.7", "Linux"),
    versions=Versions("0.1.0", "3.10.8", "7.0.15"),
    phases=(Phase("1.1 x limit", 0.0, 3.0),),
    preload=Preload(10, 0.1, 100.0),
    producer=Producer(44, 1.5, 3.0, 0),
    accounts=(FIGURES,),
    series=SERIES,
    latencies=(CALL,),
    faults=(FAULT,),
    correctness=BOOKS,
    capacity=Capacity(9_000.0, 12_000.0),
    claims=(Claim("no job is lost", "0 of 44", holds=True),),
    conditions=Conditions(1, "own", "url", 0.0, "rolling", 20.0, 0.0),
)


def small_result(**other: Any) -> Result:
    """With these fields instead."""
    return replace(RESULT, **other)
