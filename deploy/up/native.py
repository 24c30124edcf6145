"""The parts of a system of this machine's own processes, as they are deployed: TLS alone, and a user for each."""

import errno
import json
import os
import shlex
import socket
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.access.installation import Hosts, prepare
from deploy.local import Prometheus, RabbitMQ, Redis
from deploy.local.guarded import Command
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.private_server import PrivateServer
from deploy.local.server_tls import ServerTls
from deploy.up.places import ROOT, Place

ACCOUNT: Final = "default"
RATE_PER_S: Final = 15
READY_S_MAX: Final = 2.0
#: What is asked is on this machine, whatever proxy there is to get out of it.
_HERE: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
#: Where people look first, where these are free; chosen once, since the broker's name hangs on its port.
PORTS: Final = {
    "amqp": 5671,
    "management": 15672,
    "epmd": 0,
    "redis": 6379,
    "prometheus": 9090,
    "api": 0,
    "simulator": 8444,
    "worker-1": 9464,
    "worker-2": 9465,
    "receiver": 9466,
    "callbacks": 8443,
}


@dataclass(frozen=True, slots=True)
class Product:
    """A process of ours, and where it says that it is ready."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    ready_url: str

    def command(self, folder: Path) -> Command:
        """How it is started; what it says goes to a file of its own."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MMS_")}
        return Command(
            name=self.name,
            argv=(sys.executable, *self.arguments),
            env={**environment, "PYTHONPATH": str(ROOT), **self.environment},
            log=folder / f"{self.name}.log",
        )

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            with _HERE.open(self.ready_url, timeout=READY_S_MAX) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's word for yes
        except OSError:
            return False


