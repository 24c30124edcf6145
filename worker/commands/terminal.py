"""What all commands share with the person in front of them: sentences on standard error, exit code 2, no traceback."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer
import uvloop
from rich.console import Console

from worker.flow.ports import CannotStart
from worker.settings import ReceiverSettings, Settings, SettingsProblems, load, load_receiver

EXIT_CANNOT_START = 2


def error_console() -> Console:
    """Standard error, for progress and for what is wrong."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def refuse(*sentences: str) -> NoReturn:
    """Say what is wrong and leave with exit code 2."""
    console = error_console()
    for sentence in sentences:
        console.print(sentence, markup=False)
    raise typer.Exit(EXIT_CANNOT_START)


def settings_or_exit() -> Settings:
    """The settings from the environment; every mistake at once otherwise."""
    settings = load(os.environ)
    if isinstance(settings, SettingsProblems):
        refuse(*settings.problems)
    return settings


def receiver_settings_or_exit() -> ReceiverSettings:
    """The same for ``receive``, with those that it alone has."""
    settings = load_receiver(os.environ)
    if isinstance(settings, SettingsProblems):
        refuse(*settings.problems)
    return settings


def run_async(work: Coroutine[Any, Any, int]) -> int:
    """Run ``work`` to its exit code; what cannot start is one sentence."""
    try:
        return uvloop.run(work)
    except CannotStart as error:
        refuse(str(error))
