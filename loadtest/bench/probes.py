"""`capacity`, `latency` and `memory`: single properties, measured one at a time and told as tables."""

from contextlib import ExitStack
from dataclasses import asdict

from rich.console import Console

from deploy.local import RabbitMQ
from loadtest.bench.capacity import CALL_KINDS, measure_capacity
from loadtest.bench.circumstances import Versions
from loadtest.bench.latency import measure_latency
from loadtest.bench.memory import measure_memory
from loadtest.bench.probe_options import CapacityOptions, LatencyOptions, MemoryOptions
from loadtest.bench.probe_report import capacity_result, draw_capacity, draw_latency, draw_memory
from loadtest.bench.system import publish
from loadtest.terminal import step

ProbeOptions = CapacityOptions | LatencyOptions | MemoryOptions
NOT_RUN = "not run"


def measure_probe(options: ProbeOptions, console: Console) -> tuple[object, Versions]:
    """Measure and draw; the figures as JSON has them. Raises as the measurements do."""
    match options:
        case CapacityOptions():
            return _measure_capacity(options, console)
        case LatencyOptions():
            latency, versions = measure_latency(options, console)
            draw_latency(console, latency)
            return asdict(latency), versions
        case MemoryOptions():
            memory, versions = measure_memory(options, console)
            draw_memory(console, memory)
            return [asdict(one) | {"spread": one.spread} for one in memory], versions


def _measure_capacity(options: CapacityOptions, console: Console) -> tuple[object, Versions]:
    with ExitStack() as stack:
        with step(console, "RabbitMQ, a private one"):
            broker = stack.enter_context(RabbitMQ())
            rabbitmq = publish(broker.url, (), lambda _: None, queue="hello")
        capacity = measure_capacity(
            broker,
            console,
            kinds=CALL_KINDS,
            connections=options.connections,
            seconds=options.seconds,
            seed=options.seed,
        )
    draw_capacity(console, options, capacity)
    return capacity_result(capacity), Versions(NOT_RUN, rabbitmq, NOT_RUN)
