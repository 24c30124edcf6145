"""A private RabbitMQ: own node name, cookie, epmd, ports and data, on the loopback address only."""

import base64
import http.client
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.local.failure import ServerError
from deploy.local.guarded import Command
from deploy.local.handshake import amqp_login_works
from deploy.local.located import Native, search_path
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.private_server import HANDSHAKE_S_MAX, PrivateServer
from deploy.local.runners import ComposeRunner, Plan, run_once
from deploy.local.server_tls import ServerTls

USER = "mms"
MANAGEMENT_S_MAX = 10.0
CONTROL_S_MAX = 30.0
SCHEDULERS = 2

QUICK_ERLANG_LIBRARIES = ("compiler", "xmerl", "inets", "mnesia", "ssl", "kernel", "stdlib")
QUICK_PLUGINS = ("cuttlefish", "ra", "rabbitmq_prelaunch", "ranch", "osiris", "rabbit_common", "rabbit")
"""Where nearly all modules that RabbitMQ loads at start come from. The Erlang code path has some hundred
folders, and before Erlang 26 each module is looked for in all of them: with these in front, starting takes
3.5 s instead of 7.5 s (RabbitMQ 3.10 on Erlang 25)."""


class RabbitMQ(PrivateServer):
    """One node, its user an administrator.

    `management` adds the HTTP interface (`management_url`; a second longer to start), and with it `add_vhost`
    and `delete_vhost`. For servers that run as processes: `config` is further lines of rabbitmq.conf; with `tls` it
    speaks nothing else; `definitions`, of one vhost, are what it begins with, and what each further vhost gets too;
    `ports` (AMQP, management, epmd) and `folder` let it begin where it ended.
    """

    service = "rabbitmq"
    title = "RabbitMQ"

    def __init__(
        self,
        *,
        management: bool = False,
        config: str = "",
        tls: ServerTls | None = None,
        definitions: Mapping[str, Any] | None = None,
        ports: tuple[int, int, int] | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(folder=folder)
        self._management = management
        self._config = config
        self._tls = tls
        self._definitions = definitions
        self._vhost = "/" if definitions is None else definitions["vhosts"][0]["name"]
        self._password = secrets.token_hex(8)
        self._port, self._management_port, self._epmd_port = ports or (0, 0, 0)
        self._has_ports = ports is not None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return self.url_of(self._vhost)

    def url_of(self, vhost: str) -> str:
        path = "" if vhost == "/" else quote(vhost, safe="")
        scheme, trust = ("amqp", "") if self._tls is None else ("amqps", f"?cafile={self._tls.authority}")
        return f"{scheme}://{USER}:{self._password}@{LOOPBACK}:{self._port}/{path}{trust}"

    @property
    def ports(self) -> tuple[int, int, int]:
        """AMQP, management, epmd."""
        return self._port, self._management_port, self._epmd_port

    @property
    def management_url(self) -> str:
        return f"http://{USER}:{self._password}@{LOOPBACK}:{self._management_port}"

    def add_vhost(self, vhost: str) -> str:
        """Its URL. Takes some 30 ms."""
        name = quote(vhost, safe="")
        self._manage("PUT", f"/api/vhosts/{name}", "{}")
        everything = '{"configure": ".*", "write": ".*", "read": ".*"}'
        self._manage("PUT", f"/api/permissions/{name}/{USER}", everything)
        if self._definitions is not None:
            for each in self._definitions["permissions"]:
                self._manage("PUT", f"/api/permissions/{name}/{each['user']}", json.dumps(each))
            self._manage("POST", f"/api/definitions/{name}", json.dumps(topology_alone(self._definitions)))
        return self.url_of(vhost)

    def delete_vhost(self, vhost: str) -> None:
        self._manage("DELETE", f"/api/vhosts/{quote(vhost, safe='')}", "")

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl ARGUMENTS` prints; it takes a second or two. Raises ServerError."""
        if isinstance(self._runner, ComposeRunner):
            return self._runner.execute("rabbitmqctl", *arguments)
        script = self._native.rabbitmq_script.with_name("rabbitmqctl")
        return run_once((str(script), "--quiet", *arguments), self._environment(), CONTROL_S_MAX)

    @property
    def _native(self) -> Native:
        if not isinstance(self._located, Native):
            raise ServerError("RabbitMQ runs in a container here, not as a process.")
        return self._located

    def _choose_ports(self) -> None:
        self._port, self._management_port, self._epmd_port = free_port(), free_port(), free_port()

    def _is_ready(self) -> bool:
        # The password is random: a login proves that it is this server and no other.
        over_tls = self._tls is not None
        if not amqp_login_works(
            self._port, USER, self._password, self._vhost, wait_s=HANDSHAKE_S_MAX, over_tls=over_tls
        ):
            return False
        if not self._management:
            return True
        try:
            self._manage("GET", "/api/whoami", "")
        except (ServerError, OSError, http.client.HTTPException):
            return False
        return True

    def _manage(self, method: str, path: str, body: str) -> None:
        if not self._management:
            raise ServerError("This RabbitMQ was made without management=True.")
        token = base64.b64encode(f"{USER}:{self._password}".encode()).decode()
        headers = {"authorization": f"Basic {token}", "content-type": "application/json"}
        connection = http.client.HTTPConnection(LOOPBACK, self._management_port, timeout=MANAGEMENT_S_MAX)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            told = response.read()
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise ServerError(f"RabbitMQ answered {response.status} to {method} {path}: {told.decode()}")

    def _plan(self) -> Plan:
        variables = {
            "MMS_LOCAL_AMQP_PORT": str(self._port),
            "MMS_LOCAL_MANAGEMENT_PORT": str(self._management_port),
            "MMS_LOCAL_AMQP_USER": USER,
            "MMS_LOCAL_AMQP_PASSWORD": self._password,
        }
        if not isinstance(self._located, Native):
            if self._tls or self._definitions:
                raise ServerError("RabbitMQ takes certificates and definitions only as a process here.")
            return Plan(commands=(), variables=variables)
        folder = self._runner.folder
        (folder / "home").mkdir(exist_ok=True)
        if self._definitions is not None:
            (folder / "definitions.json").write_text(json.dumps(self._with_administrator(self._definitions)))
        (folder / "rabbitmq.conf").write_text(self._settings())
        (folder / "enabled_plugins").write_text("[rabbitmq_management]." if self._management else "[].")
        environment = self._environment()
        epmd = (str(self._located.epmd), "-port", str(self._epmd_port), "-address", LOOPBACK)
        return Plan(
            commands=(
                Command(name="epmd", argv=epmd, env=environment, log=folder / "epmd.log"),
                Command(
                    name="rabbitmq",
                    argv=(str(self._located.rabbitmq_script),),
                    env=environment,
                    log=folder / "rabbitmq.log",
                ),
            ),
            variables=variables,
        )

    def _settings(self) -> str:
        lines = [
            *self._listeners(),
            *self._beginning(),
            # A small or full machine must not raise an alarm, which would block every publisher.
            "disk_free_limit.absolute = 1MB",
            "vm_memory_high_watermark.relative = 0.9",
            "log.file = false",
            "log.console = true",
            "log.console.level = info",
        ]
        if self._management:
            lines += [f"management.tcp.ip = {LOOPBACK}", f"management.tcp.port = {self._management_port}"]
        return "\n".join([*lines, self._config, ""])

    def _listeners(self) -> list[str]:
        if self._tls is None:
            return [f"listeners.tcp.1 = {LOOPBACK}:{self._port}"]
        return [
            "listeners.tcp = none",
            f"listeners.ssl.1 = {LOOPBACK}:{self._port}",
            f"ssl_options.cacertfile = {self._tls.authority}",
            f"ssl_options.certfile = {self._tls.certificate}",
            f"ssl_options.keyfile = {self._tls.key}",
            "ssl_options.verify = verify_none",
        ]

    def _beginning(self) -> list[str]:
        if self._definitions is None:
            return [f"default_user = {USER}", f"default_pass = {self._password}"]
        return [f"load_definitions = {self._runner.folder / 'definitions.json'}"]

    def _with_administrator(self, definitions: Mapping[str, Any]) -> dict[str, Any]:
        """A node that begins with definitions makes no user by itself."""
        user = {"name": USER, "password": self._password, "tags": ["administrator"]}
        everything = {"user": USER, "vhost": self._vhost, "configure": ".*", "write": ".*", "read": ".*"}
        return {
            **definitions,
            "users": [*definitions["users"], user],
            "permissions": [*definitions["permissions"], everything],
        }

    def _environment(self) -> dict[str, str]:
        """All of it: nothing of RabbitMQ's or Erlang's settings on this machine is looked at."""
        folder = self._runner.folder
        node = f"mms-{self._port}@{LOOPBACK}"
        erlang = [
            # Named on the command line, the node need not start another Erlang to look for epmd first.
            *("-name", node),
            *("-start_epmd", "false"),
            *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
            *("+S", f"{SCHEDULERS}:{SCHEDULERS}"),
            # Schedulers that spin while they wait for work would take the cores from whoever else runs here.
            *("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
            *self._quick_code_path(),
        ]
        return {
            "PATH": search_path(),
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP": os.devnull,
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # The start script then becomes the server (exec) instead of waiting for it as its parent.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(erlang),
        }

    def _quick_code_path(self) -> list[str]:
        plugins = self._native.rabbitmq_script.resolve().parents[1] / "plugins"
        above = self._native.epmd.resolve().parents
        erlang = next((each / "lib" for each in above if _newest(each / "lib", "kernel")), Path("/none"))
        wanted = [(erlang, name) for name in QUICK_ERLANG_LIBRARIES] + [(plugins, name) for name in QUICK_PLUGINS]
        folders = [_newest(root, name) for root, name in wanted]
        # The start script splits its arguments at spaces: a path with one would be two.
        found = [str(each) for each in folders if each and " " not in str(each)]
        return ["-pa", *found] if found else []


def topology_alone(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """What can be put into any vhost: exchanges, queues and bindings, without the name of theirs."""
    return {
        kind: [{name: value for name, value in each.items() if name != "vhost"} for each in definitions[kind]]
        for kind in ("exchanges", "queues", "bindings")
    }


def _newest(root: Path, library: str) -> Path | None:
    return max(root.glob(f"{library}-[0-9]*/ebin"), default=None)
