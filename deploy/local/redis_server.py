"""A private Redis."""

import os
from collections.abc import Sequence
from pathlib import Path

from deploy.local.guarded import Command
from deploy.local.handshake import redis_flush, redis_process_id
from deploy.local.located import Native, search_path
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.private_server import HANDSHAKE_S_MAX, PrivateServer
from deploy.local.runners import Plan

DATABASES = 256


class Redis(PrivateServer):
    """Without `append_only` it forgets everything when it ends; with it, `kill` loses nothing that it answered.

    It never evicts. `settings` are further command-line settings (`("--maxmemory", "5mb")`), for servers that
    run as processes.
    """

    service = "redis"
    title = "Redis"

    def __init__(self, *, append_only: bool = False, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self._append_only = append_only
        self._settings = tuple(settings)
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """`database` is below DATABASES."""
        return f"redis://{LOOPBACK}:{self._port}/{database}"

    def flush(self, database: int) -> None:
        redis_flush(self._port, database, wait_s=HANDSHAKE_S_MAX)

    def _choose_ports(self) -> None:
        self._port = free_port()

    def _is_ready(self) -> bool:
        process_id = redis_process_id(self._port, wait_s=HANDSHAKE_S_MAX)
        # Another Redis may have been quicker to take the port; in a container ours is process 1.
        return process_id is not None and process_id in {1, self.pid}

    def _plan(self) -> Plan:
        append_only = "yes" if self._append_only else "no"
        variables = {"MMS_LOCAL_REDIS_PORT": str(self._port), "MMS_LOCAL_REDIS_APPEND_ONLY": append_only}
        if not isinstance(self._located, Native):
            return Plan(commands=(), variables=variables)
        folder: Path = self._runner.folder
        options = {
            "port": str(self._port),
            "bind": LOOPBACK,
            "dir": str(folder),
            "databases": str(DATABASES),
            "save": "",
            "appendonly": append_only,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
        }
        argv = [str(self._located.redis_server)]
        argv += [part for name, value in options.items() for part in (f"--{name}", value)]
        command = Command(
            name="redis",
            argv=(*argv, *self._settings),
            env={"PATH": search_path(), "HOME": str(folder), "TZ": os.environ.get("TZ", "")},
            log=folder / "redis.log",
        )
        return Plan(commands=(command,), variables=variables)
