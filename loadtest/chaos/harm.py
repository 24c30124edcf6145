"""Doing harm: each kind of fault, and how it is taken back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from deploy.local import RabbitMQ, Redis
from deploy.local.private_server import PrivateServer
from loadtest.chaos.crew import Crew
from loadtest.chaos.doubts import Window
from loadtest.chaos.faults import Kind, Planned
from loadtest.kills.points import POINTS
from loadtest.proxy import Latency, Proxy, ResetPeer, Stream, Timeout, Toxic
from loadtest.simulator.control_client import SimulatorControl
from loadtest.simulator.faults import Fault
from loadtest.simulator.records import OutageKind

SLOW = Latency(latency_ms=150.0, jitter_ms=100.0)
LOWERED_SHARE = 0.3
#: Steps that every worker passes soon; it dies at the first to the so-manyth time.
STEPS = tuple(point.name for point in POINTS if not (point.needs_a_refusal or point.needs_a_stop))
NTH_MAX = 9


@dataclass(frozen=True, slots=True)
class Scene:
    """What harm is done to. ``limit_per_s``: of the API. Without the lines nothing happens to connections alone."""

    crew: Crew
    rabbitmq: RabbitMQ
    redis: Redis
    control: SimulatorControl
    limit_per_s: int
    broker_line: Proxy | None = None
    store_line: Proxy | None = None


async def harm(scene: Scene, planned: Planned) -> Window:
    """Do it, wait, take it back; from when to when it was."""
    began_us = _now_us()
    async with _harmed(scene, planned):
        await asyncio.sleep(planned.lasts_s)
    return Window(planned.kind, began_us, _now_us())


@contextlib.asynccontextmanager
async def _harmed(scene: Scene, planned: Planned) -> AsyncIterator[None]:  # noqa: C901, PLR0912, PLR0915 - a table
    kind, crew = planned.kind, scene.crew
    victim = int(planned.chance * crew.count)
    async with contextlib.AsyncExitStack() as stack:
        match kind:
            case Kind.KILL_ONE:
                crew.kill(victim)
            case Kind.KILL_ALL:
                for n in range(crew.count):
                    crew.kill(n)
            case Kind.REPLACE_ONE:
                crew.stop(victim)
            case Kind.FREEZE_ONE:
                stack.callback(crew.thaw, crew.freeze(victim))
            case Kind.DIE_AT_STEP:
                nth = 1 + int(planned.chance * 1_000) % NTH_MAX
                crew.die_at(victim, f"{STEPS[int(planned.chance * 10_000) % len(STEPS)]}:{nth}")
            case Kind.BROKER_KILLED | Kind.STORE_KILLED:
                server = _server(scene, kind)
                await asyncio.to_thread(server.kill)
                stack.push_async_callback(asyncio.to_thread, server.start)
            case Kind.BROKER_RESTARTED | Kind.STORE_RESTARTED:
                await asyncio.to_thread(_server(scene, kind).restart)
            case Kind.BROKER_FROZEN | Kind.STORE_FROZEN:
                server = _server(scene, kind)
                await asyncio.to_thread(server.pause)
                stack.push_async_callback(asyncio.to_thread, server.resume)
            case Kind.BROKER_RESET | Kind.STORE_RESET:
                _on(stack, _line(scene, kind), ResetPeer())
            case Kind.BROKER_SILENT | Kind.STORE_SILENT:
                _on(stack, _line(scene, kind), Timeout())
            case Kind.BROKER_DEAF:
                _on(stack, _line(scene, kind), Timeout(), Stream.DOWNSTREAM)
            case Kind.BROKER_SLOW | Kind.STORE_SLOW:
                _on(stack, _line(scene, kind), SLOW)
            case Kind.BROKER_DOWN | Kind.STORE_DOWN:
                line = _line(scene, kind)
                line.down()
                stack.callback(line.up)
            case Kind.STORE_EMPTIED:
                await asyncio.to_thread(scene.redis.flush, 0)
            case Kind.API_REFUSES | Kind.API_502 | Kind.API_HANGS:
                kinds: dict[Kind, OutageKind] = {
                    Kind.API_REFUSES: "refuse",
                    Kind.API_502: "502",
                    Kind.API_HANGS: "hang",
                }
                await asyncio.to_thread(scene.control.outage, kinds[kind])
                stack.push_async_callback(asyncio.to_thread, scene.control.outage, None)
            case Kind.API_LOWERED:
                lowered = max(1, int(scene.limit_per_s * LOWERED_SHARE))
                await asyncio.to_thread(scene.control.set_rate, lowered)
                stack.push_async_callback(asyncio.to_thread, scene.control.set_rate, scene.limit_per_s)
            case _:
                await asyncio.to_thread(scene.control.add_fault, FAULTS[kind])
                stack.push_async_callback(asyncio.to_thread, scene.control.clear_faults)
        yield


FAULTS = {
    Kind.API_RESETS: Fault("reset_after_accept", probability=0.2),
    Kind.API_500_SENT: Fault("500_after_accept", probability=0.2),
    Kind.API_LATE: Fault("late", probability=0.2, after_s=3.0),
    Kind.API_429: Fault("429_bare", probability=0.2),
}


def _server(scene: Scene, kind: Kind) -> PrivateServer:
    return scene.rabbitmq if kind.name.startswith("BROKER") else scene.redis


def _line(scene: Scene, kind: Kind) -> Proxy:
    line = scene.broker_line if kind.name.startswith("BROKER") else scene.store_line
    if line is None:
        raise AssertionError(f"{kind} needs a line that can be harmed")
    return line


def _on(stack: contextlib.AsyncExitStack, line: Proxy, toxic: Toxic, *streams: Stream) -> None:
    line.add(toxic, *streams)
    stack.callback(line.remove, toxic)


def _now_us() -> int:
    return time.time_ns() // 1_000
