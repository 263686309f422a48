"""SDKs that merchants really use: each installed once, in a folder where nothing of ours is."""

import asyncio
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import geteuid
from pathlib import Path

import msgspec
import pytest

from tests.sandbox.merchant import Json

REPOSITORY = Path(__file__).parents[2]
SDK_CACHE = REPOSITORY / ".cache" / "sdk"
SCRIPTS = Path(__file__).parent / "sdk"


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of an environment that holds these packages alone."""
    with _made_once(name) as folder:
        if folder is not None:
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(folder / "bin" / "pip"), "install", "-q", *packages)
    return SDK_CACHE / name / "bin" / "python"


def node_folder_with(package: str) -> Path:
    """The folder in which this package is installed for Node.js."""
    if shutil.which("npm") is None:
        if shutil.which("apt-get") is None or geteuid() != 0:
            pytest.fail("this test needs Node.js with npm: install them, or run the tests as root")
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "nodejs", "npm")
    with _made_once(package) as folder:
        if folder is not None:
            _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), package)
    return SDK_CACHE / package


@contextmanager
def _made_once(name: str) -> Iterator[Path | None]:
    """An empty folder to install into; None where that is done. Another run waits meanwhile."""
    folder = SDK_CACHE / name
    SDK_CACHE.mkdir(parents=True, exist_ok=True)
    with (SDK_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "complete").exists():
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        (folder / "complete").touch()


async def run_script(given: Json, *command: str) -> bytes:
    """Run a script with its input and answer what it printed; a complaint fails the test."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaint = await process.communicate(msgspec.json.encode(given))
    assert process.returncode == 0, complaint.decode()
    return printed


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
