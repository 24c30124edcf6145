"""A private Redis."""

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from deploy.local.failure import ServerError
from deploy.local.guarded import Command
from deploy.local.handshake import redis_flush, redis_process_id
from deploy.local.located import Native, search_path
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.private_server import HANDSHAKE_S_MAX, PrivateServer
from deploy.local.runners import Plan
from deploy.local.server_tls import ServerTls

DATABASES = 256
USER = "mms"


class Redis(PrivateServer):
    """Without `append_only` it forgets everything when it ends; with it, `kill` loses nothing that it answered.

    It never evicts. For servers that run as processes: `settings` are further command-line settings (`("--maxmemory",
    "5mb")`); with `tls` it speaks nothing else; with `users`, the lines of an ACL file, nobody gets in without a login
    (`url` is that of an administrator); `fixed_port` and `folder` let it begin where it ended.
    """

    service = "redis"
    title = "Redis"

    def __init__(
        self,
        *,
        append_only: bool = False,
        settings: Sequence[str] = (),
        tls: ServerTls | None = None,
        users: Sequence[str] = (),
        fixed_port: int | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(folder=folder)
        self._append_only = append_only
        self._settings = tuple(settings)
        self._tls = tls
        self._users = tuple(users)
        self._password = secrets.token_hex(8)
        self._port = fixed_port or 0
        self._has_ports = fixed_port is not None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """`database` is below DATABASES."""
        scheme, trust = ("redis", "") if self._tls is None else ("rediss", f"?ssl_ca_certs={self._tls.authority}")
        login = f"{USER}:{self._password}@" if self._users else ""
        return f"{scheme}://{login}{LOOPBACK}:{self._port}/{database}{trust}"

    def flush(self, database: int) -> None:
        redis_flush(self._port, database, wait_s=HANDSHAKE_S_MAX, login=self._login, over_tls=self._tls is not None)

    @property
    def _login(self) -> str:
        return f"{USER} {self._password}" if self._users else ""

    def _choose_ports(self) -> None:
        self._port = free_port()

    def _is_ready(self) -> bool:
        process_id = redis_process_id(
            self._port, wait_s=HANDSHAKE_S_MAX, login=self._login, over_tls=self._tls is not None
        )
        # Another Redis may have been quicker to take the port; in a container ours is process 1.
        return process_id is not None and process_id in {1, self.pid}

    def _plan(self) -> Plan:
        append_only = "yes" if self._append_only else "no"
        variables = {"MMS_LOCAL_REDIS_PORT": str(self._port), "MMS_LOCAL_REDIS_APPEND_ONLY": append_only}
        if not isinstance(self._located, Native):
            if self._tls or self._users:
                raise ServerError("Redis takes certificates and users only as a process here.")
            return Plan(commands=(), variables=variables)
        folder: Path = self._runner.folder
        options = {
            **self._listener(),
            **self._with_users(folder),
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

    def _listener(self) -> dict[str, str]:
        if self._tls is None:
            return {"port": str(self._port)}
        return {
            "port": "0",
            "tls-port": str(self._port),
            "tls-ca-cert-file": str(self._tls.authority),
            "tls-cert-file": str(self._tls.certificate),
            "tls-key-file": str(self._tls.key),
            "tls-auth-clients": "no",
        }

    def _with_users(self, folder: Path) -> dict[str, str]:
        if not self._users:
            return {}
        file = folder / "users.acl"
        administrator = f"user {USER} on #{hashlib.sha256(self._password.encode()).hexdigest()} ~* &* +@all"
        file.touch(mode=0o600)
        file.write_text("\n".join([*self._users, administrator, ""]))
        return {"aclfile": str(file)}
