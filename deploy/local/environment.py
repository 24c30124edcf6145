"""The project's virtual environment: `.venv` with the locked requirements, and the project itself in it.

Runs with any Python 3.11 or newer, before there is an environment. Only the locked requirements come from
outside; the project itself is linked in by files written here, as an editable install would, so that no build
tool has to be fetched.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from deploy.local.apt import apt_install, can_install
from deploy.local.failure import ServerError

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
STAMP = VENV / "installed"
LAUNCHER_MODE = 0o755


def ensure_environment() -> None:
    """Does nothing when all is up to date. Raises ServerError with what to do when it cannot be made."""
    wanted = _stamp()
    if STAMP.exists() and STAMP.read_text() == wanted and _python_runs():
        return
    if not _python_runs() or _is_of_another_python():
        _create()
    print("Installing the locked requirements into .venv (the first time takes a minute or two) ...", flush=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")], check=False)
    if done.returncode:
        raise ServerError("The locked requirements could not be installed; what pip says is above.")
    _link_project()
    STAMP.write_text(wanted)
    print("The environment is ready: .venv/bin/mms-worker", flush=True)


def _stamp() -> str:
    digest = hashlib.sha256()
    for name in ("requirements.lock", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    # A folder that was moved or copied holds launchers of the old place.
    return f"{_version()} {digest.hexdigest()} {ROOT}\n"


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _python_runs() -> bool:
    try:
        command = [str(VENV / "bin" / "python"), "-c", "import pip"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _is_of_another_python() -> bool:
    return not (VENV / "lib" / f"python{_version()}").is_dir()


def _create() -> None:
    if not importlib.util.find_spec("ensurepip"):
        _install_venv_module()
    print(f"Making .venv with Python {_version()} ...", flush=True)
    # A run of its own: this Python may have been started before ensurepip was installed.
    done = subprocess.run([sys.executable, "-m", venv.__name__, "--clear", str(VENV)], check=False)
    if done.returncode:
        raise ServerError(f"{sys.executable} could not make .venv; what it says is above.")


def _install_venv_module() -> None:
    package = f"python{_version()}-venv"
    if not can_install():
        raise ServerError(f"Python's venv module is not complete here: install {package}, then run make again.")
    print(f"Python's venv module is not complete: installing {package} with apt ...", flush=True)
    apt_install((package,))


def _link_project() -> None:
    """What `pip install --no-deps --editable .` would leave: path, name and version, and the command."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    packages = VENV / "lib" / f"python{_version()}" / "site-packages"
    (packages / "mms_worker.pth").write_text(f"{ROOT}\n")
    for old in packages.glob("mms_worker-*.dist-info"):
        shutil.rmtree(old)
    metadata = packages / f"mms_worker-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "INSTALLER").write_text("make\n")
    entry_points = [f"{command} = {target}" for command, target in project["scripts"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[console_scripts]", *entry_points, ""]))
    launchers = []
    for command, target in project["scripts"].items():
        module, function = target.split(":")
        launcher = VENV / "bin" / command
        launcher.write_text(
            f"#!{VENV / 'bin' / 'python'}\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        launcher.chmod(LAUNCHER_MODE)
        launchers.append(launcher)
    written = [packages / "mms_worker.pth", *launchers, *metadata.iterdir(), metadata / "RECORD"]
    record = "".join(f"{path},,\n" for path in written)
    (metadata / "RECORD").write_text(record)
