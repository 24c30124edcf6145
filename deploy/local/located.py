"""Which servers this machine has: installed binaries first, a running Docker engine second."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.local.failure import ServersMissingError

RABBITMQ_SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server")
"""Debian's own place, then RabbitMQ's. Debian's /usr/sbin/rabbitmq-server is passed by: it changes the user."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/sbin:/opt/homebrew/bin"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DOCKER_S_MAX = 15.0


@dataclass(frozen=True, slots=True)
class Native:
    rabbitmq_script: Path
    epmd: Path
    redis_server: Path


@dataclass(frozen=True, slots=True)
class Compose:
    pass


@dataclass(frozen=True, slots=True)
class Missing:
    """Neither; `packages` are the Debian packages that would make it Native."""

    packages: tuple[str, ...]

    @property
    def advice(self) -> str:
        return (
            f"There is no {' and no '.join(self.packages)} here, nor a running Docker engine: install "
            f"{' and '.join(self.packages)} (on Debian or Ubuntu `make setup` does it as root or with sudo)."
        )


Located = Native | Compose | Missing


def search_path() -> str:
    """PATH, and where servers are installed: a user's PATH on Debian has no sbin."""
    return f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"


def rabbitmq_script() -> Path | None:
    wrapper = shutil.which("rabbitmq-server", path=search_path())
    candidates = [Path(each) for each in RABBITMQ_SCRIPTS]
    if wrapper and "rabbitmq-script-wrapper" not in os.path.realpath(wrapper):
        candidates.append(Path(wrapper).resolve())
    return next((each for each in candidates if os.access(each, os.X_OK)), None)


def installed() -> Native | Missing:
    script = rabbitmq_script()
    epmd = shutil.which("epmd", path=search_path())
    redis = shutil.which("redis-server", path=search_path())
    if script and epmd and redis:
        return Native(rabbitmq_script=script, epmd=Path(epmd), redis_server=Path(redis))
    missing = (("rabbitmq-server", script and epmd), ("redis-server", redis))
    return Missing(packages=tuple(package for package, found in missing if not found))


def prometheus_binary() -> Path:
    """Raises ServersMissingError, which says what to install. The demo and the product do without it."""
    found = shutil.which("prometheus", path=search_path())
    if found is None:
        raise ServersMissingError(
            "There is no prometheus here, which tests of rules and dashboards need: install it (on Debian or Ubuntu "
            "`make setup` does it as root or with sudo)."
        )
    return Path(found)


def chromium_binary() -> Path:
    """Raises ServersMissingError, which says what to install. Only tests of pages need it."""
    found = next(filter(None, (shutil.which(name, path=search_path()) for name in CHROMIUM_NAMES)), None)
    if found is None:
        raise ServersMissingError(
            "There is no chromium here, which tests of the load test's page need: install it (on Debian `make test` "
            "does it as root or with sudo)."
        )
    return Path(found)


def docker_answers() -> bool:
    """A Docker engine that runs, with compose."""
    if not shutil.which("docker"):
        return False
    for arguments in (("info",), ("compose", "version")):
        try:
            subprocess.run(
                ["docker", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=DOCKER_S_MAX,
            )
        except (OSError, subprocess.SubprocessError):
            return False
    return True


def locate() -> Located:
    found = installed()
    if isinstance(found, Missing) and docker_answers():
        return Compose()
    return found


def locate_or_raise() -> Native | Compose:
    """Raises ServersMissingError, which says what to install."""
    match locate():
        case Missing() as missing:
            raise ServersMissingError(missing.advice)
        case found:
            return found
