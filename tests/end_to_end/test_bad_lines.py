"""Lines that are cut, slow, or dead in one direction: nothing lost, nothing sent twice, in doubt only what was cut."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import orjson
import pytest

from loadtest.proxy import Bandwidth, Latency, LimitData, Proxy, ResetPeer, Slicer, Stream, Timeout, Toxic
from tests.end_to_end.conftest import TERM, System, Upstream
from tests.jobs import job_body
from worker.app import TELL_S_MAX
from worker.closing import CLOSE_S_MAX

Connect = Callable[[], Awaitable[Upstream]]
UP, DOWN = Stream.UPSTREAM, Stream.DOWNSTREAM

JOBS = 90
TROUBLE_S = 2.5


@dataclass(frozen=True)
class Line:
    """A line on its way through a proxy, and the setting that leads a worker there."""

    setting: str
    proxy: Proxy
    url: str


@pytest.fixture
def lines(system: System) -> Iterator[dict[str, Line]]:
    """To the broker, to Redis and to the API."""
    urls = {
        "broker": ("MMS_AMQP_URL", system.amqp_url),
        "redis": ("MMS_REDIS_URL", system.redis_url),
        "api": ("MMS_API_URL", system.simulator.api_url),
    }
    with ExitStack() as stack:
        opened = {}
        for name, (setting, url) in urls.items():
            parts = urlsplit(url)
            assert parts.port is not None
            proxy = stack.enter_context(Proxy(parts.port, seed=1))
            through = parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}"))
            opened[name] = Line(setting, proxy, urlunsplit(through))
        yield opened


TROUBLES: dict[str, tuple[str, Toxic, tuple[Stream, ...]]] = {
    "uploads are cut": ("api", LimitData(3_000, "reset"), (UP,)),
    "answers never come": ("api", Timeout(), (DOWN,)),
    "the API's connections are reset": ("api", ResetPeer(after_ms=200), ()),
    "the API is far away": ("api", Latency(80, jitter_ms=40), ()),
    "the broker hears nothing": ("broker", Timeout(), (UP,)),
    "nothing is heard of the broker": ("broker", Timeout(), (DOWN,)),
    "the broker's connections are reset": ("broker", ResetPeer(), ()),
    "the broker is slow": ("broker", Bandwidth(20), ()),
    "the broker's bytes come one by one": ("broker", Slicer(7), (DOWN,)),
    "Redis is a black hole": ("redis", Timeout(), ()),
    "Redis hears and is not heard": ("redis", Timeout(), (DOWN,)),
    "Redis is far away": ("redis", Latency(40, jitter_ms=30), ()),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_what_a_bad_line_does(system: System, upstream: Connect, lines: dict[str, Line], trouble: str) -> None:
    name, toxic, streams = TROUBLES[trouble]
    settings = {line.setting: line.url for line in lines.values()}
    limits = {"MMS_READ_TIMEOUT_S": "2", "MMS_CONNECT_TIMEOUT_S": "2", "MMS_PUBLISH_TIMEOUT_S": "2"}
    system.start_worker(**settings, **limits)
    system.start_worker(**limits)  # its lines are well
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(JOBS)))
    await outside.until_events(15)
    lines[name].proxy.add(toxic, *streams)
    await asyncio.sleep(TROUBLE_S)
    lines[name].proxy.clear()
    async with asyncio.timeout(50):
        while len(outside.ends()) < JOBS:  # noqa: ASYNC110 - the broker fills it
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)

    assert {job: set(ends) for job, ends in outside.ends().items() if len(set(ends)) != 1} == {}
    ids = Counter((event["data"]["job_id"], event["id"]) for event in outside.events)
    assert len(ids) == JOBS, "a repeat carries the same id"
    ends = {str(job): ends[0] for job, ends in outside.ends().items()}
    in_doubt = {job for job, end in ends.items() if end == "in_doubt"}
    assert set(ends.values()) <= {"sent", "in_doubt"}
    if name != "api" or isinstance(toxic, Latency):
        assert in_doubt == set()
    accepted = Counter(one.text.replace("t", "j") for one in system.simulator.control.accepted())
    assert max(accepted.values()) == 1
    assert {job for job, end in ends.items() if end == "sent"} <= accepted.keys()
    held = [orjson.loads(letter.body)["id"] for letter in await outside.waiting("mms.in_doubt")]
    assert sorted(held) == sorted(in_doubt)


async def test_a_worker_ends_in_time_whatever_does_not_answer(
    system: System, lines: dict[str, Line], upstream: Connect
) -> None:
    drain_s_max = 6
    limits = {"MMS_READ_TIMEOUT_S": "4", "MMS_CONNECT_TIMEOUT_S": "2", "MMS_DRAIN_S_MAX": str(drain_s_max)}
    through = {line.setting: line.url for line in lines.values()}
    worker = system.start_worker(**limits, **through)
    outside = await upstream()
    lines["api"].proxy.add(Timeout(), UP, DOWN)
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(5)))
    async with asyncio.timeout(50):
        while worker.metrics()['mms_jobs_in_flight{stage="calling"}'] < 2:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    for name in ("broker", "redis"):
        lines[name].proxy.add(Timeout(), UP, DOWN)
    worker.signal(TERM)
    assert await asyncio.to_thread(worker.wait, drain_s_max + TELL_S_MAX + CLOSE_S_MAX + 5) == 1
