"""What the workers and the processes told at one moment, and the differences between two (pure but for `take`)."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.processes import cpu_s
from loadtest.worker_process import WorkerProcess

ANSWER_S_MAX = 10.0
SENT = {"outcome": "sent"}
SEND = {"operation": "send_mms"}


@dataclass(frozen=True, slots=True)
class WorkerReading:
    """Counts since the worker's start; `cpu_s` is its processor time."""

    finished: int
    sent: int
    calls: int
    call_s: float
    publishes: int
    confirm_s: float
    cpu_s: float

    @classmethod
    def of(cls, text: str, *, cpu_s: float) -> "WorkerReading":
        """Out of the text of /metrics."""
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return cls(
            finished=int(total(samples, "mms_jobs_finished_total")),
            sent=int(total(samples, "mms_jobs_finished_total", SENT)),
            calls=int(total(samples, "mms_api_request_duration_seconds_count", SEND)),
            call_s=total(samples, "mms_api_request_duration_seconds_sum", SEND),
            publishes=int(total(samples, "mms_publish_confirm_duration_seconds_count")),
            confirm_s=total(samples, "mms_publish_confirm_duration_seconds_sum"),
            cpu_s=cpu_s,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """All workers, and the processor time of the servers by name, at a moment of the monotonic clock."""

    at_s: float
    workers: tuple[WorkerReading, ...]
    servers_cpu_s: Mapping[str, float]

    @property
    def finished(self) -> int:
        """Jobs that ended, however."""
        return sum(worker.finished for worker in self.workers)

    @property
    def sent(self) -> int:
        """Jobs that ended as sent."""
        return sum(worker.sent for worker in self.workers)


def total(samples: Iterable[Sample], name: str, labels: Mapping[str, str] | None = None) -> float:
    """The sum of the samples of that name that carry these labels, among others; 0 when there is none."""
    wanted = (labels or {}).items()
    return sum(sample.value for sample in samples if sample.name == name and wanted <= sample.labels.items())


def open_http() -> httpx.Client:
    """For the functions below; one for all of them, since each new one costs some milliseconds of a core."""
    return httpx.Client(timeout=ANSWER_S_MAX, trust_env=False)


def take(http: httpx.Client, workers: Sequence[WorkerProcess], servers: Mapping[str, int]) -> Reading:
    """Read everything now; `servers` are process ids. Raises NotMeasuredError when a worker has ended or is silent.

    It costs a worker a few milliseconds of processor time.
    """
    readings = tuple(WorkerReading.of(_metrics(http, worker), cpu_s=cpu_s(worker.pid)) for worker in workers)
    return Reading(time.monotonic(), readings, {name: cpu_s(pid) for name, pid in servers.items()})


def worker_version(http: httpx.Client, worker: WorkerProcess) -> str:
    """As it tells itself."""
    families = text_string_to_metric_families(_metrics(http, worker))
    versions = (sample.labels for family in families for sample in family.samples if sample.name == "mms_build_info")
    return next(versions, {}).get("version", "unknown")


def require_running(worker: WorkerProcess) -> None:
    """Raise NotMeasuredError when it has ended."""
    if worker.ended is not None:
        raise NotMeasuredError(f"{worker.name.capitalize()} {worker.ended}. The end of its log:\n{worker.log_tail()}")


def _metrics(http: httpx.Client, worker: WorkerProcess) -> str:
    require_running(worker)
    try:
        answer = http.get(f"{worker.admin_url}/metrics")
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise NotMeasuredError(f"{worker.name.capitalize()} does not tell its metrics: {error}.") from error
    return answer.text
