"""``mms-worker publish``: jobs from JSON Lines or from flags onto the queue."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import stat
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.adapters.rabbitmq_connection import BrokerAddress
from worker.adapters.rabbitmq_producer import UNCONFIRMED_MAX, Producer, open_producer
from worker.commands.terminal import error_console, refuse, run_async
from worker.core.delivery import Lane
from worker.core.job import JOB_BYTES_MAX, Rejected, decode
from worker.flow.ports import CannotStart, PublishFailed, PublishUnconfirmed
from worker.parts import broker_address
from worker.settings import BrokerSettings, SettingsProblems, load_broker

EXIT_NOT_ALL_PUBLISHED, EXIT_INTERRUPTED = 1, 130
#: A longer line is cut there, and so refused: no valid job needs as much.
LINE_BYTES_MAX = 2 * JOB_BYTES_MAX
#: Mistakes shown; the count of all is always told.
MISTAKES_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class FlagJob:
    """One job as flags name it."""

    job_id: str | None
    to: list[str]
    text: str | None
    subject: str | None
    media: Path | None
    media_url: str | None
    reference: str | None

    @property
    def is_given(self) -> bool:
        """Whether any flag of a job was given."""
        return any((self.job_id, self.to, self.text, self.subject, self.media, self.media_url, self.reference))

    def body(self) -> bytes:
        """The job as a producer would write it; leaves with a sentence when the file cannot be read."""
        media: dict[str, str] = {}
        if self.media is not None:
            try:
                media["data"] = base64.b64encode(self.media.read_bytes()).decode()
            except OSError as error:
                refuse(f"The picture {self.media} cannot be read ({error.strerror}): check --media.")
        if self.media_url is not None:
            media["url"] = self.media_url
        given: dict[str, Any] = {
            "id": self.job_id or str(uuid.uuid4()),
            "to": self.to,
            "text": self.text,
            "subject": self.subject,
            "media": media or None,
            "reference": self.reference,
        }
        return orjson.dumps({name: value for name, value in given.items() if value is not None})


@dataclass(slots=True)
class Count:
    """What became of the lines so far."""

    published: int = 0
    wrong: int = 0
    unconfirmed: int = 0
    mistakes: list[str] = field(default_factory=list)

    def mistake(self, where: str, sentences: tuple[str, ...]) -> None:
        """Note one job that was not published."""
        self.wrong += 1
        if len(self.mistakes) < MISTAKES_SHOWN_MAX:
            self.mistakes.append(f"{where}: {'; '.join(sentences)}")


def publish_one(flags: FlagJob, *, account: str, is_urgent: bool) -> int:
    """Publish the job that the flags name; returns the exit code."""
    settings = _settings_or_exit()
    body = flags.body()
    decoded = decode(body, region=settings.region)
    if isinstance(decoded, Rejected):
        refuse("The job was not published:", *(f"  {reason}" for reason in decoded.reasons))

    async def work() -> int:
        async with open_producer(_address(settings), account=account, lane=_lane(is_urgent=is_urgent)) as producer:
            try:
                await producer.publish(body, timeout_s=settings.publish_timeout_s)
            except PublishFailed as error:
                error_console().print(
                    f"The broker did not confirm the job ({error}): it may not be sent.", markup=False
                )
                return EXIT_NOT_ALL_PUBLISHED
        sys.stdout.write(f"{decoded.id}\n")
        return 0

    return run_async(work())


def publish_lines(source: str, *, account: str, is_urgent: bool, is_checked: bool) -> int:
    """Publish a file's jobs, one a line; returns the exit code: 0 when all were published, else 1."""
    settings = _settings_or_exit()
    console = error_console()
    count = Count()

    async def work() -> int:
        lane = _lane(is_urgent=is_urgent)
        async with open_producer(_address(settings), account=account, lane=lane) as producer:
            with _opened(source) as (lines, total_bytes), _progress(console, total_bytes) as progress:
                task = progress.add_task(f"Publishing to {account}", total=total_bytes, published=0, wrong=0)

                def show(read_bytes: int) -> None:
                    progress.update(task, completed=read_bytes, published=count.published, wrong=count.wrong)

                await LinePublisher(
                    producer=producer, settings=settings, count=count, show=show, is_checked=is_checked
                ).publish_all(lines)
        return EXIT_NOT_ALL_PUBLISHED if count.wrong or count.unconfirmed else 0

    try:
        code = run_async(work())
    except KeyboardInterrupt:
        console.print("Interrupted.", markup=False)
        code = EXIT_INTERRUPTED
    for mistake in count.mistakes:
        console.print(mistake, markup=False)
    if count.wrong > len(count.mistakes):
        console.print(f"… and {count.wrong - len(count.mistakes)} more.", markup=False)
    console.print(f"{count.published} published, {count.wrong} not published.", markup=False)
    if count.unconfirmed:
        sentence = f"{count.unconfirmed} went without a confirm from the broker, and may or may not be published."
        console.print(sentence, markup=False)
    return code


