"""`python -m loadtest.bench.peers.floor PART …`: the floor, or one of its parts alone, in a process of its own.

`jobs` takes jobs from the worker's own queue until the process is ended: claim, call, outcome, event, acknowledgement.
The parts do so much as `--count` says, and print what that took, as JSON.
"""

import argparse
import asyncio
import itertools
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus

import uvloop
from yarl import URL

from loadtest.bench.lines import Posted, post
from loadtest.bench.peers.floor_parts import Calls, Store, Taken, a_request, connect, publish
from loadtest.rivals.life import end_with_owner
from loadtest.rivals.peers.surroundings import Surroundings, surroundings

PARTS = ("consume", "publish", "store", "call")
"""What a job needs; `bare` is the call once more, without an HTTP library."""
PREFETCH = 256
UNCONFIRMED_MAX = 256
HTTPS_PORT = 443
EVENT = json.dumps(
    {
        "specversion": "1.0",
        "id": "bench-0000001/mms.job.sent",
        "source": "/mms-worker",
        "type": "mms.job.sent",
        "time": "2026-11-22T03:04:05.123456Z",
        "datacontenttype": "application/json",
        "data": {
            "job_id": "bench-0000001",
            "reference": None,
            "account": "default",
            "attempt": 1,
            "recipients": [{"to": "+61400000001", "message_id": "A21741CB-9B8E-3956-A1CE-000000000001"}],
            "refused": [],
        },
    }
).encode()
"""As large as the worker's own of a job with one recipient."""


@dataclass(frozen=True, slots=True)
class Asked:
    """On the command line. `queue`: where the jobs are; `exchange` and `routing_key`: where the events go."""

    part: str
    redis_url: str
    queue: str
    exchange: str
    routing_key: str
    count: int


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one process, with one core at most."""

    count: int
    seconds: float
    cpu_s: float


async def run_jobs(here: Surroundings, asked: Asked) -> None:
    """Until the process is ended. Raises what the libraries raise."""
    consuming, publishing = await connect(here.amqp_url), await connect(here.amqp_url)
    taken = Taken(await consuming.channel())
    results = await publishing.channel(publisher_confirms=True)
    store, calls = Store(asked.redis_url), Calls(here)

    async def work() -> None:
        while True:
            delivery = await taken.waiting.get()
            key = f"floor:{json.loads(delivery.body)['id']}"
            await store.do("SET", key, "claimed", "NX", "EX", 600)
            outcome = await calls.make()
            await store.do("SET", key, outcome[:64], "EX", 600)
            await publish(results, asked.exchange, asked.routing_key, EVENT)
            await taken.done(delivery)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(taken.acknowledge_now_and_then())
        for _ in range(here.in_flight):
            tasks.create_task(work())
        await taken.begin(asked.queue, PREFETCH)


async def consume_alone(here: Surroundings, asked: Asked) -> Spent:
    """Take so many and acknowledge them."""
    taken = Taken(await (await connect(here.amqp_url)).channel())
    await taken.begin(asked.queue, PREFETCH)
    first = await taken.waiting.get()
    begun = _now()
    await taken.done(first)
    for _ in range(asked.count - 1):
        await taken.done(await taken.waiting.get())
    await taken.acknowledge()
    return _spent(asked.count, begun)


async def publish_alone(here: Surroundings, asked: Asked) -> Spent:
    """Publish so many."""
    channel = await (await connect(here.amqp_url)).channel(publisher_confirms=True)
    return await _side_by_side(
        UNCONFIRMED_MAX, asked.count, lambda: publish(channel, asked.exchange, asked.routing_key, EVENT)
    )


async def store_alone(here: Surroundings, asked: Asked) -> Spent:
    """Two commands, so often."""
    store = Store(asked.redis_url)
    keys = itertools.count()

    async def both() -> None:
        key = f"alone:{next(keys)}"
        await store.do("SET", key, "claimed", "NX", "EX", 600)
        await store.do("SET", key, "x" * 64, "EX", 600)

    spent = await _side_by_side(here.in_flight, asked.count, both)
    await store.close()
    return spent


async def call_alone(here: Surroundings, asked: Asked) -> Spent:
    """So many calls."""
    calls = Calls(here)
    spent = await _side_by_side(here.in_flight, asked.count, calls.make)
    await calls.close()
    return spent


async def bare_alone(here: Surroundings, asked: Asked) -> Spent:
    """So many calls with requests that are bytes, over connections that read no more of an answer than its length."""
    context = ssl.create_default_context(cafile=here.ca_file)
    request = a_request(here)
    port = URL(here.api_url).port or HTTPS_PORT
    requests = itertools.repeat(request, asked.count)
    begun = _now()
    posted = Posted()
    await asyncio.gather(*(post(port, context, requests, posted) for _ in range(here.in_flight)))
    if posted.statuses != {HTTPStatus.OK: asked.count}:
        raise RuntimeError(f"not all {asked.count} calls were taken: {posted.statuses}")
    return _spent(asked.count, begun)


ALONE: dict[str, Callable[[Surroundings, Asked], Awaitable[Spent]]] = {
    "consume": consume_alone,
    "publish": publish_alone,
    "store": store_alone,
    "call": call_alone,
    "bare": bare_alone,
}


async def _side_by_side(at_a_time: int, count: int, do: Callable[[], Awaitable[object]]) -> Spent:
    """What `count` of them take, when so many are always under way; one of each before that is not counted."""
    left = count

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await do()

    await asyncio.gather(*(do() for _ in range(at_a_time)))
    begun = _now()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_a_time):
            tasks.create_task(some())
    return _spent(count, begun)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _spent(count: int, begun: tuple[float, float]) -> Spent:
    at_s, cpu_s = _now()
    return Spent(count, at_s - begun[0], cpu_s - begun[1])


def asked_for(arguments: Sequence[str] | None = None) -> Asked:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.peers.floor", description="The floor.")
    parser.add_argument("part", choices=("jobs", *ALONE))
    for name in ("--redis-url", "--queue", "--exchange", "--routing-key"):
        parser.add_argument(name, required=True)
    parser.add_argument("--count", type=int, default=1)
    return Asked(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Run one part."""
    asked, here = asked_for(), surroundings()
    end_with_owner()
    if asked.part == "jobs":
        uvloop.run(run_jobs(here, asked))
    else:
        told = uvloop.run(_alone(here, asked))
        print(json.dumps(asdict(told)), flush=True)


async def _alone(here: Surroundings, asked: Asked) -> Spent:
    return await ALONE[asked.part](here, asked)


if __name__ == "__main__":
    main()
