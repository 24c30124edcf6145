"""The page as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.failure import LoadTestError
from loadtest.report.page import page_of, write_page
from tests.report.results import STORIES, steady


def test_every_word_of_a_result_stays_a_word() -> None:
    text = page_of(STORIES["broken"]())
    assert "<img" not in text
    assert text.count("<script") == text.count("</script>") == 3


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoadTestError, match=r"^The page cannot be written to .*: .*\.$"):
        write_page(steady(), tmp_path / "file" / "page.html")


def test_a_folder_is_made_for_it(tmp_path: Path) -> None:
    write_page(steady(), tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").stat().st_size < 3_000_000
