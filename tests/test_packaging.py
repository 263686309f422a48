"""What is shipped: a wheel that has everything in it, and locks that agree and name no registry."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-runtime.lock")


def pins(lock: str) -> set[str]:
    """Return the lines that name a version, with the condition under which it is taken."""
    text = (ROOT / lock).read_text()
    return {line.removesuffix(" \\") for line in re.findall(r"^\S+==.*$", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("payonce-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_every_file_of_the_packages(shipped: set[str]) -> None:
    files = [
        path.relative_to(ROOT).as_posix()
        for package in ("gateway", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sorted(set(files) - shipped) == []


def test_the_wheel_has_the_static_files(shipped: set[str]) -> None:
    static = [path for path in (ROOT / "static").rglob("*") if path.is_file()]
    wanted = {f"gateway/_static/{path.relative_to(ROOT / 'static').as_posix()}" for path in static}
    assert wanted
    assert sorted(wanted - shipped) == []


def test_the_wheel_has_no_tests(shipped: set[str]) -> None:
    assert {name.partition("/")[0] for name in shipped if "dist-info" not in name} == {
        "gateway",
        "workers",
    }


def test_what_runs_is_locked_to_what_is_tested() -> None:
    runtime = pins("requirements-runtime.lock")
    assert runtime
    assert sorted(runtime - pins("requirements.lock")) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_registry_and_every_version_has_its_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "index-url" not in text
    for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        assert not entry or "--hash=sha256:" in entry, entry
