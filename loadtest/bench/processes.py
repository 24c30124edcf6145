"""What processes of this machine have used, from Linux's /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.failure import NotMeasuredError
from loadtest.failure import LoadTestError

PROC = Path("/proc")
BYTES_PER_KB = 1_024
JUDGE_NICENESS = -15
_SESSION_AT, _USER_TICKS_AT, _SYSTEM_TICKS_AT = 3, 11, 12  # in `stat`, counted after the name
_RESIDENT_PAGES_AT = 1  # in `statm`


def require_proc() -> None:
    """Raise LoadTestError where there is no such thing."""
    if not (PROC / "self/stat").exists():
        raise LoadTestError("The measurements read /proc of Linux, which is not here: run them on Linux.")


def cpu_s(pid: int) -> float:
    """Seconds of processor time, user's and system's, of all the process's threads so far."""
    return cpu_ticks_in(_read(pid, "stat")) / os.sysconf("SC_CLK_TCK")


def peak_resident_bytes(pid: int) -> int:
    """The most memory that the process has held at a time."""
    return peak_resident_bytes_in(_read(pid, "status"))


def resident_bytes(pid: int) -> int:
    """The memory that the process holds now."""
    return int(_read(pid, "statm").split()[_RESIDENT_PAGES_AT]) * os.sysconf("SC_PAGE_SIZE")


def cpu_ticks_in(stat: str) -> int:
    """User's and system's ticks in the text of `stat`. The name before them may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[_USER_TICKS_AT]) + int(fields[_SYSTEM_TICKS_AT])


def peak_resident_bytes_in(status: str) -> int:
    """`VmHWM` in the text of `status`; 0 when it is not told."""
    lines = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(number) * BYTES_PER_KB for _, number, _ in lines), 0)


def give_precedence(pid: int) -> bool:
    """Let the process run before others as soon as it is ready to; whether this user may do that.

    For the judge: what waits for a core before it is counted would count as jitter on the way.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, pid, JUDGE_NICENESS)
    except PermissionError:
        return False
    return True


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text()
    except OSError as error:
        raise NotMeasuredError(f"What process {pid} uses cannot be read ({error.strerror}): it has ended.") from error


@dataclass(frozen=True, slots=True)
class MachineTicks:
    """What all cores have done since the start."""

    busy: int
    idle: int

    @property
    def busy_s(self) -> float:
        """Of all cores together."""
        return self.busy / os.sysconf("SC_CLK_TCK")

    def busy_share(self, later: "MachineTicks") -> float:
        """The share of all cores that was busy from this moment to a later one; 0 for no time at all."""
        busy, idle = later.busy - self.busy, later.idle - self.idle
        return busy / (busy + idle) if busy + idle else 0.0


def machine_ticks() -> MachineTicks:
    """Of all cores together, by everything on the machine."""
    return machine_ticks_in((PROC / "stat").read_text())


def machine_ticks_in(stat: str) -> MachineTicks:
    """Out of the first line of /proc/stat. Waiting for a disk counts as idle; guests are in the user's time already."""
    ticks = [int(field) for field in stat.partition("\n")[0].split()[1:9]]
    idle = sum(ticks[3:5])
    return MachineTicks(busy=sum(ticks) - idle, idle=idle)


def cpu_s_of_session(session: int) -> float:
    """The same as `cpu_s`, of all processes of a session that run now."""
    stats = (_read_or_none(entry) for entry in PROC.glob("[0-9]*/stat"))
    ticks = sum(cpu_ticks_in(stat) for stat in stats if stat and session_in(stat) == session)
    return ticks / os.sysconf("SC_CLK_TCK")


def session_in(stat: str) -> int:
    """The session in the text of a process's `stat`."""
    return int(stat.rpartition(")")[2].split()[_SESSION_AT])


def _read_or_none(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None  # it ended a moment ago


@dataclass(frozen=True, slots=True)
class SessionMemory:
    """What the processes of a session hold.

    `largest_peak_bytes`: the most that one of them has held at a time. `total_bytes`: all of them now, with pages that
    several share counted once.
    """

    processes: int
    largest_peak_bytes: int
    total_bytes: int


def memory_of_session(session: int, *, without: frozenset[int] = frozenset()) -> SessionMemory:
    """Of all processes of a session that run now, but those of these ids."""
    peaks, shares = [], []
    for entry in PROC.glob("[0-9]*/stat"):
        stat = _read_or_none(entry)
        if stat is None or session_in(stat) != session or int(entry.parent.name) in without:
            continue
        status, rollup = _read_or_none(entry.with_name("status")), _read_or_none(entry.with_name("smaps_rollup"))
        if status and rollup:
            peaks.append(peak_resident_bytes_in(status))
            shares.append(proportional_bytes_in(rollup))
    return SessionMemory(len(peaks), max(peaks, default=0), sum(shares))


def proportional_bytes_in(smaps_rollup: str) -> int:
    """`Pss` in the text of `smaps_rollup`: shared pages count in part; 0 when it is not told."""
    lines = (line.split() for line in smaps_rollup.splitlines() if line.startswith("Pss:"))
    return next((int(number) * BYTES_PER_KB for _, number, _ in lines), 0)
