"""`capacity`, `latency` and `memory`: their arithmetic, their options and tables, and short runs."""

import asyncio
import io
import json
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import aio_pika
import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from rich.console import Console

from deploy.local import RabbitMQ
from loadtest.bench.__main__ import main
from loadtest.bench.capacity import PLACE, CallCapacity, CallKind, Capacity, Load, load_between, measure_capacity
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import make_jobs, noise_png
from loadtest.bench.latency import (
    GAP_S_MAX,
    GAP_S_MIN,
    LatencyFigures,
    LatencyResult,
    Times,
    gaps_s,
    latency_figures,
)
from loadtest.bench.memory import LOOK_EVERY_S, SETTLED_AFTER_S, Seen, memory_figures
from loadtest.bench.now_and_then import Moments
from loadtest.bench.options import read_options
from loadtest.bench.probe_options import CapacityOptions, LatencyOptions, MemoryOptions
from loadtest.bench.probe_report import capacity_result, draw_capacity, draw_latency, draw_memory
from loadtest.bench.send_requests import send_requests
from loadtest.bench.speed import NO_LIMIT_PER_S
from loadtest.bench.start import StartFigures, first_lines_s
from loadtest.simulator.form import SendForm, read_send_form
from loadtest.simulator.records import Accepted, CallRecord

LOAD = Load(seconds=2.0, done=8_000, cpu_s=1.6, other_cpu_s=0.5)


def test_a_load_is_told_each_and_for_a_whole_core() -> None:
    assert (LOAD.per_s, LOAD.cpu_us, LOAD.per_s_of_core) == (4_000, 200, 5_000)
    assert (LOAD.cores, LOAD.other_cores) == (0.8, 0.25)
    between = load_between((1.0, 100, 0.5, 2.0), (3.0, 8_100, 2.1, 2.5))
    assert (between.seconds, between.done, between.other_cpu_s) == (2.0, 8_000, 0.5)
    assert between.cpu_s == pytest.approx(1.6)


@pytest.mark.parametrize("last", [(3.0, 100, 2.1, 2.5), (3.0, 8_100, 0.5, 2.5)])
def test_nothing_done_is_no_load(last: tuple[float, int, float, float]) -> None:
    with pytest.raises(NotMeasuredError, match="Nothing was done"):
        load_between((1.0, 100, 0.5, 2.0), last)


@pytest.mark.parametrize("numbers", [1, 2, 1_000])
def test_the_requests_are_whole_and_all_different(numbers: int) -> None:
    picture = noise_png(8, seed=1)
    made = send_requests("https://127.0.0.1:9/api/v3", key="key", picture=picture, numbers=numbers)
    texts = set()
    for request in islice(made, 3):
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == "POST /api/v3/send-mms HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines)
        assert int(headers["Content-Length"]) == len(body)
        form = read_send_form(headers["Content-Type"], body, lambda content: content)
        assert isinstance(form, SendForm)
        assert form.picture_sha256 == picture
        assert len(set(form.numbers)) == numbers
        texts.add(form.text)
    assert len(texts) == 3


