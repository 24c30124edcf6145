"""The README says only what is true: its table of settings is the settings' own."""

from __future__ import annotations

import re
from pathlib import Path

from worker.settings import settings_reference

README = Path(__file__).resolve().parent.parent / "README.md"


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
