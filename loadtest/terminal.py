"""What the programs here show while they work, in a terminal and elsewhere."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console
from rich.text import Text


def has_live_view(console: Console) -> bool:
    """Whether lines can be drawn over again."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def step(console: Console, doing: str) -> Iterator[None]:
    """Say what is being done, turning while it lasts, and that it is done."""
    turning: AbstractContextManager[object] = nullcontext()
    if has_live_view(console):
        turning = console.status(f"{doing} …", spinner="line" if console.options.ascii_only else "dots")
    with turning:
        yield
    done = Text("ok" if console.options.ascii_only else "✓", style="green")
    console.print(done, doing)
