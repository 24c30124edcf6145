"""``mms-worker dead-letters``: look at the jobs in mms.dead, try them again, or throw them away."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import typer

from worker.closing import ClosingStack
from worker.commands.held_jobs import (
    PER_S,
    Choice,
    Deciding,
    act,
    broker_settings_or_exit,
    kept_of,
    list_held,
    preview_act,
)
from worker.commands.held_options import (
    AccountOption,
    IdsOption,
    JsonOption,
    LimitOption,
    NewerOption,
    OlderOption,
    PaceOption,
    ReasonOption,
    YesOption,
    choice_of,
)
from worker.core.held_jobs import HeldJob, Holding
from worker.core.redrive import Decision, drop, retry

HELP = """Look at the dead letters (jobs that could not be processed), try them again, or throw them away.

Needs MMS_AMQP_URL only. What changes something is a dry run, unless --yes is given.

[bold]Examples[/bold]

\b
  mms-worker dead-letters list
  mms-worker dead-letters retry --reason "gave up after" --yes
  mms-worker dead-letters drop --older-than 30d --yes
"""

_LIST_HELP = """List the dead letters: id, account, since when, attempts, number of recipients, and why.

Changes nothing. Phone numbers are never shown; the whole reasons are in the header x-mms-reasons.
Exit code 0; 1 when the broker failed on the way, 2 when it cannot be reached.

[bold]Examples[/bold]

\b
  mms-worker dead-letters list --account campaign --newer-than 2h
  mms-worker dead-letters list --json | jq -r .id
"""

_RETRY_HELP = """Try dead letters again: each goes back to its account's queue as a fresh job, and leaves mms.dead.

For jobs whose cause is gone: a picture that is there again, a network that was down. A job that breaks a rule comes
straight back; publish it corrected instead. One that came back three times stays, unless --force is given.
Nothing is sent twice by it: what was sent after all is known by its id. Without --yes it only shows what it would do.
Exit code 0: all done; 1: some stay, or the broker failed; 2: could not start; 130: interrupted.

[bold]Examples[/bold]

\b
  mms-worker dead-letters retry --account campaign --reason "media.url"
  mms-worker dead-letters retry --account campaign --reason "media.url" --yes
  mms-worker dead-letters retry --id order-8841-shipped --force --yes
"""

_DROP_HELP = """Throw dead letters away, for good. Their events (mms.job.dead) were told when they died.

Without --yes it only shows what it would do.
Exit code 0: all done; 1: some stay, or the broker failed; 2: could not start; 130: interrupted.

[bold]Examples[/bold]

\b
  mms-worker dead-letters drop --older-than 30d
  mms-worker dead-letters drop --older-than 30d --yes
"""


def dead_letters_cli() -> typer.Typer:
    """The commands below ``dead-letters``."""
    cli = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")
    cli.command("list", help=_LIST_HELP)(list_)
    cli.command("retry", help=_RETRY_HELP)(retry_)
    cli.command("drop", help=_DROP_HELP)(drop_)
    return cli


def list_(
    *,
    account: AccountOption = None,
    job_id: IdsOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters."""
    choice = choice_of(
        Holding.DEAD,
        account=account,
        ids=job_id,
        reason=reason,
        older_than=older_than,
        newer_than=newer_than,
        limit=limit,
    )
    raise typer.Exit(list_held(broker_settings_or_exit(), choice, is_json=as_json))


def retry_(
    *,
    account: AccountOption = None,
    job_id: IdsOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    per_s: PaceOption = PER_S,
    force: Annotated[bool, typer.Option("--force", help="Also what came back three times before.")] = False,
    yes: YesOption = False,
) -> None:
    """Try dead letters again."""
    choice = choice_of(
        Holding.DEAD,
        account=account,
        ids=job_id,
        reason=reason,
        older_than=older_than,
        newer_than=newer_than,
        limit=limit,
    )

    def decide(held: HeldJob) -> Decision:
        return retry(held, is_forced=force)

    raise typer.Exit(_act(choice, decide, what="try them again", per_s=per_s, is_sure=yes))


def drop_(
    *,
    account: AccountOption = None,
    job_id: IdsOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    yes: YesOption = False,
) -> None:
    """Throw dead letters away."""
    choice = choice_of(
        Holding.DEAD,
        account=account,
        ids=job_id,
        reason=reason,
        older_than=older_than,
        newer_than=newer_than,
        limit=limit,
    )
    raise typer.Exit(_act(choice, drop, what="throw them away", per_s=math.inf, is_sure=yes))


def _act(choice: Choice, decide: Callable[[HeldJob], Decision], *, what: str, per_s: float, is_sure: bool) -> int:
    settings = broker_settings_or_exit()
    if not is_sure:
        return preview_act(settings, choice, lambda held: kept_of(decide(held)), what=what)

    async def opened(_: ClosingStack) -> Deciding:
        async def decided(held: HeldJob) -> Decision:
            return decide(held)

        return Deciding(decided)

    return act(settings, choice, opened, per_s=per_s)