class LinePublisher:
    """Checks and publishes lines, many unconfirmed at a time."""

    def __init__(
        self,
        *,
        producer: Producer,
        settings: BrokerSettings,
        count: Count,
        show: Callable[[int], None],
        is_checked: bool,
    ) -> None:
        self._producer = producer
        self._settings = settings
        self._count = count
        self._show = show
        self._is_checked = is_checked
        self._room = asyncio.Semaphore(UNCONFIRMED_MAX)

    async def publish_all(self, lines: BinaryIO) -> None:
        """Publish every line that is not blank; mistakes are counted, and the rest goes on."""
        number = read_bytes = 0
        async with asyncio.TaskGroup() as under_way:
            async for line in _lines_of(lines):
                number += 1
                read_bytes += len(line)
                body = line.strip()
                if body and self._is_publishable(number, body):
                    await self._room.acquire()
                    under_way.create_task(self._publish(number, body))
                self._show(read_bytes)
        self._show(read_bytes)

    def _is_publishable(self, number: int, body: bytes) -> bool:
        if not self._is_checked:
            return True
        decoded = decode(body, region=self._settings.region)
        if isinstance(decoded, Rejected):
            self._count.mistake(f"line {number}", decoded.reasons)
            return False
        return True

    async def _publish(self, number: int, body: bytes) -> None:
        try:
            await self._producer.publish(body, timeout_s=self._settings.publish_timeout_s)
            self._count.published += 1
        except PublishUnconfirmed:
            self._count.unconfirmed += 1
        except PublishFailed as error:
            self._count.mistake(f"line {number}", (f"the broker did not take it: {error}.",))
        except asyncio.CancelledError:
            self._count.unconfirmed += 1
            raise
        finally:
            self._room.release()


def _settings_or_exit() -> BrokerSettings:
    settings = load_broker(os.environ)
    if isinstance(settings, SettingsProblems):
        refuse(*settings.problems)
    return settings


def _address(settings: BrokerSettings) -> BrokerAddress:
    return broker_address(settings, name=f"mms-worker publish {os.getpid()}")


def _lane(*, is_urgent: bool) -> Lane:
    return Lane.URGENT if is_urgent else Lane.BULK


@contextlib.contextmanager
def _opened(source: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The lines, and how many bytes they are where that is known."""
    if source == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(source)
    try:
        lines = path.open("rb")
    except OSError as error:
        raise CannotStart(f"The file {source} cannot be read ({error.strerror}): check its name.") from error
    with lines:
        yield lines, path.stat().st_size or None


async def _lines_of(file: BinaryIO) -> AsyncIterator[bytes]:
    """Line by line; a longer one than LINE_BYTES_MAX in pieces, none of which is a job."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        while line := file.readline(LINE_BYTES_MAX):
            yield line
        return
    # A pipe may keep us waiting, and the broker wants its heartbeats meanwhile.
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            yield b"longer than any job"
            continue
        if not line:
            return
        yield line


def _progress(console: Console, total_bytes: int | None) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %" if total_bytes else ""),
        TextColumn("{task.fields[published]} published, {task.fields[wrong]} wrong"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
