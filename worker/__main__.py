"""The command line: ``mms-worker``, or ``python -m worker``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.adapters import logs
from worker.app import run_worker
from worker.commands.account import show_account
from worker.commands.check import check_everything
from worker.commands.dead_letters import dead_letters_cli
from worker.commands.in_doubt import in_doubt_cli
from worker.commands.publish import EXIT_INTERRUPTED, FlagJob, publish_lines, publish_one
from worker.commands.status import show_status
from worker.commands.terminal import receiver_settings_or_exit, run_async, settings_or_exit
from worker.core.event_schema import event_schema
from worker.core.job import job_schema
from worker.parts import worker_version
from worker.receiver import run_receiver

cli = typer.Typer(
    name="mms-worker",
    help="Drains MMS send jobs from RabbitMQ at exactly the pace the MMS API allows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
cli.add_typer(dead_letters_cli(), name="dead-letters")
cli.add_typer(in_doubt_cli(), name="in-doubt")

_RUN_HELP = """Run the sending worker: one process, all configured accounts.

SIGTERM (or Ctrl-C) drains: calls under way end, everything else goes back to its queue.
A second one stops at once; calls that it breaks off are held as in doubt, and told.
SIGHUP reads the accounts again: added, removed, and changed ones.

Settings come from the environment (MMS_…). The ones that most people set:

\b
  MMS_AMQP_URL     broker                    amqp://guest:guest@127.0.0.1:5672/
  MMS_REDIS_URL    limiter                   redis://127.0.0.1:6379/0
  MMS_API_URL      the API's base address    required, https
  MMS_APP_KEY      the account's key         required (or MMS_ACCOUNTS_FILE)
  MMS_RATE_PER_S   calls per second          15

[bold]Examples[/bold]

\b
  MMS_API_URL=https://api.example/api/v3 MMS_APP_KEY=… mms-worker run
  MMS_ACCOUNTS_FILE=accounts.toml MMS_ADMIN_PORT=9465 mms-worker run
"""

_RECEIVE_HELP = """Receive delivery reports and replies: as many processes as you like, beside those that send.

The vendor posts them to addresses of yours that hold a secret, and they become events:

\b
  POST https://YOUR-HOST/callbacks/ACCOUNT/TOKEN/reports
  POST https://YOUR-HOST/callbacks/ACCOUNT/TOKEN/replies

What cannot be kept safe now is answered with 503, and the vendor posts it again. Replies are asked for as well, since a
callback may get lost. SIGTERM (or Ctrl-C) answers what is in hand; SIGHUP reads accounts, tokens and certificate again.

Settings come from the environment (MMS_…), as those of run; and:

\b
  MMS_CALLBACK_TOKEN     the secret in the addresses   required (or callback_token in MMS_ACCOUNTS_FILE)
  MMS_RECEIVE_HOST       where to listen               127.0.0.1
  MMS_RECEIVE_PORT       and on which port             8080
  MMS_RECEIVE_CERT_FILE  certificate, with             none: a proxy in front does TLS
  MMS_RECEIVE_KEY_FILE   its key
  MMS_REPLIES_POLL_S     how often replies are asked   30 (0: never)

[bold]Examples[/bold]

\b
  MMS_CALLBACK_TOKEN_FILE=token MMS_APP_KEY=… MMS_API_URL=https://api.example/api/v3 mms-worker receive
  MMS_RECEIVE_HOST=0.0.0.0 MMS_RECEIVE_PORT=8443 MMS_RECEIVE_CERT_FILE=cert.pem MMS_RECEIVE_KEY_FILE=key.pem \\
    MMS_ACCOUNTS_FILE=accounts.toml MMS_ADMIN_PORT=9465 mms-worker receive
"""

_PUBLISH_HELP = """Publish jobs, from JSON Lines or from flags.

JSON Lines: one job a line, from a file or from standard input (-). Flags: one job.

Every job is checked first, published with confirm, and counted; nothing is lost silently. Needs MMS_AMQP_URL only.
Exit code 0: all published; 1: some were not; 2: could not start; 130: interrupted.

[bold]Examples[/bold]

\b
  mms-worker publish jobs.jsonl
  zcat jobs.jsonl.gz | mms-worker publish - --account campaign
  mms-worker publish --to 0412345678 --text "Your parcel is on its way" --media parcel.png --urgent
"""

_CHECK_HELP = """Check that everything the worker needs is there and lets it in.

Looks at the settings, the broker, Redis, and the API for each account (one GET account call each). Changes nothing.
Exit code 0, or 2 with a list of what is wrong.

[bold]Example[/bold]

\b
  mms-worker check && mms-worker run
"""

_STATUS_HELP = """Show each account at one look: limit, pace in force, share of the limit used, backlog, time to drain.

