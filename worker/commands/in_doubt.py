"""``mms-worker in-doubt``: look at the jobs of which nobody knows whether they were sent, and decide about them."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

import typer

from worker.closing import ClosingStack
from worker.commands.held_jobs import (
    PER_S,
    Choice,
    Deciding,
    Stopped,
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
from worker.commands.terminal import settings_or_exit
from worker.core.events import ResolvedBy
from worker.core.held_jobs import HeldJob, Holding
from worker.core.journal import GIVEN_UP, RELEASED, SENT
from worker.core.redrive import Decision, Done, Kept, asked_for
from worker.core.resolution import Grounds
from worker.flow.observations import Observation
from worker.flow.pipeline import utc_now
from worker.flow.ports import JournalAway
from worker.flow.resolving import decided, tell_done
from worker.parts import build_groups, build_journal, open_redis

HELP = """Look at the jobs in doubt (sent or not, nobody knows), have them sent again, or settle them.

What changes something is a dry run, unless --yes is given. It needs the worker's settings: broker and Redis.

[bold]Examples[/bold]

\b
  mms-worker in-doubt list
  mms-worker in-doubt settle --as sent --id order-8841-shipped --yes
  mms-worker in-doubt resend --account campaign --reason "HTTP 502" --yes
"""

_LIST_HELP = """List the jobs in doubt: id, account, since when, attempts, number of recipients, and why.

Changes nothing, and needs MMS_AMQP_URL only. Phone numbers are never shown.
Exit code 0; 1 when the broker failed on the way, 2 when it cannot be reached.

[bold]Examples[/bold]

\b
  mms-worker in-doubt list --older-than 1h
  mms-worker in-doubt list --json | jq -r .id
"""

_RESEND_HELP = """Have jobs in doubt sent again. [bold]Who got the message the first time gets it twice.[/bold]

Each is released in the journal, told (mms.job.resolved: resent), and goes back to its account's queue; an ordinary end
follows. A job that somebody resolved before is not sent again; what is left of it here is cleared away.
Without --yes it only shows what it would do.
Exit code 0: all done; 1: some stay, or broker or Redis failed; 2: could not start; 130: interrupted.

[bold]Examples[/bold]

\b
  mms-worker in-doubt resend --account campaign --older-than 1h
  mms-worker in-doubt resend --id order-8841 --evidence "vendor: unknown" --yes
"""

_SETTLE_HELP = """Settle jobs in doubt for good: as sent, or as given up. Nothing is sent.

Each is told (mms.job.resolved: sent or given_up), and its id counts as used. A job that somebody resolved before keeps
that end; what is left of it here is cleared away. Without --yes it only shows what it would do.
Exit code 0: all done; 1: some stay, or broker or Redis failed; 2: could not start; 130: interrupted.

[bold]Examples[/bold]

\b
  mms-worker in-doubt settle --as given-up --older-than 2d
  mms-worker in-doubt settle --as sent --id order-8841 --evidence "seen" --yes
"""


class SettledAs(StrEnum):
    """As what a job in doubt is settled; the value is what people type."""

    SENT = "sent"
    GIVEN_UP = "given-up"


EvidenceOption = Annotated[str | None, typer.Option("--evidence", help="Why so; told in the event.")]


def in_doubt_cli() -> typer.Typer:
    """The commands below ``in-doubt``."""
    cli = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")
    cli.command("list", help=_LIST_HELP)(list_)
    cli.command("resend", help=_RESEND_HELP)(resend)
    cli.command("settle", help=_SETTLE_HELP)(settle)
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
    """List jobs in doubt."""
    choice = choice_of(
        Holding.IN_DOUBT,
        account=account,
        ids=job_id,
        reason=reason,
        older_than=older_than,
        newer_than=newer_than,
        limit=limit,
    )
    raise typer.Exit(list_held(broker_settings_or_exit(), choice, is_json=as_json))


def resend(
    *,
    account: AccountOption = None,
    job_id: IdsOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    per_s: PaceOption = PER_S,
    evidence: EvidenceOption = None,
    yes: YesOption = False,
) -> None:
    """Have jobs in doubt sent again."""
    choice = choice_of(
        Holding.IN_DOUBT,
        account=account,
        ids=job_id,
        reason=reason,
        older_than=older_than,
        newer_than=newer_than,
        limit=limit,
    )
    raise typer.Exit(_act(choice, RELEASED, evidence, what="have them sent again", per_s=per_s, is_sure=yes))


def settle(
    *,
    settled_as: Annotated[SettledAs, typer.Option("--as", help="What they are settled as.")],
    account: AccountOption = None,
    job_id: IdsOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    evidence: EvidenceOption = None,
    yes: YesOption = False,
) -> None:
    """Settle jobs in doubt."""
    choice = choice_of(
        Holding.IN_DOUBT,
        account=account,
        ids=job_id,
        reason=reason,
        older_than=older_than,
        newer_than=newer_than,
        limit=limit,
    )
    end = SENT if settled_as is SettledAs.SENT else GIVEN_UP
    what = f"settle them as {settled_as.value}"
    raise typer.Exit(_act(choice, end, evidence, what=what, per_s=math.inf, is_sure=yes))


def _act(choice: Choice, end: str, evidence: str | None, *, what: str, per_s: float, is_sure: bool) -> int:
    settings = settings_or_exit()
    grounds = Grounds(ResolvedBy.OPERATOR, evidence or "the operator's decision")
    if not is_sure:
        return preview_act(
            settings, choice, lambda held: kept_of(asked_for(held, end, grounds, region=settings.region)), what=what
        )

    async def opened(stack: ClosingStack) -> Deciding:
        redis = await open_redis(settings, stack)
        groups = build_groups(redis, observe=_unobserved, on_failure=_unexpected)
        stack.closes(groups.close)
        journal = build_journal(settings, groups, on_failure=_unexpected)
        stack.closes(journal.close)

        async def decide(held: HeldJob) -> Decision:
            asked = asked_for(held, end, grounds, region=settings.region)
            if isinstance(asked, Kept):
                return asked
            decision = await decided(journal, held, asked, wall_clock=utc_now)
            if isinstance(decision, JournalAway):
                raise Stopped(
                    f"The journal cannot be asked ({decision.why}): check MMS_REDIS_URL, and that Redis runs."
                )
            return decision

        def hear(held: HeldJob, done: Done) -> None:
            asked = asked_for(held, end, grounds, region=settings.region)
            if not isinstance(asked, Kept):
                tell_done(journal, asked, done)

        return Deciding(decide, hear)

    return act(settings, choice, opened, per_s=per_s)


def _unobserved(_: Observation) -> None:
    """Nobody watches a command but the person who runs it."""


def _unexpected(_: BaseException) -> None:
    """The question that failed ends by its own time limit, in ``flow/resolving.py``."""
