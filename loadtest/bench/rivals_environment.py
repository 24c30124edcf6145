"""The rivals' own virtual environment, `.venv-rivals`: made when it is wanted, never a part of ours."""

import hashlib
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from loadtest.failure import LoadTestError
from loadtest.worker_process import PROJECT

FOLDER = PROJECT / ".venv-rivals"
LOCK = PROJECT / "loadtest" / "rivals" / "requirements.lock"
COMPARED = (
    "aio-pika",
    "aiohttp",
    "celery",
    "dramatiq",
    "faststream",
    "gevent",
    "httpx",
    "limits",
    "pyrate-limiter",
    "taskiq",
    "taskiq-aio-pika",
    "throttled-py",
)
INSTALL_S_MAX = 900.0


def rivals_python(console: Console) -> Path:
    """The interpreter in it. It is made anew when the lock or our Python has changed. Raises LoadTestError."""
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / "installed"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    # A folder that was moved or copied holds paths of the old place.
    wanted = f"{sys.version_info.major}.{sys.version_info.minor} {digest} {FOLDER}\n"
    if not stamp.exists() or stamp.read_text() != wanted:
        console.print("Installing the rivals into .venv-rivals (the first time) …")
        _run([sys.executable, "-m", "venv", "--clear", str(FOLDER)])
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", str(LOCK)])
        stamp.write_text(wanted)
    return python


def rival_versions() -> dict[str, str]:
    """Of the libraries that are compared with, out of the lock."""
    lines = (line.partition(" ")[0].partition("==") for line in LOCK.read_text().splitlines())
    return {name: version for name, _, version in lines if name in COMPARED}


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S_MAX)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise LoadTestError(f"The rivals were not installed within {INSTALL_S_MAX:.0f} s: try --no-rivals.") from error
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
        raise LoadTestError(f"The rivals could not be installed ({told}): try again, or leave them out by --no-rivals.")
