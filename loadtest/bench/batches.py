"""How many recipients a second one worker serves when jobs of equal content leave together, and whether each is right.

`python -m loadtest.bench.batches --recipients 1 --jobs 20000`
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import (
    ACCOUNT,
    SMALL_PICTURE_SIDE_PX,
    SUBSCRIBERS,
    USUAL_PICTURE_SIDE_PX,
    BenchJob,
    noise_png,
)
from loadtest.bench.options import PictureBy
from loadtest.bench.picture_server import media_of
from loadtest.bench.processes import peak_resident_bytes, require_proc
from loadtest.bench.readings import Reading, open_http, take
from loadtest.bench.system import System, private_system, publish_backlog, running_workers, stop_workers
from loadtest.bench.watching import looks
from loadtest.command_line import OneSentenceParser, unwind_on_signals
from loadtest.simulator.process import SimulatorProcess
from loadtest.simulator.records import CallRecord
from loadtest.terminal import CountedStep
from loadtest.worker_process import WorkerProcess

US_PER_S = 1_000_000
MS_PER_S = 1_000
BYTES_PER_MB = 1_000_000
#: Calls at the beginning that are not counted into the pace: the first ones carry what has just arrived.
RAMP_CALLS = 3


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What was asked for. `seconds`: measure no longer than this, and then nothing is said about lost recipients.

    `opted_out`: so many recipients, evenly among all, have unsubscribed.
    """

    jobs: int = 20_000
    recipients: int = 1
    rate_per_s: int = 15
    seconds: float = 120.0
    picture: PictureBy = "data"
    picture_side_px: int = SMALL_PICTURE_SIDE_PX
    opted_out: int = 0
    latency_ms: float = 20.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """Recipients and calls from the first call to the last; `steady_per_s` without the first calls and the last one.

    `duplicates` and `lost`: recipients, out of those that have not opted out; `lost` is None when time was up first.
    `cpu_us_per_job` and `cores` by process; the means of the confirm's and the call's time; the peak of memory.
    """

    calls: int
    throttled_calls: int
    span_s: float
    recipients_accepted: int
    recipients_per_s: float
    steady_per_s: float
    share_of_rate: float
    jobs_per_call: float
    duplicates: int
    lost: int | None
    cpu_us_per_job: Mapping[str, float]
    cores: Mapping[str, float]
    confirm_ms: float
    call_ms: float
    peak_resident_bytes: int


def numbers_of(job: int, recipients: int) -> list[str]:
    """The numbers of a job, all different over all jobs."""
    first = job * recipients
    return [f"+61400{(first + place) % SUBSCRIBERS:06}" for place in range(recipients)]


def equal_jobs(options: BatchOptions, media: Mapping[str, str]) -> Iterator[BenchJob]:
    """Jobs that differ in their ids and recipients only."""
    for number in range(options.jobs):
        name = f"batch-{number:07}"
        body = {
            "id": name,
            "to": numbers_of(number, options.recipients),
            "text": "Your parcel is on its way.",
            "media": media,
        }
        yield BenchJob(name, ACCOUNT, json.dumps(body).encode())


def opted_out_numbers(options: BatchOptions) -> list[str]:
    """Those who unsubscribed."""
    every = options.jobs * options.recipients // options.opted_out if options.opted_out else 1
    return [f"+61400{number * every % SUBSCRIBERS:06}" for number in range(options.opted_out)]


def measure_batches(options: BatchOptions, console: Console) -> BatchFigures:
    """Run it. Raises NotMeasuredError, and LoadTestError, ServerError and the like when it cannot be set up."""
    if options.jobs * options.recipients > SUBSCRIBERS:
        raise NotMeasuredError(f"There are {SUBSCRIBERS:,} numbers only: take fewer jobs or recipients.")
    simulator = SimulatorProcess(
        rate_per_s=options.rate_per_s,
        latency_ms=options.latency_ms,
        latency_spread_ms=options.latency_ms / 2,
        seed=options.seed,
    )
    content = noise_png(options.picture_side_px, seed=options.seed)
    with (
        private_system(console, simulator) as system,
        media_of(content, options.picture, folder=system.folder) as (media, extra),
    ):
        for number in opted_out_numbers(options):
            simulator.control.opt_out(number)
        settings = {"MMS_RATE_PER_S": str(options.rate_per_s), **extra}
        publish_backlog(system, equal_jobs(options, media), options.jobs, settings=settings, console=console)
        with (
            running_workers(system, 1, settings=settings, console=console) as workers,
            CountedStep(console, "sending", options.jobs) as bar,
        ):
            return measure_running(options, system, workers[0], bar.show)


def measure_running(
    options: BatchOptions, system: System, worker: WorkerProcess, on_count: Callable[[int], object]
) -> BatchFigures:
    """The same of a worker that has just begun with a backlog; stops it. `on_count` is told how many jobs ended."""
    first, last = _watch(options, system, worker, on_count)
    peak_bytes = peak_resident_bytes(worker.pid)
    stop_workers([worker])
    summary = system.simulator.control.summary()
    wanted = options.jobs * options.recipients - options.opted_out
    return batch_figures(
        options,
        system.simulator.control.calls(),
        first,
        last,
        duplicates=summary.duplicates,
        lost=wanted - summary.recipients_accepted + summary.duplicates if last.finished >= options.jobs else None,
        peak_bytes=peak_bytes,
    )


