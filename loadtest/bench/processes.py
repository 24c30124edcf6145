"""What processes of this machine have used, from Linux's /proc."""

import os
from pathlib import Path

from loadtest.bench.failure import NotMeasuredError
from loadtest.failure import LoadTestError

PROC = Path("/proc")
BYTES_PER_KB = 1_024
_USER_TICKS_AT, _SYSTEM_TICKS_AT = 11, 12  # in `stat`, counted after the name


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


def cpu_ticks_in(stat: str) -> int:
    """User's and system's ticks in the text of `stat`. The name before them may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[_USER_TICKS_AT]) + int(fields[_SYSTEM_TICKS_AT])


def peak_resident_bytes_in(status: str) -> int:
    """`VmHWM` in the text of `status`; 0 when it is not told."""
    lines = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(number) * BYTES_PER_KB for _, number, _ in lines), 0)


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text()
    except OSError as error:
        raise NotMeasuredError(f"What process {pid} uses cannot be read ({error.strerror}): it has ended.") from error
