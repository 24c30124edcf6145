"""The servers as the deployment has them: TLS alone, users with exact rights, and certificates that are really checked.

The end-to-end tests' broker and Redis are such ones, unless ``MMS_TEST_DEPLOYED=0`` says otherwise. What tests do to
them from outside, they do as an administrator; each process of the product gets the user that is meant for it.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis import Redis as Client

from deploy.access.broker import ROLES as BROKER_ROLES
from deploy.access.certificates import issue
from deploy.access.installation import DEFINITIONS, USERS_ACL, store_users, users_with_passwords, with_passwords
from deploy.local import RabbitMQ, Redis
from deploy.local.redis_server import USER
from deploy.local.server_tls import ServerTls

IS_DEPLOYED = os.environ.get("MMS_TEST_DEPLOYED") != "0"
#: No secret is worth more than the servers, which live for a test run and on the loopback address.
PASSWORD = "of-this-test-run"
#: "access to queue 'x' in vhost 'y' refused for user 'worker'"; later versions say which access before it.
_REFUSED = re.compile(rf"access to .* refused for user '({'|'.join(role.name for role in BROKER_ROLES)})'")
#: Who the product is at the broker and at Redis, by its command; people's commands are the operator's.
ROLES = {"run": "worker", "receive": "receiver", "publish": "upstream"}


@cache
def certificates() -> ServerTls:
    """Of this process alone, and gone with it."""
    folder = Path(tempfile.mkdtemp(prefix="mms-test-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return tls_files(folder, "127.0.0.1", "localhost")


def tls_files(folder: Path, *hosts: str, **validity: Any) -> ServerTls:
    """A new authority, and a certificate by it for ``hosts``."""
    issued = issue({"server": hosts}, **validity)
    certificate, key = issued.servers["server"]
    files = ServerTls(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    for path, text in zip(
        (files.authority, files.certificate, files.key), (issued.authority, certificate, key), strict=True
    ):
        path.write_text(text)
    return files


def definitions() -> dict[str, Any]:
    """The committed ones, in which everybody can log in."""
    committed = json.loads(DEFINITIONS.read_text())
    return with_passwords(committed, {user["name"]: PASSWORD for user in committed["users"]})


def users() -> list[str]:
    """The lines of the committed ACL file, with which everybody can log in."""
    lines = USERS_ACL.read_text().splitlines()
    return users_with_passwords(lines, dict.fromkeys(store_users(lines), PASSWORD))


def make_rabbitmq(*, management: bool = False, config: str = "", is_deployed: bool = IS_DEPLOYED) -> RabbitMQ:
    """A broker for tests, as the deployment has it if that is asked for."""
    if not is_deployed:
        return RabbitMQ(management=management, config=config)
    return RabbitMQ(management=management, config=config, tls=certificates(), definitions=definitions())


def make_redis(*, append_only: bool = False, is_deployed: bool = IS_DEPLOYED) -> Redis:
    """A Redis for tests, as the deployment has it if that is asked for."""
    if not is_deployed:
        return Redis(append_only=append_only)
    return Redis(append_only=append_only, tls=certificates(), users=users())


def rights_of_a_worker() -> tuple[str, tuple[str, str, str]]:
    """Who a worker is at the broker, and what it may configure, write and read."""
    if not IS_DEPLOYED:
        return USER, (".*", ".*", ".*")
    (rights,) = (each for each in definitions()["permissions"] if each["user"] == "worker")
    return "worker", (rights["configure"], rights["write"], rights["read"])


def refused_by_broker(rabbitmq: RabbitMQ, vhost: str) -> list[str]:
    """What the deployment's users were refused in ``vhost`` for want of a right, since the broker was started."""
    with (rabbitmq.folder / "rabbitmq.log").open(errors="replace") as log:
        return [line for line in log if f"vhost '{vhost}'" in line and _REFUSED.search(line)]


def refused_by_redis(redis: Redis) -> list[str]:
    """What was refused for want of a right since the last question, but for logins."""
    if not IS_DEPLOYED:
        return []
    with Client.from_url(redis.url, decode_responses=True) as client:
        entries: Any = client.acl_log()
        client.acl_log_reset()
    return [f"{entry['username']}: {entry['object']}" for entry in entries if entry["reason"] != "auth"]


def as_user(url: str, role: str) -> str:
    """An administrator's address made that of ``role``."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()


def let_follow(replica: Client, master: Redis) -> None:
    """Have ``replica`` able to log in at ``master``, where that takes a login."""
    parts = urlsplit(master.url)
    if parts.scheme == "rediss":
        replica.config_set("tls-replication", "yes")
        replica.config_set("masteruser", str(parts.username))
        replica.config_set("masterauth", str(parts.password))


def as_deployed(settings: Mapping[str, str], command: str) -> dict[str, str]:
    """``settings`` with an administrator's addresses in a deployment made those of who runs ``command``."""
    role = ROLES.get(command, "operator")
    made = dict(settings)
    for name, parameter in (("MMS_AMQP", "cafile"), ("MMS_REDIS", "ssl_ca_certs")):
        parts = urlsplit(made[f"{name}_URL"])
        if parts.username != USER or parameter not in parts.query:
            continue
        made[f"{name}_URL"] = as_user(parts._replace(query="").geturl(), role)
        made[f"{name}_CA_FILE"] = parse_qs(parts.query)[parameter][0]
    return made
