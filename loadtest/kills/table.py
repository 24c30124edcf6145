"""The table at the end: a row for each point, manner and state found, with the number of times it was."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.kills.run import Verdict

COLUMNS = ("killed at", "how", "n", "journal", "API", "doubt", "again", "well")
CAPTION = """\
n: kills that were found alike. Of a quiet one: the journal's records of the call's jobs at the death (C claimed, \
E ended, T told, O open, - none), and how many the API had accepted. doubt: jobs that ended in doubt. again: events \
that were told again, with the same id."""


@dataclass(frozen=True, slots=True)
class Row:
    """Kills that were found alike. The states of all jobs of a loaded kill at the death are of chance, and not told."""

    point: str
    manner: str
    journal: str
    accepted_by_death: str
    is_well: bool


def row_of(verdict: Verdict) -> Row:
    """The row that a kill belongs to."""
    plan, found = verdict.plan, verdict.found
    manner = "quiet" if plan.is_quiet else "loaded"
    if found is None:
        return Row(plan.point.name, manner, "?", "?", is_well=False)
    return Row(
        plan.point.name,
        manner,
        found.state if plan.is_quiet else "",
        f"{found.accepted_by_death}/{len(plan.jobs)}" if plan.is_quiet else "",
        is_well=not verdict.problems,
    )


def span(numbers: Sequence[int]) -> str:
    """The least and the most of them, such as "1-12"."""
    if not numbers:
        return "?"
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least}-{most}"


def draw(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print the table, and a sentence for everything that is wrong."""
    table = Table(
        title=f"{len(verdicts)} workers were killed", title_justify="left", caption=CAPTION, caption_justify="left"
    )
    for name in COLUMNS:
        table.add_column(name, no_wrap=name == COLUMNS[0])
    alike: defaultdict[Row, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        alike[row_of(verdict)].append(verdict)
    points = list(dict.fromkeys(verdict.plan.point.name for verdict in verdicts))
    for row in sorted(alike, key=lambda row: (points.index(row.point), row.manner == "loaded", not row.is_well)):
        found = [verdict.found for verdict in alike[row] if verdict.found is not None]
        in_doubt = span([len(one.in_doubt) for one in found])
        told_again = span([one.told_again for one in found])
        word = Text("yes", style="green") if row.is_well else Text("no", style="bold red")
        count = str(len(alike[row]))
        table.add_row(row.point, row.manner, count, row.journal, row.accepted_by_death, in_doubt, told_again, word)
    console.print(table)
    for verdict in verdicts:
        plan = verdict.plan
        for problem in verdict.problems:
            where = f"{plan.point.name}:{plan.nth} ({'quiet' if plan.is_quiet else 'loaded'}, kill {plan.number})"
            console.print(Text(f"{where}: {problem}", style="red"))
    wrong = sum(bool(verdict.problems) for verdict in verdicts)
    jobs = sum(len(verdict.plan.jobs) for verdict in verdicts)
    if wrong:
        console.print(
            Text(f"Not well: the books of {wrong} of {len(verdicts)} kills do not balance.", style="bold red")
        )
    else:
        told = (
            f"All is well: of {jobs} jobs none was lost and none was sent twice, and what was in doubt was under way."
        )
        console.print(Text(told, style="green"))
