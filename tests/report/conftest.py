"""The browser, and results as pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.located import chromium_binary
from loadtest.report.page import write_page
from tests.conftest import make_or_skip
from tests.report.chromium import Page, chromium
from tests.report.results import STORIES


@pytest.fixture(scope="session")
def browser() -> Path:
    return make_or_skip(chromium_binary)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(browser: Path) -> AsyncIterator[Page]:
    """One for all tests of a module; each begins with `show`, which forgets what was before."""
    async with chromium(browser) as opened:
        yield opened


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file for each story."""
    folder = tmp_path_factory.mktemp("pages")
    for name, story in STORIES.items():
        write_page(story(), folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in STORIES}
