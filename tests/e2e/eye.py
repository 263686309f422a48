"""A camera's eye: reads a QR code off a picture of the screen, by code that is not ours.

What reads lives in a folder of its own, beside the environment that PayOnce runs in.
"""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from typing import Final

import pytest

from tests.e2e.program import REPOSITORY

_PACKAGES: Final = ("zxing-cpp==3.1.1", "pillow==13.0.0")
_FOLDER: Final = REPOSITORY / ".cache" / "eye" / "-".join(_PACKAGES)
_READ: Final = """
import sys, zxingcpp
from PIL import Image
for code in zxingcpp.read_barcodes(Image.open(sys.stdin.buffer)):
    print(code.text)
"""


async def read_code(picture: bytes) -> str:
    """Return what the one code in a picture (PNG) says."""
    if not (_FOLDER / "complete").exists():
        await _install()
    said = await _run(picture, sys.executable, "-c", _READ)
    (code,) = said.splitlines()
    return code


async def _install() -> None:
    shutil.rmtree(_FOLDER, ignore_errors=True)
    install = ("install", "--quiet", "--target", str(_FOLDER), "--only-binary", ":all:")
    await _run(b"", sys.executable, "-m", "pip", *install, *_PACKAGES)
    (_FOLDER / "complete").touch()


async def _run(given: bytes, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | {"PYTHONPATH": str(_FOLDER)},
    )
    said, complaint = await process.communicate(given)
    if process.returncode:
        pytest.fail(f"{command} failed:\n{complaint.decode()}")
    return said.decode()
