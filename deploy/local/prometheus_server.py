"""A private Prometheus: what it scrapes can change while it runs, and it need not be waited for as long as rules say.

It is always a process of this machine: tests and `make up` use it where there is no Docker engine, and the demo does
not need it.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from deploy.local.failure import ServerError
from deploy.local.guarded import Command
from deploy.local.located import prometheus_binary, search_path
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.private_server import HANDSHAKE_S_MAX, PrivateServer
from deploy.local.runners import NativeRunner, Plan, Runner

ROOT = Path(__file__).resolve().parents[2]
RULES = tuple(sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml")))
ANSWER_S_MAX = 20.0
ANSWER_BYTES_MAX = 50_000_000
#: How often it looks for other targets. It acts on what it finds every 5 s, whatever it is told.
TARGETS_LOOK_S = 1
#: It is on this machine, whatever proxy there is to get out of it.
_HERE = urllib.request.build_opener(urllib.request.ProxyHandler({}))

#: What of a rule file is written anew for whoever cannot wait: the time between evaluations, and until an alert fires.
_INTERVAL = re.compile(r"^( *interval: ).+$", re.MULTILINE)
_HOLD = re.compile(r"^( *for: ).+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one moment; `labels` with its name, if it has one, as `__name__`."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Course:
    """One series over time: (seconds since 1970, value)."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as Prometheus would tell it; `state` is pending or firing."""

    name: str
    state: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Prometheus(PrivateServer):
    """`targets`: by job, HOST:PORT of what is scraped (at /metrics). `rules`: rule files, the project's own by default.

    `evaluate_s` and `hold_s` replace the groups' own intervals and each alert's `for`: None keeps them.
    `keep`: for how long what was scraped is kept. With a `folder` and a `fixed_port` it begins where it ended.
    """

    service = "prometheus"
    title = "Prometheus"

    def __init__(
        self,
        targets: Mapping[str, Iterable[str]],
        *,
        rules: Sequence[Path] = RULES,
        scrape_s: float = 15.0,
        evaluate_s: float | None = None,
        hold_s: float | None = None,
        keep: str = "35d",
        fixed_port: int | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(folder=folder)
        self._targets = {job: list(addresses) for job, addresses in targets.items()}
        self._rules = tuple(rules)
        self._scrape_s = scrape_s
        self._evaluate_s = evaluate_s
        self._hold_s = hold_s
        self._keep = keep
        self._fixed_port = fixed_port
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def set_targets(self, targets: Mapping[str, Iterable[str]]) -> None:
        """Scrape these from now on (within seven seconds or so), of jobs that it was made with."""
        if unknown := targets.keys() - self._targets.keys():
            raise ServerError(f"Prometheus was not started with the jobs {', '.join(sorted(unknown))}.")
        self._targets |= {job: list(addresses) for job, addresses in targets.items()}
        self._write_targets()

    # --- Asking ------------------------------------------------------------------------------------------

    def query(self, expression: str, *, at_s: float | None = None) -> list[Sample]:
        """What an expression gives now, or at a moment (since 1970); a scalar is one sample without labels."""
        asked = {"query": expression} if at_s is None else {"query": expression, "time": str(at_s)}
        data = self._ask("query", asked)
        if data["resultType"] in ("scalar", "string"):
            return [Sample({}, float(data["result"][1]))]
        return [Sample(each["metric"], float(each["value"][1])) for each in data["result"]]

    def query_range(self, expression: str, *, start_s: float, end_s: float, step_s: float) -> list[Course]:
        """The same over time."""
        asked = {"query": expression, "start": str(start_s), "end": str(end_s), "step": str(step_s)}
        return [
            Course(each["metric"], [(float(at_s), float(value)) for at_s, value in each["values"]])
            for each in self._ask("query_range", asked)["result"]
        ]

    def alerts(self) -> list[Alert]:
        """Those that are pending or firing."""
        return [
            Alert(each["labels"]["alertname"], each["state"], each["labels"], each["annotations"])
            for each in self._ask("alerts", {})["alerts"]
        ]

    def firing(self) -> set[str]:
        """The names of those that fire."""
        return {alert.name for alert in self.alerts() if alert.state == "firing"}

    def series(self, selector: str, *, start_s: float, end_s: float) -> list[Mapping[str, str]]:
        """The labels of all series of a time that `selector` matches."""
        found: list[Mapping[str, str]] = self._ask(
            "series", {"match[]": selector, "start": str(start_s), "end": str(end_s)}
        )
        return found

    def rule_problems(self) -> list[str]:
        """What went wrong when rules were evaluated last, in sentences."""
        groups = self._ask("rules", {})["groups"]
        return [
            f"{group['name']}: {rule['name']}: {rule['lastError']}"
            for group in groups
            for rule in group["rules"]
            if rule.get("lastError")
        ]

    def _ask(self, what: str, asked: Mapping[str, str]) -> Any:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        try:
            with _HERE.open(address, timeout=ANSWER_S_MAX) as answer:
                told = json.loads(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            said = error.read(ANSWER_BYTES_MAX).decode(errors="replace")
            raise ServerError(f"Prometheus refused {what} {dict(asked)}: {said}") from error
        except OSError as error:
            raise ServerError(f"Prometheus does not answer {what}: {error}") from error
        return told["data"]

    # --- Running -----------------------------------------------------------------------------------------

    def _make_runner(self, folder: Path | None) -> Runner:
        self._binary = prometheus_binary()
        return NativeRunner(self.service, folder)

    def _choose_ports(self) -> None:
        self._port = self._fixed_port or free_port()

    def _is_ready(self) -> bool:
        if not self._runner.is_running():
            return False
        try:
            with _HERE.open(f"{self.url}/-/ready", timeout=HANDSHAKE_S_MAX) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    def _plan(self) -> Plan:
        folder = self._runner.folder
        (folder / "targets").mkdir(exist_ok=True)
        self._write_targets()
        (folder / "prometheus.json").write_text(json.dumps(self._settings(), indent=2))
        options = {
            "config.file": str(folder / "prometheus.json"),
            "storage.tsdb.path": str(folder / "data"),
            "storage.tsdb.retention.time": self._keep,
            "web.listen-address": f"{LOOPBACK}:{self._port}",
        }
        command = Command(
            name="prometheus",
            argv=(str(self._binary), *(f"--{name}={value}" for name, value in options.items())),
            env={"PATH": search_path(), "HOME": str(folder)},
            log=folder / "prometheus.log",
        )
        return Plan(commands=(command,), variables={})

    def _settings(self) -> dict[str, Any]:
        """JSON is YAML as well, and needs no library."""
        every = f"{round(self._scrape_s * 1000)}ms"
        return {
            "global": {
                "scrape_interval": every,
                "scrape_timeout": f"{round(min(self._scrape_s, 10.0) * 1000)}ms",
                "evaluation_interval": every,
            },
            "rule_files": [str(path) for path in self._rule_files()],
            "scrape_configs": [
                {
                    "job_name": job,
                    "file_sd_configs": [
                        {"files": [str(self._targets_file(job))], "refresh_interval": f"{TARGETS_LOOK_S}s"}
                    ],
                }
                for job in self._targets
            ],
        }

    def _rule_files(self) -> list[Path]:
        if self._evaluate_s is None and self._hold_s is None:
            return list(self._rules)
        copies = []
        for path in self._rules:
            text = path.read_text()
            if self._evaluate_s is not None:
                text = _INTERVAL.sub(rf"\g<1>{round(self._evaluate_s * 1000)}ms", text)
            if self._hold_s is not None:
                text = _HOLD.sub(rf"\g<1>{round(self._hold_s * 1000)}ms", text)
            copy = self._runner.folder / path.name
            copy.write_text(text)
            copies.append(copy)
        return copies

    def _write_targets(self) -> None:
        for job, addresses in self._targets.items():
            file = self._targets_file(job)
            # Whole or not at all: it looks whenever it likes.
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps([{"targets": addresses}]))
            fresh.replace(file)

    def _targets_file(self, job: str) -> Path:
        return self._runner.folder / "targets" / f"{job}.json"
