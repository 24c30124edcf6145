"""The image, as far as it can be seen without an engine: what goes into it, from where, and who runs in it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.image.locks import SIMULATOR_ROOTS, build_lock, part_of_lock, simulator_lock, worker_lock
from tests.deploy.places import DOCKERFILE, ROOT

LINES = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
WHOLE_LOCK = (ROOT / "requirements.lock").read_text()
LINTER = Path(sys.executable).with_name("hadolint")


def test_the_linter_finds_nothing() -> None:
    linted = subprocess.run([LINTER, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


# --- What it begins with, and who runs in it --------------------------------------------------------------


def stage(name: str) -> list[str]:
    start = next(index for index, line in enumerate(LINES) if re.fullmatch(rf"FROM \S+ AS {name}", line))
    end = next((index for index in range(start + 1, len(LINES)) if LINES[index].startswith("FROM ")), len(LINES))
    return LINES[start:end]


def test_one_image_comes_from_outside_and_its_version_is_exact() -> None:
    names = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    stages = {line.split()[3] for line in LINES if line.startswith("FROM ")}
    assert names - stages == {"${PYTHON_IMAGE}"}
    (image,) = (line.partition("=")[2] for line in LINES if line.startswith("ARG PYTHON_IMAGE="))
    assert re.fullmatch(r"docker\.io/library/python:\d+\.\d+\.\d+-slim-[a-z]+", image)


@pytest.mark.parametrize("name", ["worker", "simulator"])
def test_what_runs_is_nobody_in_particular_and_starts_without_a_shell(name: str) -> None:
    lines = stage(name)
    assert "USER 10001:10001" in lines
    (entry_point,) = (line.removeprefix("ENTRYPOINT ") for line in lines if line.startswith("ENTRYPOINT "))
    assert isinstance(ast.literal_eval(entry_point), list)
    after = lines[lines.index("USER 10001:10001") :]
    assert not [line for line in after if line.startswith(("COPY ", "ADD ", "RUN "))]


def test_nothing_that_is_fetched_goes_without_its_hash() -> None:
    build = " ".join(stage("build"))
    assert "PIP_REQUIRE_HASHES=1" in build
    assert "PIP_ONLY_BINARY=:all:" in build
    without_hashes = [line for line in LINES if "PIP_REQUIRE_HASHES=0" in line]
    assert len(without_hashes) == 1
    assert "--no-index --no-deps dist/*.whl" in without_hashes[0]


# --- What it is made of -----------------------------------------------------------------------------------


def names_in(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))


def wanted(requirement: str, extra: str = "") -> set[str]:
    """What is installed for it here, itself included."""
    parsed = Requirement(requirement)
    if parsed.marker is not None and not parsed.marker.evaluate({"extra": extra}):
        return set()
    name = re.sub(r"[-_.]+", "-", parsed.name).lower()
    found = {name}
    for inner in requires(parsed.name) or ():
        for inner_extra in parsed.extras or {""}:
            found |= wanted(inner, inner_extra)
    return found


def test_the_workers_lock_holds_all_that_it_needs_and_nothing_of_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = set().union(*(wanted(requirement) for requirement in project["dependencies"]))
    locked = names_in(worker_lock())
    assert needed - locked == set()
    assert locked & {"pytest", "mypy", "ruff", "hypothesis", "trustme", "hatchling", "uv", "pip"} == set()


@pytest.mark.parametrize("lock", [worker_lock(), build_lock(), simulator_lock()])
def test_each_lock_is_a_part_of_the_projects_own_and_every_entry_has_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[a-z0-9-]+==)", lock, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert entry in WHOLE_LOCK
        assert "--hash=sha256:" in entry


def test_what_asks_for_a_package_that_is_not_locked_is_told_so() -> None:
    with pytest.raises(ValueError, match="left-pad is not in requirements.lock"):
        part_of_lock(WHOLE_LOCK, ["left-pad"])


def test_the_simulators_lock_covers_what_the_simulator_imports() -> None:
    imported = set()
    for path in (ROOT / "loadtest" / "simulator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    foreign = {name.replace("_", "-") for name in imported - sys.stdlib_module_names - {"loadtest"}}
    assert foreign <= set(SIMULATOR_ROOTS)
    assert set(SIMULATOR_ROOTS) <= names_in(simulator_lock())


# --- What is copied ---------------------------------------------------------------------------------------


def test_only_what_the_image_is_made_of_reaches_the_engine() -> None:
    first, *let_in = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert (first, let_in.pop()) == ("*", "**/__pycache__")
    sources: set[str] = set()
    for line in LINES:
        if line.startswith("COPY ") and "--from=" not in line:
            sources |= set(line.split()[1:-1])
    assert {pattern.removeprefix("!") for pattern in let_in} == sources
    assert [source for source in sources if not list(ROOT.glob(source))] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made as the image makes it; nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


def test_the_wheel_holds_the_worker_whole_and_nothing_else(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for path in (ROOT / "worker").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert inside == {path.relative_to(ROOT).as_posix() for path in files}
    assert any(name.endswith(".lua") for name in inside)


def test_the_worker_of_the_wheel_runs_without_the_project_around_it(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "packages")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); import worker; print(worker.__file__);"
    code += "from worker.entry import main; sys.exit(main())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MMS_", "PYTHON"))}
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "packages", "schema", "job"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith(str(tmp_path / "packages"))
    assert '"$schema"' in ran.stdout
