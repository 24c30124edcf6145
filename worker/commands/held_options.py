"""The options that the commands for held jobs share."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.held_jobs import Choice
from worker.core.durations import seconds_of
from worker.core.held_jobs import Filters, Holding

AccountOption = Annotated[str | None, typer.Option("--account", help="Only this account's jobs.")]
IdsOption = Annotated[list[str] | None, typer.Option("--id", help="Only this job; repeat for more.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only where this is part of the reason.")]
OlderOption = Annotated[
    str | None,
    typer.Option("--older-than", metavar="DURATION", help="Only what is held for longer: 90s, 15m, 2h, 1d12h."),
]
NewerOption = Annotated[
    str | None, typer.Option("--newer-than", metavar="DURATION", help="Only what is held for a shorter time.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, the oldest first.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it. Without this, only show what would be done.")]
PaceOption = Annotated[float, typer.Option("--per-s", min=0.01, help="At most so many a second.")]


def choice_of(
    holding: Holding,
    *,
    account: str | None,
    ids: list[str] | None,
    reason: str | None,
    older_than: str | None,
    newer_than: str | None,
    limit: int | None,
) -> Choice:
    """Which jobs the options name; leaves with a sentence when a duration cannot be read."""
    filters = Filters(
        account=account,
        ids=frozenset(ids or ()),
        reason=reason,
        older_than_s=_seconds(older_than, "--older-than"),
        newer_than_s=_seconds(newer_than, "--newer-than"),
    )
    return Choice(holding, filters, limit)


def _seconds(given: str | None, option: str) -> int | None:
    if given is None:
        return None
    seconds = seconds_of(given)
    if seconds is None:
        raise typer.BadParameter(f"{given!r} is no duration; write 90s, 15m, 2h or 1d12h", param_hint=option)
    return seconds
