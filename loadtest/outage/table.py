"""The table at the end: a row for each outage."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.outage.books import BACK_S_MAX, FULL_S, IN_DOUBT_MAX
from loadtest.outage.scenario import Verdict

COLUMNS = ("outage", "n", "doubt", "cut", "seen", "back", "share", "lost", "twice", "well")
CAPTION = f"""\
n: workers. doubt: jobs in doubt, and how many may be. cut: jobs in doubt whose calls were under way when \
connections were cut; they do not count. seen: sends and probes that the API saw while it was out. back: from its \
end to the first acceptance. share: of the limit, from {BACK_S_MAX:.0f} to {BACK_S_MAX + FULL_S:.0f} s after its end."""


def draw(console: Console, verdicts: Sequence[Verdict], *, lasts_s: float) -> None:
    """Print the table, and a sentence for everything that is wrong."""
    title = f"The API was out for {lasts_s:g} s, at 15 calls a second"
    table = Table(title=title, title_justify="left", caption=CAPTION, caption_justify="left")
    for name in COLUMNS:
        table.add_column(name, no_wrap=True)
    for verdict in verdicts:
        case, seen = verdict.case, verdict.found
        table.add_row(
            case.kind,
            str(case.workers),
            f"{seen.in_doubt}/{IN_DOUBT_MAX[case.kind]}",
            str(seen.cut),
            f"{seen.sends}+{seen.probes}",
            "never" if seen.back_s is None else f"{seen.back_s:.1f} s",
            f"{seen.share:.0%}",
            str(seen.lost),
            str(seen.twice),
            Text("no", style="bold red") if verdict.problems else Text("yes", style="green"),
        )
    console.print(table)
    for verdict in verdicts:
        for problem in verdict.problems:
            console.print(Text(f"{verdict.case.name}: {problem}", style="red"))
