"""The README says only what is true: its table of settings is the settings' own."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest

from worker.adapters.prometheus import Metrics
from worker.adapters.prometheus_series import Does
from worker.settings import settings_reference

README = Path(__file__).resolve().parent.parent / "README.md"
#: Celery's.
WORDS_OF_OTHERS = {"rate_limit", "stop_grace_period"}


def settings_table() -> str:
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for doc in settings_reference():
        name = f"`{doc.name}`{' †' if doc.is_secret else ''}"
        default = doc.default if " " in doc.default or doc.default == "none" else f"`{doc.default}`"
        lines.append(f"| {name} | {default} | {doc.meaning} |")
    return "\n".join(lines)


def test_the_table_of_settings_is_the_one_that_is_in_force() -> None:
    told = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README.read_text(), re.DOTALL)
    assert told is not None
    assert told[1] == settings_table(), f"put this between the marks:\n{settings_table()}"


def test_every_file_that_it_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    missing = [link for link in links if "://" not in link and not (README.parent / link).exists()]
    assert missing == []


def test_every_metric_that_it_names_exists() -> None:
    exported = [
        generate_latest(Metrics(accounts={"acme": 15.0}, version="1", calls_max=1, does=does).registry).decode()
        for does in Does
    ]
    families = set(re.findall(r"^# TYPE (mms_\w+)", "\n".join(exported), re.MULTILINE))
    named = set(re.findall(r"\b(mms_[a-z_]+)", README.read_text()))
    assert len(named) > 20
    assert named - families == set()


def test_every_word_that_it_names_from_the_code_is_there() -> None:
    """Log lines, fields, resolutions: whatever is in backticks and has an underscore."""
    named = set(re.findall(r"`((?!mms_)[a-z]+(?:_[a-z]+)+)`", README.read_text())) - WORDS_OF_OTHERS
    source = "\n".join(file.read_text() for file in (README.parent / "worker").rglob("*.py"))
    assert len(named) > 15
    assert {word for word in named if not re.search(rf"\b{word}\b", source)} == set()
