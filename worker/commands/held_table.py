"""Held jobs for people and for programs: a table, or one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

import orjson
from rich import box
from rich.table import Table
from rich.text import Text

from worker.commands.status import duration
from worker.core.delivery import Lane
from worker.core.held_jobs import HeldJob, Holding, printable


@dataclass(frozen=True, slots=True)
class Row:
    """A held job as it is shown; nothing of its body is kept. None: not known.

    ``since``: RFC 3339. ``age_s``: held for so long. ``recipients``: how many; their numbers are never shown.
    """

    id: str | None
    account: str | None
    lane: str
    since: str | None
    age_s: int | None
    attempts: int
    recipients: int | None
    redrives: int
    resolutions: int
    why: str


def row_of(held: HeldJob, at: datetime) -> Row:
    """What is shown of a job at the moment ``at``."""
    age_s = held.age_s(at)
    return Row(
        id=None if held.job_id is None else printable(held.job_id),
        account=held.account,
        lane=held.lane.value,
        since=held.since.isoformat(timespec="seconds") if held.since else None,
        age_s=None if age_s is None else int(age_s),
        attempts=held.attempts,
        recipients=held.recipients,
        redrives=held.redrives,
        resolutions=held.resolutions,
        why=held.shown_why,
    )


def as_json(row: Row) -> str:
    """One object on a line."""
    return f"{orjson.dumps(asdict(row)).decode()}\n"


def drawn(rows: Iterable[Row], holding: Holding) -> Table:
    """The rows as a table."""
    table = Table(box=box.SIMPLE_HEAD, title=holding.value, title_justify="left", padding=(0, 1, 0, 0))
    # Folded, not cut: an id is there to be copied.
    table.add_column("id", overflow="fold")
    table.add_column("account", overflow="fold")
    table.add_column("since", no_wrap=True)
    # How often a dead letter was tried again, or a job in doubt resolved, tells whether another time may help.
    again = "re-\ntried" if holding is Holding.DEAD else "re-\nsolved"
    for name in ("age", "att-\nempts", "to", again):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in rows:
        # As Text: what a job says of itself is no markup.
        table.add_row(*map(Text, _cells(row, holding)))
    return table


def _cells(row: Row, holding: Holding) -> tuple[str, ...]:
    account = row.account or "-"
    return (
        row.id or "-",
        account if row.lane == Lane.BULK.value else f"{account} {row.lane}",
        "-" if row.since is None else row.since[5:16].replace("T", " "),
        duration(row.age_s),
        str(row.attempts),
        "-" if row.recipients is None else f"{row.recipients:,}",
        str(row.redrives if holding is Holding.DEAD else row.resolutions),
        row.why,
    )