def batch_figures(
    options: BatchOptions,
    calls: Sequence[CallRecord],
    first: Reading,
    last: Reading,
    *,
    duplicates: int,
    lost: int | None,
    peak_bytes: int,
) -> BatchFigures:
    """The figures out of the ledger's calls and two readings. Raises NotMeasuredError when there were too few calls."""
    accepted = [call for call in calls if call.recipients]
    if len(accepted) < RAMP_CALLS + 3:
        raise NotMeasuredError(f"Only {len(accepted)} calls were accepted, which is too few: take more jobs.")
    steady = accepted[RAMP_CALLS:-1]
    worker, before = last.workers[0], first.workers[0]
    jobs, seconds = last.finished - first.finished, last.at_s - first.at_s
    spent_s = {"worker": worker.cpu_s - before.cpu_s}
    spent_s |= {name: last.servers_cpu_s[name] - before_s for name, before_s in first.servers_cpu_s.items()}
    per_s = _recipients_per_s(accepted)
    return BatchFigures(
        calls=len(calls),
        throttled_calls=sum(call.http_status == 429 for call in calls),  # noqa: PLR2004 - HTTP's
        span_s=(accepted[-1].at_us - accepted[0].at_us) / US_PER_S,
        recipients_accepted=sum(call.recipients for call in accepted),
        recipients_per_s=per_s,
        steady_per_s=_recipients_per_s(steady),
        share_of_rate=(len(steady) - 1) * US_PER_S / (steady[-1].at_us - steady[0].at_us) / options.rate_per_s,
        jobs_per_call=last.finished / len(accepted),
        duplicates=duplicates,
        lost=lost,
        cpu_us_per_job={name: cpu_s * US_PER_S / jobs for name, cpu_s in spent_s.items()},
        cores={name: cpu_s / seconds for name, cpu_s in spent_s.items()},
        confirm_ms=(worker.confirm_s - before.confirm_s) * MS_PER_S / max(1, worker.publishes - before.publishes),
        call_ms=(worker.call_s - before.call_s) * MS_PER_S / max(1, worker.calls - before.calls),
        peak_resident_bytes=peak_bytes,
    )


def _recipients_per_s(calls: Sequence[CallRecord]) -> float:
    """A call's recipients count for the time that leads up to it."""
    return sum(call.recipients for call in calls[1:]) * US_PER_S / (calls[-1].at_us - calls[0].at_us)


def _watch(
    options: BatchOptions, system: System, worker: WorkerProcess, on_count: Callable[[int], object]
) -> tuple[Reading, Reading]:
    """The readings when the worker was ready, and when all jobs had ended or the time was up."""
    with open_http() as http:
        first = last = take(http, [worker], system.servers)
        until_s = time.monotonic() + options.seconds

        def look() -> int:
            nonlocal last
            last = take(http, [worker], system.servers)
            return last.finished

        for finished in looks([worker], look):
            on_count(finished)
            if finished >= options.jobs or time.monotonic() >= until_s:
                return first, last
    raise AssertionError("looks have no end")


def draw_batches(console: Console, options: BatchOptions, figures: BatchFigures) -> None:
    """Print the table."""
    table = Table(show_header=False, title=f"{options.jobs:,} jobs of {options.recipients} recipients, equal content")
    rows = {
        "recipients a second": f"{figures.recipients_per_s:,.0f} (steady {figures.steady_per_s:,.0f})",
        "calls; answers 429": f"{figures.calls:,}; {figures.throttled_calls:,} in {figures.span_s:.1f} s",
        "share of the rate": f"{figures.share_of_rate:.1%}",
        "jobs a call": f"{figures.jobs_per_call:,.1f}",
        "recipients lost; twice": f"{'?' if figures.lost is None else figures.lost}; {figures.duplicates}",
        "CPU µs a job": ", ".join(f"{name} {cost:,.0f}" for name, cost in figures.cpu_us_per_job.items()),
        "cores": ", ".join(f"{name} {share:.0%}" for name, share in figures.cores.items()),
        "confirm; call": f"{figures.confirm_ms:.1f} ms; {figures.call_ms:.1f} ms",
        "peak memory": f"{figures.peak_resident_bytes / BYTES_PER_MB:,.0f} MB",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _options(arguments: Sequence[str]) -> tuple[BatchOptions, Path | None]:
    parser = OneSentenceParser(prog="python -m loadtest.bench.batches", formatter_class=argparse.HelpFormatter)
    usual = BatchOptions()
    add = parser.add_argument
    add("--jobs", type=int, default=usual.jobs)
    add("--recipients", type=int, default=usual.recipients, help="of each job")
    add("--rate", type=int, default=usual.rate_per_s, help="calls a second that the API allows")
    add("--seconds", type=float, default=usual.seconds, help="measure no longer than this")
    add("--picture", choices=("data", "url"), default=usual.picture, help="in the job, or by its address")
    add("--usual-picture", action="store_true", help="of 20 KB, instead of a small one")
    add("--opted-out", type=int, default=0, help="so many of the recipients have unsubscribed")
    add("--latency-ms", type=float, default=usual.latency_ms)
    add("--seed", type=int, default=usual.seed)
    add("--json", type=Path, help="write the figures there, too")
    told = parser.parse_args(arguments)
    options = BatchOptions(
        jobs=told.jobs,
        recipients=told.recipients,
        rate_per_s=told.rate,
        seconds=told.seconds,
        picture=told.picture,
        picture_side_px=USUAL_PICTURE_SIDE_PX if told.usual_picture else SMALL_PICTURE_SIDE_PX,
        opted_out=told.opted_out,
        latency_ms=told.latency_ms,
        seed=told.seed,
    )
    return options, told.json


def main() -> int:
    """Measure and print."""
    options, json_file = _options(sys.argv[1:])
    unwind_on_signals()
    require_proc()
    console = Console(highlight=False)
    figures = measure_batches(options, console)
    draw_batches(console, options, figures)
    if json_file is not None:
        json_file.write_text(json.dumps({"options": asdict(options), "figures": asdict(figures)}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
