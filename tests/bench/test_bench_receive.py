"""What a receiver takes: answers read off the line, figures, tables, options."""

import itertools
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from io import StringIO

import pytest
import trustme
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.local.ports import LOOPBACK
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.ledger_figures import LedgerFigures
from loadtest.bench.lines import Posted, answer_in, post, request, until
from loadtest.bench.options import read_options
from loadtest.bench.receive.callbacks import CallbackFigures, Edge, callback_figures
from loadtest.bench.receive.flood import FloodFigures
from loadtest.bench.receive.options import ReceiveOptions
from loadtest.bench.receive.receiver import ReceiverReading
from loadtest.bench.receive.report import callback_rows, draw_callbacks, draw_flood, flood_rows
from loadtest.bench.speed import Cost

OPTIONS = ReceiveOptions(
    parts=("callbacks", "flood"), seconds=20, connections=64, rate_per_s=15, seed=1, json_file=None
)
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\nServer: mms-worker\r\n\r\n{"taken":true}'
PACE = LedgerFigures(300, 0, 20.0, 15, 0.99, 60.0, 67.0, 75.0, 80.0)
READING = ReceiverReading(taken=100, told=100, repeated=0, put_aside=0, strange=0, cpu_s=1.0)


# --- Lines -----------------------------------------------------------------------------------------------


@given(cut=st.integers(0, len(ANSWER) - 1), more=st.binary(max_size=20))
def test_an_answer_is_read_when_it_is_whole_and_not_before(cut: int, more: bytes) -> None:
    assert answer_in(ANSWER[:cut]) is None
    assert answer_in(ANSWER + more) == (200, len(ANSWER))


def test_an_answer_without_a_length_is_no_answer_of_ours() -> None:
    with pytest.raises(ValueError, match="length"):
        answer_in(b"HTTP/1.1 200 OK\r\n\r\n")


@pytest.fixture
async def posted_to() -> AsyncIterator[tuple[int, ssl.SSLContext, list[bytes]]]:
    """A server over TLS that answers 200 to every other post, its port, and the bodies that came."""
    bodies: list[bytes] = []

    async def answer(asked: web.BaseRequest) -> web.Response:
        bodies.append(await asked.read())
        return web.Response(status=200 if len(bodies) % 2 else 503, body=b"x" * 100)

    authority, shown = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOOPBACK).configure_cert(shown)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0, ssl_context=shown)
    await site.start()
    yield site.port, trusting, bodies
    await runner.cleanup()


Address = tuple[int, ssl.SSLContext, list[bytes]]


async def test_each_request_goes_out_when_the_one_before_is_answered(posted_to: Address) -> None:
    port, tls, bodies = posted_to
    wanted = [b"%d" % number for number in range(6)]
    posted = Posted()
    await post(port, tls, iter([request("/", body) for body in wanted]), posted)
    assert bodies == wanted
    assert posted.statuses == {200: 3, 503: 3}
    assert (len(posted.latencies_s), posted.lines, posted.broken) == (6, 1, 0)


@pytest.mark.parametrize(("answers_max", "expected"), [(0, 0), (1, 1), (2, 2)])
async def test_a_line_ends_after_so_many_answers(posted_to: Address, answers_max: int, expected: int) -> None:
    port, tls, bodies = posted_to
    posted = Posted()
    await post(port, tls, itertools.repeat(request("/", b"")), posted, answers_max=answers_max)
    assert (len(bodies), posted.statuses.total(), posted.lines, posted.broken) == (expected, expected, 1, 0)


async def test_what_goes_wrong_is_counted(posted_to: Address) -> None:
    port, _, _ = posted_to
    posted = Posted()
    await post(port, ssl.create_default_context(), iter([request("/", b"")]), posted)
    assert (posted.statuses.total(), posted.broken) == (0, 1)


def test_requests_end_at_their_moment() -> None:
    endless: Iterator[bytes] = itertools.repeat(b"")
    assert list(until(endless, time.monotonic())) == []
    assert next(until(endless, time.monotonic() + 60)) == b""


# --- Figures ---------------------------------------------------------------------------------------------


def edge(at_s: float, *, taken: int, receiver_s: float, redis_s: float) -> Edge:
    return Edge(at_s, replace(READING, taken=taken, cpu_s=receiver_s), {"redis": redis_s})


def test_figures_are_of_the_time_between_the_edges() -> None:
    first, last = edge(10, taken=100, receiver_s=1, redis_s=0), edge(20, taken=20_100, receiver_s=6, redis_s=0.5)
    figures = callback_figures(first, last, Posted(latencies_s=[0.01] * 99 + [0.5]))
    assert (figures.callbacks, figures.per_s) == (20_000, 2_000)
    assert (figures.p50_ms, figures.p99_ms, figures.most_ms) == (10, 10, 500)
    assert figures.costs == {"receiver": Cost(250, 0.5), "redis": Cost(25, 0.05)}


def test_nothing_taken_is_not_measured() -> None:
    still = edge(10, taken=100, receiver_s=1, redis_s=0)
    with pytest.raises(NotMeasuredError):
        callback_figures(still, replace(still, at_s=20), Posted())


def test_what_the_receiver_tells_is_read() -> None:
    text = """\
mms_callback_requests_total{result="taken"} 7.0
mms_callback_requests_total{result="unknown_address"} 3.0
mms_reports_total{account="a",status="delivered"} 4.0
mms_reports_total{account="a",status="dispatched"} 2.0
mms_reports_repeated_total{account="a"} 1.0
mms_reports_put_aside_total{account="a"} 5.0
"""
    assert ReceiverReading.of(text, cpu_s=2.5) == ReceiverReading(7, 6, 1, 5, 3, 2.5)


FLOODED = FloodFigures(15, PACE, replace(PACE, share_of_limit=0.9702, throttled_calls=2), 600.0, 300.0, 0.25)


def test_the_flood_moves_the_pace_by_a_share_of_it_whichever_way() -> None:
    assert FLOODED.moved_by == pytest.approx(0.02)
    assert replace(FLOODED, quiet=FLOODED.flooded, flooded=PACE).moved_by == pytest.approx(0.0204, abs=1e-4)


# --- Tables and options ----------------------------------------------------------------------------------


def test_tables_tell_all_of_it_within_80_columns() -> None:
    costs = {name: Cost(1_234.5, 0.987) for name in ("receiver", "rabbitmq", "redis", "vendor")}
    figures = CallbackFigures(20.0, 41_000, 2_050.4, 27.2, 1_086.3, 1_163.3, costs)
    console = Console(file=StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        draw_callbacks(console, OPTIONS, figures)
        draw_flood(console, FLOODED)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    titles, frames = 2, 4
    assert len(lines) == titles + frames + len(callback_rows(figures)) + len(flood_rows(FLOODED))
    for told in ("2,050", "27.2 1086.3 1163.3", "1,234 µs", "99.00%", "97.02%", "2.00%", "600", "300"):
        assert told in capture.get()


def test_options_are_read() -> None:
    assert read_options(["receive"]) == OPTIONS
    told = "receive --parts flood --seconds 30 --connections 10 --rate 150 --seed 7"
    assert read_options(told.split()) == ReceiveOptions(("flood",), 30, 10, 150, 7, None)


@pytest.mark.parametrize("told", ["receive --parts all", "receive --seconds 4", "receive --connections 0"])
def test_a_wrong_option_is_told(told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(told.split())
    assert capsys.readouterr().err.count("\n") == 1
