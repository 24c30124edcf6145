"""Installs Debian packages, without starting a service of theirs."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local.failure import ServerError

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Written while mms-worker's servers are installed: no service is started now.\nexit 101\n"
SYSTEMD = Path("/run/systemd/system")
LOCK_WAIT_S = 300


def can_install() -> bool:
    return shutil.which("apt-get") is not None and (os.geteuid() == 0 or _sudo_works())


def apt_install(packages: Sequence[str], units: Sequence[str] = ()) -> None:
    """Install, and let no service run: `units` are disabled, so that they do not start at the next boot either.

    Raises ServerError when apt fails.
    """
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    apt += ["-o", f"DPkg::Lock::Timeout={LOCK_WAIT_S}", "-o", "Dpkg::Use-Pty=0"]
    is_ours = not POLICY.exists()
    try:
        if is_ours:
            _write_policy()
        # A list that could not be refreshed may still do; the install below is what has to work.
        _as_root([*apt, "update"])
        if _as_root([*apt, "install", "--no-install-recommends", *packages]):
            raise ServerError(f"apt could not install {' '.join(packages)}; what it says is above.")
        if SYSTEMD.exists() and units:
            _as_root(["systemctl", "--quiet", "disable", *units])
    finally:
        if is_ours:
            _as_root(["rm", "-f", str(POLICY)])


def _write_policy() -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(POLICY_TEXT)
        file.flush()
        if _as_root(["install", "-m", "755", file.name, str(POLICY)]):
            raise ServerError(f"{POLICY} cannot be written, so apt would start services: nothing was installed.")


def _as_root(command: list[str]) -> int:
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    return subprocess.run([*prefix, *command], check=False, stdout=sys.stderr).returncode


def _sudo_works() -> bool:
    """Without a password, or with one that somebody is there to type."""
    if not shutil.which("sudo"):
        return False
    if sys.stdin.isatty():
        return True
    return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
