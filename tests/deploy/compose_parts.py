"""What compose.yaml would run in containers, run here as processes: same arguments, settings and secrets, other places.

A container's paths become folders of the test, its host names loopback, and its ports free ones.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from deploy.access.installation import Hosts, prepare
from deploy.local import RabbitMQ, Redis
from deploy.local.handshake import amqp_login_works
from deploy.local.located import Native
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.private_server import HANDSHAKE_S_MAX
from deploy.local.runners import Plan
from tests.deploy.places import COMPOSE_FILE, DEPLOY, DOCKERFILE, ROOT

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
IMAGE_ENVIRONMENT = dict(re.findall(r"\b(MMS_\w+)=(\S+)", DOCKERFILE.read_text()))
WAIT_S_MAX = 30.0


@dataclass
class Places:
    """Where a test has what containers have elsewhere."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def prepare(self) -> None:
        """Make the secrets; again, when ports are known, which changes nothing but the addresses."""
        prepare(
            self.secrets, Hosts(*(f"localhost:{self.ports.get(name, 1)}" for name in ("broker", "redis", "receiver")))
        )
        callbacks = self.secrets / "simulator-callbacks.json"
        callbacks.chmod(0o600)
        callbacks.write_text(callbacks.read_text().replace("/run/secrets", str(self.secrets)))

    def here(self, text: str) -> str:
        """`text` with this test's places."""
        simulator = self.folder / "simulator"
        simulator.mkdir(exist_ok=True)
        for there, place in {
            "/run/secrets": self.secrets,
            "/run/simulator": simulator,
            "/var/lib/simulator": simulator,
        }.items():
            text = text.replace(there, str(place))
        return text


class ComposeRabbitMQ(RabbitMQ):
    """A node with compose's own configuration, plugins and users."""

    def __init__(self, places: Places) -> None:
        super().__init__(management=True)
        self._places = places
        self.metrics_port = free_port()

    def is_well(self) -> bool:
        """What its health check says."""
        command, *arguments = SERVICES["rabbitmq"]["healthcheck"]["test"][1:]
        script = self._native.rabbitmq_script.with_name(command)
        arguments = [str(self.port) if each == "5671" else each for each in arguments]
        return subprocess.run([script, *arguments], env=self._environment(), capture_output=True).returncode == 0  # noqa: PLW1510 - it is looked at

    def _settings(self) -> str:
        management, metrics = f"management.tcp.ip = {LOOPBACK}\n", f"prometheus.tcp.ip = {LOOPBACK}\n"
        other = {
            "listeners.ssl.default = 5671": f"listeners.ssl.1 = {LOOPBACK}:{self._port}",
            "management.tcp.port = 15672": f"{management}management.tcp.port = {self._management_port}",
            "prometheus.tcp.port = 15692": f"{metrics}prometheus.tcp.port = {self.metrics_port}",
            "disk_free_limit.absolute = 2GB": "disk_free_limit.absolute = 1MB",
        }
        text = self._places.here((DEPLOY / "compose/rabbitmq.conf").read_text())
        for there, here in other.items():
            assert text.count(there) == 1, there
            text = text.replace(there, here)
        return text

    def _plan(self) -> Plan:
        plan = super()._plan()
        (self._runner.folder / "enabled_plugins").write_text((DEPLOY / "compose/enabled_plugins").read_text())
        return plan

    def _is_ready(self) -> bool:
        password = (self._places.secrets / "worker.broker-password").read_text()
        return amqp_login_works(self._port, "worker", password, "mms", wait_s=HANDSHAKE_S_MAX, over_tls=True)


class ComposeRedis(Redis):
    """A server with compose's own arguments; it is ready when its health check says so."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places

    def is_well(self) -> bool:
        """What its health check says."""
        _, check = SERVICES["redis"]["healthcheck"]["test"]
        check = self._places.here(check).replace("redis-cli", f"redis-cli -p {self.port}")
        return subprocess.run(["/bin/sh", "-c", check], check=False).returncode == 0

    def _is_ready(self) -> bool:
        return self.is_well()

    def _plan(self) -> Plan:
        assert isinstance(self._located, Native)
        plan = super()._plan()
        arguments = [self._places.here(str(each)) for each in SERVICES["redis"]["command"][1:]]
        arguments[arguments.index("6379")] = str(self.port)
        arguments += ["--bind", LOOPBACK, "--dir", str(self._runner.folder)]
        argv = (str(self._located.redis_server), *arguments)
        return replace(plan, commands=[replace(plan.commands[-1], argv=argv)])


class Ours:
    """A container of one of our images, as a process."""

    def __init__(self, name: str, places: Places, arguments: Mapping[str, str], settings: Mapping[str, str]) -> None:
        """`arguments`, `settings`: what is otherwise here than in compose.yaml."""
        service = SERVICES[name]
        module = "loadtest.simulator" if name == "simulator" else "worker"
        command = [arguments.get(each, places.here(str(each))) for each in service["command"]]
        given = IMAGE_ENVIRONMENT | {key: str(value) for key, value in service.get("environment", {}).items()}
        self._check = service["healthcheck"]["test"]
        self._settings = settings
        self._log = places.folder / f"{name}-{free_port()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *command],
                cwd=ROOT,
                env={**environment(given, places), **settings},
                stdout=log,
                stderr=log,
            )

    def is_well(self) -> bool:
        """What its health check says."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self._log.read_text()}"
        kind, _, flag, code = self._check
        assert (kind, flag) == ("CMD", "-c")
        code = code.replace(":9464/", f":{self._settings.get('MMS_ADMIN_PORT')}/")
        code = code.replace(":8444/", f":{self._settings.get('CONTROL_PORT')}/")
        return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0

    def end(self) -> int:
        """SIGTERM, as compose does it; its exit code."""
        self.process.terminate()
        return self.process.wait(WAIT_S_MAX)


def environment(given: Mapping[str, str], places: Places) -> dict[str, str]:
    """All of a process' environment: what the image and compose give it, here."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MMS_")}
    ours = {name: places.here(value).replace("0.0.0.0", LOOPBACK) for name, value in given.items()}
    if "simulator" in places.ports and "MMS_API_URL" in ours:
        ours["MMS_API_URL"] = ours["MMS_API_URL"].replace("simulator:8443", f"{LOOPBACK}:{places.ports['simulator']}")
    return {**inherited, **ours}


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    give_up_at = time.monotonic() + WAIT_S_MAX
    while not true():
        assert time.monotonic() < give_up_at, f"{what} did not come about within {WAIT_S_MAX:.0f} s"
        time.sleep(0.1)
