"""The table of faults in README.md names every fault that has to be survived, and only tests that exist."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
README = TESTS / "README.md"

#: Every fault that has to be survived, by the section of the table in which it has a row, or more than one.
FAULTS = {
    "Process": (
        "kill -9 after deliver",
        "kill -9 after slot",
        "kill -9 after intent",
        "kill -9 mid-upload",
        "kill -9 after the request",
        "kill -9 before the journal",
        "kill -9 before the event",
        "kill -9 before the ack",
        "kill -9 between re-publish and ack",
        "kill -9 during drain",
        "kill -9 at any moment",
        "kill -9 of all workers at once",
        "SIGTERM under load",
        "SIGTERM with a stuck call",
        "SIGTERM twice",
        "SIGSTOP, then SIGCONT",
        "rolling upgrade",
        "message that crashes the worker each time",
    ),
    "Broker": (
        "restart",
        "kill -9",
        "permission revoked",
        "TLS: certificate expired, for another host, of an unknown authority",
        "password renewed",
        "only the rights of the deployment",
        "consumer timeout",
        "partition both ways",
        "partition one way",
        "half-open",
        "reset",
        "slow",
        "memory or disk alarm",
        "queue deleted",
        "consumer cancelled by the server",
        "queue re-declared with other arguments",
        "duplicate publish",
        "unroutable",
        "confirm nack",
        "stale delivery tag after reconnect",
    ),
    "Redis": (
        "restart with persistence",
        "restart without persistence",
        "all memory lost while no worker runs",
        "kill -9",
        "FLUSHALL",
        "failover to a lagging replica",
        "latency of 50 ms to 5 s",
        "black hole",
        "clock jump",
        "OOM",
        "NOSCRIPT",
        "READONLY",
        "wrong password",
        "TLS: certificate expired, for another host, of an unknown authority",
        "only the rights of the deployment",
        "eviction",
        "key of the wrong type",
    ),
    "API": (
        "every row of the outcome table",
        "slow headers",
        "slow body",
        "one byte a second",
        "keep-alive closed at the idle edge",
        "TLS expired",
        "TLS for the wrong host",
        "TLS of an unknown CA",
        "DNS gone",
        "key revoked and restored",
        "no credit",
        "limit lowered and raised",
        "out for 30 minutes, then back",
        "unknown new fields",
    ),
    "Callbacks": (
        "wrong secret",
        "replayed",
        "out of order",
        "before the send's answer",
        "unknown id",
        "flood",
        "broker or Redis down",
        "kill -9 of a receiver",
        "broken body",
        "pages that shift",
    ),
}
COLUMNS = 4
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)(?:\[([^\]]+)\])?`")


@dataclass(frozen=True)
class Row:
    section: str
    fault: str
    cells: tuple[str, ...]
    tests: tuple[tuple[str, str, str], ...]
    """File, function, and the word for the case, if there is one."""


def rows() -> list[Row]:
    found, section = [], ""
    for line in README.read_text().splitlines():
        if line.startswith("### "):
            section = line.removeprefix("### ")
        elif section and line.startswith("| ") and not line.startswith(("| fault ", "|---")):
            cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
            found.append(Row(section, cells[0], cells, tuple(TEST.findall(cells[-1]))))
    return found


@cache
def source_of(file: str) -> ast.Module:
    return ast.parse((TESTS / file).read_text())


ROWS = rows()


@pytest.mark.parametrize("section", FAULTS)
def test_every_fault_has_a_row(section: str) -> None:
    missing = set(FAULTS[section]) - {row.fault for row in ROWS if row.section == section}
    assert missing == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.fault}")
def test_every_row_is_whole_and_names_tests_that_exist(row: Row) -> None:
    assert len(row.cells) == COLUMNS
    assert all(row.cells)
    assert row.tests, "no test"
    assert TEST.sub("", row.cells[-1]).strip(" ,") == "", "something in the last column is no test"
    for file, function, case in row.tests:
        defined = {node.name for node in ast.walk(source_of(file)) if hasattr(node, "name")}
        assert function in defined, f"{file} has no {function}"
        # A case's id is a string there, a name, or made of several.
        words = {
            str(getattr(node, "value", getattr(node, "id", "")))
            for node in ast.walk(source_of(file))
            if isinstance(node, ast.Constant | ast.Name)
        }
        assert not case or case in words, f"{file} has no case {case}"


def test_no_row_is_there_twice() -> None:
    named = [(row.section, row.fault) for row in ROWS]
    assert len(named) == len(set(named))