@pytest.mark.parametrize("numbers", [0, 1_001])
def test_no_request_carries_more_numbers_than_the_api_takes(numbers: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        next(send_requests("https://127.0.0.1:9/api/v3", key="key", picture=b"", numbers=numbers))


def call(index: int, at_us: int) -> CallRecord:
    return CallRecord(index, "key", "send-mms", at_us, "SUCCESS", 200, 1)


def message(text: str, call_index: int) -> Accepted:
    return Accepted(0, "key", "+61400000000", text, "", "", "id", 99_999_999, call_index)


CALLS = [call(0, 1_000), call(1, 1_004_000), call(2, 2_010_000)]
JOBS = list(make_jobs(3, media={"url": "https://127.0.0.1:1/picture.png"}, recipients=1))
WARM, FIRST, SECOND = ("bench-0000001", "bench-0000002", "bench-0000003")
MOMENTS = Moments(
    published_us={FIRST: 1_000_000, SECOND: 2_000_000},
    bare_us={FIRST: 500_000, SECOND: 1_500_000},
    delivered_us={FIRST: 503_000, SECOND: 1_502_000},
)


def text(name: str) -> str:
    return f"Your parcel {int(name.removeprefix('bench-'))} is on its way."


MESSAGES = [message(text(WARM), 0), message(text(SECOND), 2), message(text(FIRST), 1)]


def test_a_latency_is_from_the_job_s_publishing_to_its_own_call() -> None:
    figures = latency_figures(15, JOBS, MOMENTS, MESSAGES, CALLS)
    assert figures.jobs == 2
    assert figures.call == Times(4.0, 10.0, 10.0, 10.0, (4.0, 10.0))
    assert figures.delivery == Times(2.0, 3.0, 3.0, 3.0, (3.0, 2.0))


@pytest.mark.parametrize("accepted", [MESSAGES[:2], [*MESSAGES, message(text(FIRST), 0)], []])
def test_jobs_that_came_not_at_all_or_twice_are_no_measurement(accepted: list[Accepted]) -> None:
    with pytest.raises(NotMeasuredError, match="2 jobs"):
        latency_figures(15, JOBS, MOMENTS, accepted, CALLS)


def test_the_gaps_are_those_of_the_seed() -> None:
    gaps = gaps_s(200, seed=1)
    assert gaps == gaps_s(200, seed=1) != gaps_s(200, seed=2)
    assert min(gaps) >= GAP_S_MIN
    assert max(gaps) <= GAP_S_MAX
    assert max(gaps) - min(gaps) > (GAP_S_MAX - GAP_S_MIN) / 2


LOG = """\
Traceback (most recent call last):
{"role": "publish", "event": "broker_connected", "timestamp": "2026-11-26T00:00:01.500000Z"}
{"role": "consume", "event": "broker_connected", "timestamp": "2026-11-26T00:00:01.750000Z"}
{"role": "publish", "event": "broker_connected", "timestamp": "2026-11-26T00:00:09.000000Z"}
{"event": "no moment"}
["a list"]
{"event": "started", "role": null, "timestamp": "2026-11-26T00:00:02.000000Z"}
"""


def test_the_log_tells_when_each_thing_was_first() -> None:
    began_us = 1_795_651_200_000_000  # the midnight before
    assert first_lines_s(LOG, began_us) == {
        "broker_connected publish": 1.5,
        "broker_connected consume": 1.75,
        "started": 2.0,
    }


def seen(*sizes: int) -> Seen:
    filling = [50] * int(SETTLED_AFTER_S / LOOK_EVERY_S)
    return Seen((*filling, *sizes), peak_bytes=130, seconds=30, sent=400, worker_version="1")


def test_memory_is_judged_by_what_is_held_once_the_hands_are_full() -> None:
    figures = memory_figures(seen(100, 95, 110), has_picture=False, waiting=1_000, rate_per_s=15)
    assert (figures.first_bytes, figures.settled_bytes, figures.least_bytes, figures.most_bytes) == (50, 100, 95, 110)
    assert figures.spread == pytest.approx(0.15)
    with pytest.raises(NotMeasuredError, match="too short"):
        memory_figures(seen(), has_picture=False, waiting=1_000, rate_per_s=15)


def test_the_options_as_they_are_when_nothing_is_said() -> None:
    assert read_options(["capacity"]) == CapacityOptions(seconds=3, connections=64, seed=1, json_file=None)
    assert read_options(["latency"]) == LatencyOptions(jobs=100, starts=10, seed=1, json_file=None)
    assert read_options(["memory"]) == MemoryOptions(
        waiting=(10_000, 100_000, 1_000_000), seconds=30, pictures=20_000, seed=1, json_file=None
    )
    assert read_options(["memory", "--waiting", "0"]) == MemoryOptions(
        waiting=(), seconds=30, pictures=20_000, seed=1, json_file=None
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["capacity", "--seconds", "0"],
        ["capacity", "--connections", "401"],
        ["latency", "--jobs", "-1"],
        ["memory", "--waiting", "10,many"],
        ["memory", "--seconds", "4"],
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        read_options(arguments)
    assert left.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def drawn(console: Console) -> str:
    """With one blank where there are more."""
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_the_tables_say_what_was_measured(console: Console) -> None:
    capacity = Capacity((CallCapacity(CallKind(1_000, 81), 19_837, LOAD),), replace(LOAD, done=16_000))
    draw_capacity(console, CapacityOptions(seconds=2, connections=64, seed=1, json_file=None), capacity)
    assert "simulator: 1,000 numbers, 20 KB 4,000 5,000 200 0.80" in drawn(console)
    assert capacity_result(capacity)["jobs"]["per_s_of_core"] == 10_000
    json.dumps(capacity_result(capacity))
    draw_latency(
        console,
        LatencyResult(
            (LatencyFigures(NO_LIMIT_PER_S, 100, Times(2.04, 3.0, 9.96, 20.0, ()), Times(1, 2, 3, 4, ())),),
            StartFigures(10, 0.7, 0.9, (), {"started": 0.65}),
        ),
    )
    assert "none call 100 2.0 3.0 10.0 20.0 none bare delivery 100 1.0 2.0 3.0 4.0" in drawn(console)
    assert "log: started 0.650" in drawn(console)
    assert "first call arrives 0.700" in drawn(console)
    assert "… the slowest 0.900" in drawn(console)
    draw_memory(console, [memory_figures(seen(90_000_000), has_picture=True, waiting=20_000, rate_per_s=15)])
    assert "20 KB in each 20,000 15/s 400 0.0 90.0 90.0 90.0 0.0%" in drawn(console)


def test_what_nothing_is_left_of_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "--waiting", "0", "--pictures", "0"]) == 1
    assert "leave no case" in capsys.readouterr().err


def test_the_capacity_of_a_moment_leaves_the_broker_as_it_was(rabbitmq: RabbitMQ, console: Console) -> None:
    capacity = measure_capacity(rabbitmq, console, kinds=(CallKind(3, 8),), connections=4, seconds=0.3)
    (calls,) = capacity.calls
    assert calls.load.done > 0
    assert capacity.jobs.done > 0
    assert asyncio.run(what_is_there(rabbitmq.url)) == []


async def what_is_there(url: str) -> list[str]:
    """Of what the measurement of the producer needs."""
    there = []
    async with await aio_pika.connect(url) as connection:
        for what in ("queue", "exchange"):
            channel = await connection.channel()
            with suppress(ChannelNotFoundEntity):
                await (channel.get_queue if what == "queue" else channel.get_exchange)(PLACE)
                there.append(what)
    return there


@pytest.mark.timeout(180)  # a broker and three workers start one after the other
def test_a_short_run_of_latency(tmp_path: Path) -> None:
    told = tmp_path / "latency.json"
    assert main(["latency", "--jobs", "2", "--starts", "1", "--json", str(told)]) == 0
    result = json.loads(told.read_text())
    assert result["measurement"] == "latency"
    assert [(one["rate_per_s"], one["jobs"]) for one in result["figures"]["idle"]] == [(NO_LIMIT_PER_S, 2), (15, 2)]
    for one in result["figures"]["idle"]:
        assert len(one["call"]["each_ms"]) == len(one["delivery"]["each_ms"]) == 2
        assert min(one["call"]["each_ms"]) > 0
    starts = result["figures"]["starts"]
    assert 0 < starts["said_s"]["started"] < starts["median_s"] == starts["worst_s"]
