"""A receiver over TLS, and what it tells of itself."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import trustme
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from deploy.local.ports import LOOPBACK, free_port
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import ACCOUNT
from loadtest.bench.processes import cpu_s
from loadtest.bench.readings import require_running, total
from loadtest.bench.system import System
from loadtest.terminal import step
from loadtest.worker_process import WorkerProcess

TOKEN = "a-token-of-the-bench"  # noqa: S105 - it opens nothing but this bench
ANSWER_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running one: its port, and how its certificate is trusted."""

    process: WorkerProcess
    port: int
    tls: ssl.SSLContext

    @property
    def reports_path(self) -> str:
        """Where reports are posted."""
        return f"/callbacks/{ACCOUNT}/{TOKEN}/reports"

    def reading(self) -> "ReceiverReading":
        """What it has done so far. Raises NotMeasuredError when it has ended or is silent."""
        require_running(self.process)
        try:
            text = httpx.get(f"{self.process.admin_url}/metrics", timeout=ANSWER_S_MAX, trust_env=False).text
        except httpx.HTTPError as error:
            raise NotMeasuredError(f"The receiver does not tell its metrics: {error}.") from error
        return ReceiverReading.of(text, cpu_s=cpu_s(self.process.pid))


@dataclass(frozen=True, slots=True)
class ReceiverReading:
    """Counts since its start; `cpu_s` is its processor time."""

    taken: int
    told: int
    repeated: int
    put_aside: int
    strange: int
    cpu_s: float

    @classmethod
    def of(cls, text: str, *, cpu_s: float) -> "ReceiverReading":
        """Out of the text of /metrics."""
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        requests = "mms_callback_requests_total"
        return cls(
            taken=int(total(samples, requests, {"result": "taken"})),
            told=int(total(samples, "mms_reports_total")),
            repeated=int(total(samples, "mms_reports_repeated_total")),
            put_aside=int(total(samples, "mms_reports_put_aside_total")),
            strange=int(total(samples, requests, {"result": "unknown_address"})),
            cpu_s=cpu_s,
        )


@contextmanager
def running_receiver(system: System, console: Console) -> Iterator[Receiver]:
    """Start one, which asks for no replies by itself, and hand it over when it is ready."""
    authority = trustme.CA()
    cert = _certificate(authority, system.folder)
    port = free_port()
    settings = {
        "MMS_CALLBACK_TOKEN": TOKEN,
        "MMS_RECEIVE_PORT": str(port),
        "MMS_RECEIVE_CERT_FILE": str(cert),
        "MMS_REPLIES_POLL_S": "0",
    }
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(tls)
    with system.worker("receiver", settings, command="receive") as process:
        with step(console, "1 receiver"):
            process.wait_until_ready()
        yield Receiver(process, port, tls)


def _certificate(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "receiver.pem"
    authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem.write_to_path(str(path))
    return path