Asks Redis and the broker, never the API, and changes nothing. The share is that of the last second; "worst 1 s" is the
most calls that any rolling second of the last two minutes was given, "n" the workers. What they hold counts as backlog;
they tell of it every few seconds.
Exit code 0; 1 when Redis or the broker could not be asked, 2 when the settings are wrong.

[bold]Examples[/bold]

\b
  mms-worker status
  mms-worker status --watch
  mms-worker status --json | jq '.accounts[] | select(.state != "open")'
"""

_ACCOUNT_HELP = """Show what the API says of each account: its balance, and whether its key is accepted.

One GET account call each, in a slot like any other call. "sending" says whether the workers may send for it.
Low is a balance below MMS_BALANCE_LOW.
Exit code 0; 1 when an account is refused, used up or not answered for, 2 when the settings are wrong.

[bold]Examples[/bold]

\b
  mms-worker account
  mms-worker account campaign
  mms-worker account --json | jq '.accounts[] | {account, mms_balance}'
"""

_SCHEMA_HELP = """Print the JSON Schema of a job, as producers publish it, or of an event, as the worker does.

[bold]Examples[/bold]

\b
  mms-worker schema job > job.schema.json
  mms-worker schema event
"""


class SchemaOf(StrEnum):
    """What there is a schema of."""

    JOB = "job"
    EVENT = "event"


@cli.callback(invoke_without_command=True)
def about(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Say the version, when asked."""
    logs.silence_libraries()
    if version:
        typer.echo(worker_version())
        raise typer.Exit


@cli.command(help=_RUN_HELP)
def run() -> None:
    """Run the sending worker."""
    settings = settings_or_exit()
    logs.configure(level=settings.log_level, style=settings.log_format)
    raise typer.Exit(run_async(run_worker(settings)))


@cli.command(help=_RECEIVE_HELP)
def receive() -> None:
    """Run the receiver."""
    settings = receiver_settings_or_exit()
    logs.configure(level=settings.log_level, style=settings.log_format)
    raise typer.Exit(run_async(run_receiver(settings)))


@cli.command(help=_PUBLISH_HELP)
def publish(
    lines: Annotated[str | None, typer.Argument(metavar="FILE|-", help="JSON Lines: one job a line.")] = None,
    *,
    account: Annotated[str, typer.Option(help="The account whose queue it goes to.")] = "default",
    urgent: Annotated[bool, typer.Option("--urgent", help="Before the account's bulk jobs.")] = False,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Publish lines as they are.")] = False,
    to: Annotated[list[str] | None, typer.Option(help="A recipient; repeat for more.")] = None,
    text: Annotated[str | None, typer.Option(help="The message.")] = None,
    subject: Annotated[str | None, typer.Option(help="The subject, at most 40 characters.")] = None,
    media: Annotated[Path | None, typer.Option(metavar="FILE", help="A PNG, GIF or JPEG, at most 380 KB.")] = None,
    media_url: Annotated[str | None, typer.Option(help="An https address of the picture, instead.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="Your own id; made up when absent.")] = None,
    reference: Annotated[str | None, typer.Option(help="Echoed in every event.")] = None,
) -> None:
    """Publish jobs."""
    flags = FlagJob(
        job_id=job_id, to=to or [], text=text, subject=subject, media=media, media_url=media_url, reference=reference
    )
    if lines is not None and flags.is_given:
        raise typer.BadParameter("give a file of jobs, or one job by flags, not both", param_hint="FILE")
    if lines is None and not flags.is_given:
        raise typer.BadParameter("give a file of jobs (- for standard input), or one job by --to, --text and --media")
    if lines is None:
        raise typer.Exit(publish_one(flags, account=account, is_urgent=urgent))
    raise typer.Exit(publish_lines(lines, account=account, is_urgent=urgent, is_checked=not unchecked))


@cli.command(help=_CHECK_HELP)
def check() -> None:
    """Check that everything is reachable and permitted."""
    raise typer.Exit(run_async(check_everything(settings_or_exit())))


@cli.command(help=_STATUS_HELP)
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show each account at one look."""
    settings = settings_or_exit()
    try:
        raise typer.Exit(run_async(show_status(settings, is_watching=watch, is_json=as_json)))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


@cli.command(help=_ACCOUNT_HELP)
def account(
    name: Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="One account; all when absent.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show balances."""
    raise typer.Exit(run_async(show_account(settings_or_exit(), name, is_json=as_json)))


@cli.command(help=_SCHEMA_HELP)
def schema(of: Annotated[SchemaOf, typer.Argument(metavar="job|event", help="What to print the schema of.")]) -> None:
    """Print a JSON Schema."""
    printed = job_schema() if of is SchemaOf.JOB else event_schema()
    typer.echo(orjson.dumps(printed, option=orjson.OPT_INDENT_2).decode())


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="mms-worker")


if __name__ == "__main__":
    main()
