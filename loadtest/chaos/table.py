"""What is printed at the end: the faults, how soon sending was back after each, the books, and what is wrong."""

import statistics
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.chaos.books import ENDS_SHOWN, RESOLVED, Found, recoveries_s
from loadtest.chaos.faults import Kind


def draw(console: Console, found: Found, wrong: Sequence[str]) -> None:
    """Print all of it."""
    console.print(_faults(found))
    console.print(_books(found))
    for sentence in wrong:
        console.print(Text(sentence, style="red"))
    if wrong:
        console.print(Text("Not well: the books do not balance.", style="bold red"))
    else:
        console.print(Text("All is well: nothing was lost, nothing was sent twice.", style="green"))


def _faults(found: Found) -> Table:
    table = Table(
        title=f"{len(found.windows)} faults",
        title_justify="left",
        caption="Back: from the end of a fault to the next call that the API accepted, where no other fault lasted.",
        caption_justify="left",
    )
    table.add_column("fault")
    for name in ("times", "seconds in all", "back, median s", "worst s"):
        table.add_column(name, justify="right")
    times = Counter(window.kind for window in found.windows)
    back_s = recoveries_s(found.windows, (at_us for of_one in found.accepted_us.values() for at_us in of_one))
    for kind in Kind:
        if not times[kind]:
            continue
        lasted_s = sum(one.ended_us - one.began_us for one in found.windows if one.kind is kind) / 1e6
        back = back_s.get(kind, [])
        words = (f"{statistics.median(back):.1f}", f"{max(back):.1f}") if back else ("", "")
        table.add_row(kind.value, str(times[kind]), f"{lasted_s:.0f}", *words)
    return table


def _books(found: Found) -> Table:
    table = Table(title="Books", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = [
        ("published", len(found.jobs)),
        *((end.replace("_", " "), len(found.of_end(end))) for end in ENDS_SHOWN),
        ("  doubts that a late answer resolved", len(found.of_end(RESOLVED))),
        *((f"  {why}", count) for why, count in found.doubts.most_common()),
        ("lost", len(found.lost)),
        ("sent twice (recipients)", len(found.twice)),
        ("  because Redis was flushed between two copies", len(found.forgotten)),
        ("in doubt, and no fault explains it", len(found.unexplained)),
        ("events told again, with the same id", found.told_again),
        ("worst second at the API, of " + str(found.limit_per_s), found.worst_second),
        ("answers 429", found.throttled),
    ]
    for name, count in rows:
        table.add_row(name, f"{count:,}")
    return table


def as_json(found: Found, wrong: Sequence[str], *, seed: int, command: str) -> dict[str, object]:
    """The same for programs."""
    back_s = recoveries_s(found.windows, (at_us for of_one in found.accepted_us.values() for at_us in of_one))
    return {
        "command": command,
        "seed": seed,
        "is_well": not wrong,
        "wrong": list(wrong),
        "published": len(found.jobs),
        "ends": {end: len(found.of_end(end)) for end in ENDS_SHOWN},
        "lost": len(found.lost),
        "sent_twice": len(found.twice),
        "sent_twice_by_flush": len(found.forgotten),
        "unexplained": len(found.unexplained),
        "doubts": found.doubts,
        "told_again": found.told_again,
        "worst_second": found.worst_second,
        "limit_per_s": found.limit_per_s,
        "throttled": found.throttled,
        "faults": Counter(window.kind.value for window in found.windows),
        "back_s": {kind.value: [round(one, 2) for one in of_kind] for kind, of_kind in back_s.items()},
    }