class System:
    """What `make up` starts without a Docker engine. All data, secrets and logs live in `folder`, and stay there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.secrets = folder / "secrets"
        self._ports = _ports(folder / "ports.json")
        hosts = Hosts(self._at("amqp"), self._at("redis"), self._at("callbacks"))
        prepare(self.secrets, hosts, account=ACCOUNT, callbacks_ca_file=self.secrets / "ca.pem")

    def taken(self) -> dict[str, int]:
        """Ports of ours that somebody else has now, by what they are for."""
        return {what: port for what, port in self._ports.items() if not _is_free(port)}

    def servers(self) -> list[PrivateServer]:
        """In the order in which they are started."""
        definitions = json.loads((self.secrets / "definitions.json").read_text())
        ports = self._ports
        return [
            RabbitMQ(
                management=True,
                tls=self._tls("rabbitmq"),
                definitions=definitions,
                ports=(ports["amqp"], ports["management"], ports["epmd"]),
                folder=self.folder / "rabbitmq",
            ),
            Redis(
                append_only=True,
                # One power cut takes Redis and all workers here.
                settings=("--appendfsync", "always"),
                tls=self._tls("redis"),
                users=(self.secrets / "users.acl").read_text().splitlines(),
                fixed_port=ports["redis"],
                folder=self.folder / "redis",
            ),
            Prometheus(
                {
                    "mms-worker": [self._at("worker-1"), self._at("worker-2")],
                    "mms-receiver": [self._at("receiver")],
                    "mms-simulator": [self._at("simulator")],
                },
                fixed_port=ports["prometheus"],
                folder=self.folder / "prometheus",
            ),
        ]

    def simulator(self) -> Product:
        """The API's stand-in, with a certificate authority that stays as it is."""
        options = {
            "port": str(self._ports["api"]),
            "control-port": str(self._ports["simulator"]),
            "rate": str(RATE_PER_S),
            "dir": str(self.folder / "simulator"),
            "callbacks": str(self.secrets / "simulator-callbacks.json"),
        }
        arguments = ("-m", "loadtest.simulator", *(f"--{name}={value}" for name, value in options.items()))
        return Product("simulator", arguments, {}, f"http://{self._at('simulator')}/healthz")

    def workers(self) -> list[Product]:
        """Two that send, and one that receives."""
        sending = [
            Product(name, ("-m", "worker", "run"), self._environment("worker", name), self._ready_url(name))
            for name in ("worker-1", "worker-2")
        ]
        receiving = {
            "MMS_CALLBACK_TOKEN_FILE": str(self.secrets / "callback-token"),
            "MMS_RECEIVE_PORT": str(self._ports["callbacks"]),
            "MMS_RECEIVE_CERT_FILE": str(self.secrets / "receiver.pem"),
            "MMS_RECEIVE_KEY_FILE": str(self.secrets / "receiver.key"),
        }
        environment = {**self._environment("receiver", "receiver"), **receiving}
        return [*sending, Product("receiver", ("-m", "worker", "receive"), environment, self._ready_url("receiver"))]

    def write_environments(self) -> None:
        """Files for a shell, with which the commands of mms-worker find this system."""
        people = {"operator": self._environment("operator", None), "upstream": self._of_broker("upstream")}
        for name, environment in people.items():
            lines = (f"export {variable}={shlex.quote(value)}" for variable, value in environment.items())
            (self.folder / f"{name}.env").write_text("\n".join([*lines, ""]))

    def places(self) -> tuple[Place, ...]:
        """What there is to look at."""
        passwords = _shown(self.secrets)
        return (
            Place(
                "RabbitMQ, AMQP", f"amqps://{self._at('amqp')}/mms", f"upstream, {passwords}/upstream.broker-password"
            ),
            Place(
                "RabbitMQ, management",
                f"http://{self._at('management')}",
                f"operator, {passwords}/operator.broker-password",
            ),
            Place("Redis", f"rediss://{self._at('redis')}/0", f"operator, {passwords}/operator.redis-password"),
            Place("Prometheus", f"http://{self._at('prometheus')}"),
            *(Place(name, f"http://{self._at(name)}/metrics") for name in ("worker-1", "worker-2", "receiver")),
            Place("callbacks", f"https://{self._at('callbacks')}", f"{passwords}/callback-token"),
            Place("simulator, API", f"https://{self._at('api')}/api/v3", f"{passwords}/app-key"),
            Place("simulator, control", f"http://{self._at('simulator')}"),
            Place("logs", _shown(self.logs)),
        )

    def _environment(self, role: str, admin: str | None) -> dict[str, str]:
        environment = {
            **self._of_broker(role),
            "MMS_REDIS_URL_FILE": str(self.secrets / f"redis-url.{role}"),
            "MMS_REDIS_CA_FILE": str(self.secrets / "ca.pem"),
            "MMS_API_URL": f"https://{self._at('api')}/api/v3",
            "MMS_API_CA_FILE": str(self.folder / "simulator" / "ca.pem"),
            "MMS_ACCOUNT": ACCOUNT,
            "MMS_APP_KEY_FILE": str(self.secrets / "app-key"),
            "MMS_RATE_PER_S": str(RATE_PER_S),
        }
        return environment if admin is None else {**environment, "MMS_ADMIN_PORT": str(self._ports[admin])}

    def _of_broker(self, role: str) -> dict[str, str]:
        return {
            "MMS_AMQP_URL_FILE": str(self.secrets / f"amqp-url.{role}"),
            "MMS_AMQP_CA_FILE": str(self.secrets / "ca.pem"),
        }

    def _tls(self, server: str) -> ServerTls:
        return ServerTls(self.secrets / "ca.pem", self.secrets / f"{server}.pem", self.secrets / f"{server}.key")

    def _at(self, what: str) -> str:
        return f"{LOOPBACK}:{self._ports[what]}"

    def _ready_url(self, name: str) -> str:
        return f"http://{self._at(name)}/readyz"


def _ports(file: Path) -> dict[str, int]:
    """The ports of this system: as they were chosen before, or chosen now."""
    if file.exists():
        chosen: dict[str, int] = json.loads(file.read_text())
        if chosen.keys() == PORTS.keys():
            return chosen
    chosen = {}
    for what, wished in PORTS.items():
        port = wished if wished and _is_free(wished) else free_port()
        while port in chosen.values():
            port = free_port()
        chosen[what] = port
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(chosen))
    fresh.replace(file)  # whole or not at all
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that ended a moment ago are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _shown(path: Path) -> str:
    """As people in the project's folder name it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
