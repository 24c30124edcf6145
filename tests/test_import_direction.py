"""Imports go one way, so that a reader can trust the layers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: What modules below a place may import of ours. The first matching place counts.
ALLOWED = {
    "worker/core": ("worker.core",),
    "worker/flow": ("worker.core", "worker.flow"),
    "worker/adapters": ("worker.core", "worker.flow", "worker.adapters"),
    "worker/app.py": ("worker",),
    "worker/parts.py": ("worker",),
    "worker/closing.py": ("worker.closing",),
    "worker/logins.py": ("worker",),
    "worker/receiver.py": ("worker",),
    "worker/commands": ("worker",),
    "worker/__main__.py": ("worker",),
    "worker/entry.py": ("worker",),
    "worker/settings": ("worker.core", "worker.settings"),
    "worker": ("worker.core",),
    "loadtest/simulator": ("loadtest.simulator",),
    "loadtest": ("loadtest", "deploy"),
    "deploy/access": ("deploy", "worker.core"),
    "deploy": ("deploy",),
}
OURS = ("worker", "loadtest", "deploy", "tests")
#: The core is pure: no clock, no I/O, no logging, no event loop.
IMPURE = {"asyncio", "time", "logging", "socket", "ssl", "os", "pathlib", "random", "structlog", "redis", "aio_pika"}
IMPURE |= {"aiormq", "aiohttp", "httpx", "prometheus_client", "subprocess", "threading"}


def modules_below(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names.add(node.module or "")
    return names


def place_of(path: Path) -> str:
    relative = path.relative_to(ROOT).as_posix()
    return next(place for place in ALLOWED if relative == place or relative.startswith(f"{place}/"))


@pytest.mark.parametrize("top", ["worker", "loadtest", "deploy"])
def test_every_import_goes_in_an_allowed_direction(top: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_below(top)
        for name in imported_by(path)
        if name.split(".")[0] in OURS and not name.startswith(ALLOWED[place_of(path)])
    ]
    assert wrong == []


def test_the_core_imports_nothing_impure() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_below("worker/core")
        for name in imported_by(path)
        if name.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_adapters_do_not_import_each_other() -> None:
    """Modules that begin with the same word are one adapter in parts; the transport is the API adapter's.

    Whom to trust, and what is wrong with a certificate, is the same question to all.
    """
    parts_of_one = {("mms_http", "http_transport"), ("rabbitmq_connection", "tls"), ("redis_connection", "tls")}
    wrong = []
    for path in modules_below("worker/adapters"):
        for name in imported_by(path):
            other = name.removeprefix("worker.adapters.")
            if other == name or other.split("_")[0] == path.stem.split("_")[0]:
                continue
            if (path.stem, other) not in parts_of_one:
                wrong.append(f"{path.name} imports {name}")
    assert wrong == []
