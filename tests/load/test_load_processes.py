"""What is started beside a load test is gone when it cannot be looked after."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.local.guarded import Guard
from loadtest.load.producer import Task
from loadtest.load.producer_process import ProducerProcess
from loadtest.load.scenario_files import scenario_from
from loadtest.worker_process import WorkerProcess

SCENARIO = {"title": "T", "purpose": "P.", "limits": {"default": 15}, "phases": [{"seconds": 10, "of_limit": 1}]}


def never(_pid: int) -> Guard:
    raise KeyboardInterrupt


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[Any]]:
    """Whatever is started; the guard over it is broken off by Ctrl-C."""
    begun: list[subprocess.Popen[Any]] = []

    class Noted(subprocess.Popen[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            begun.append(self)

    monkeypatch.setattr(Guard, "over", never)
    monkeypatch.setattr(subprocess, "Popen", Noted)
    return begun


def test_a_worker_whose_start_is_broken_off_is_gone(started: list[subprocess.Popen[Any]], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), WorkerProcess("worker", folder=tmp_path, settings={}):
        pass
    assert [process.returncode for process in started] == [-9]


def test_a_producer_whose_start_is_broken_off_is_gone(started: list[subprocess.Popen[Any]], tmp_path: Path) -> None:
    task = Task("amqp://127.0.0.1:1/", scenario_from(SCENARIO), 1, {}, "before")
    with pytest.raises(KeyboardInterrupt), ProducerProcess(task, folder=tmp_path):
        pass
    assert [process.returncode for process in started] == [-9]
