"""The secrets of one installation: made once, kept, and put where each belongs.

The folder is for its owner alone; the files in it can be read by everybody who gets that far, since containers read
them under users of their own. What exists is kept, so that passwords and certificates stay as they are; only
`definitions.json` and `users.acl`, which are made of the committed files and the passwords, are written anew, and so
are the addresses that hold passwords.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.access.certificates import Issued, issue

ROOT: Final = Path(__file__).resolve().parents[2]
DEFINITIONS: Final = ROOT / "deploy" / "rabbitmq" / "definitions.json"
USERS_ACL: Final = ROOT / "deploy" / "redis" / "users.acl"

PASSWORD_BYTES: Final = 24
_SALT_BYTES: Final = 4
_FOLDER_MODE, _FILE_MODE = 0o700, 0o444
#: A certificate, and its key.
_KINDS: Final = ("pem", "key")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where the parts are found, as certificates and addresses name them; `host` or, for addresses, `host:port`."""

    broker: str = "rabbitmq:5671"
    store: str = "redis:6379"
    receiver: str = "receiver:8443"


def prepare(
    folder: Path, hosts: Hosts, *, account: str = "default", callbacks_ca_file: Path = Path("/run/secrets/ca.pem")
) -> None:
    """Have everything in `folder` that `python -m deploy.access --help` lists.

    `callbacks_ca_file`: where the simulator finds the authority of the receiver's certificate.
    """
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    folder.chmod(_FOLDER_MODE)
    committed = json.loads(DEFINITIONS.read_text())
    lines = USERS_ACL.read_text().splitlines()
    (vhost,) = (each["name"] for each in committed["vhosts"])
    broker_passwords = {
        name: kept(folder / f"{name}.broker-password", new_secret)
        for name in (user["name"] for user in committed["users"])
    }
    redis_passwords = {name: kept(folder / f"{name}.redis-password", new_secret) for name in store_users(lines)}
    for name, password in broker_passwords.items():
        put(folder / f"amqp-url.{name}", f"amqps://{name}:{password}@{hosts.broker}/{vhost}")
    for name, password in redis_passwords.items():
        put(folder / f"redis-url.{name}", f"rediss://{name}:{password}@{hosts.store}/0")
    put(folder / "definitions.json", json.dumps(without_streams(with_passwords(committed, broker_passwords)), indent=2))
    put(folder / "users.acl", "\n".join([*users_with_passwords(lines, redis_passwords), ""]))
    app_key = kept(folder / "app-key", new_secret)
    token = kept(folder / "callback-token", new_secret)
    kept(folder / "grafana.password", new_secret)
    _certificates(folder, hosts)
    callbacks = {
        app_key: {
            "url": f"https://{hosts.receiver}/callbacks/{account}/{token}",
            "ca_file": str(callbacks_ca_file),
        }
    }
    put(folder / "simulator-callbacks.json", json.dumps(callbacks))


def _certificates(folder: Path, hosts: Hosts) -> None:
    """All of them by one authority, whose own key is kept nowhere: without one of them all are made anew."""
    authority = folder / "ca.pem"
    named = {"rabbitmq": hosts.broker, "redis": hosts.store, "receiver": hosts.receiver}
    if all(path.exists() for path in (authority, *(folder / f"{name}.{kind}" for name in named for kind in _KINDS))):
        return
    authority.unlink(missing_ok=True)  # and written last: with it all are there, and belong together
    issued: Issued = issue({name: (host.partition(":")[0], "localhost", "127.0.0.1") for name, host in named.items()})
    for name, (certificate, key) in issued.servers.items():
        for kind, text in zip(_KINDS, (certificate, key), strict=True):
            put(folder / f"{name}.{kind}", text)
    put(authority, issued.authority)


# --- The broker's users -----------------------------------------------------------------------------------


def with_passwords(definitions: Mapping[str, Any], passwords: Mapping[str, str]) -> dict[str, Any]:
    """`definitions` in which these users can log in."""
    users = [
        {**user, "password_hash": password_hash(passwords[user["name"]])} if user["name"] in passwords else user
        for user in definitions["users"]
    ]
    return {**definitions, "users": users}


def without_streams(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """What a node can load at each start: one that has a stream already does not come up with it in there.

    See https://github.com/rabbitmq/rabbitmq-server/issues/14772. Workers declare what is missing.
    """
    streams = {each["name"] for each in definitions["queues"] if each["arguments"].get("x-queue-type") == "stream"}
    return {
        **definitions,
        "queues": [each for each in definitions["queues"] if each["name"] not in streams],
        "bindings": [each for each in definitions["bindings"] if each["destination"] not in streams],
    }


def password_hash(password: str) -> str:
    """As RabbitMQ keeps it: https://www.rabbitmq.com/docs/passwords#computing-password-hash."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


# --- Redis' users -----------------------------------------------------------------------------------------


def store_users(lines: list[str]) -> list[str]:
    """Who is in the file, without Redis' own default user."""
    return [name for name in (line.split()[1] for line in lines) if name != "default"]


def users_with_passwords(lines: list[str], passwords: Mapping[str, str]) -> list[str]:
    """The lines of an ACL file, in which these users can log in."""
    return [_with_password(line, passwords.get(line.split()[1])) for line in lines]


def _with_password(line: str, password: str | None) -> str:
    if password is None:
        return line
    return f"{line} #{hashlib.sha256(password.encode()).hexdigest()}"


# --- Files ------------------------------------------------------------------------------------------------


def new_secret() -> str:
    """Fits into addresses and headers as it is."""
    return secrets.token_hex(PASSWORD_BYTES)


def kept(path: Path, make: Callable[[], str]) -> str:
    """What is in the file; made and written when there is nothing."""
    found = path.read_text().strip() if path.exists() else ""
    if found:
        return found
    made = make()
    put(path, made)
    return made


def put(path: Path, content: str) -> None:
    """Have this in the file. One that is there is written in place: a container may have it mounted.

    A new one is there whole or not at all: a disk that is full must not leave an empty password.
    """
    if path.exists():
        if path.read_text() == content:
            return
        path.chmod(0o600)
        path.write_text(content)
        path.chmod(_FILE_MODE)
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(content)
    fresh.chmod(_FILE_MODE)
    fresh.replace(path)
