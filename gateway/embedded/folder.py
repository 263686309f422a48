"""The folder that the embedded servers keep: locks, one password and one log for each server.

Two locks guard a server's data. One is ours and ends with us. The other is inherited by the server,
so it ends with the last process that could write the data, and a second start can never touch data
in use. Neither trusts a process number: those come again, in containers soon. The first lock's file
also says who holds it and where the server listens.
"""

import asyncio
import fcntl
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from gateway.embedded.child import User
from gateway.embedded.errors import DataFolderInUse, unusable

_DYING_S: Final = 0.5
_ORPHANS_END_S: Final = 15.0
_LOG_LIMIT_BYTES: Final = 8 * 1024 * 1024


class Holder(msgspec.Struct, frozen=True):
    """What a lock file says of who holds it: the PayOnce, its server, and where that listens."""

    owner: int = 0
    server: int = 0
    url: str = ""


def open_folder(data: Path) -> Path:
    """Make the folder if need be. Others may pass through it, for a server that is not us."""
    data = data.resolve()
    try:
        data.mkdir(mode=0o711, parents=True, exist_ok=True)
        if not os.access(data, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise unusable(data, error) from error
    return data


class Claim:
    """A server's data is ours; `inherited` is what the server must inherit."""

    def __init__(self, ours: int, inherited: int) -> None:
        self._ours = ours
        self.inherited = inherited
        self._is_given_back = False

    def describe(self, server: int, url: str) -> None:
        """Let others see which server runs, and where."""
        _write(self._ours, Holder(os.getpid(), server, url))

    def give_back(self) -> None:
        """Let go of the data; a second call does nothing."""
        if not self._is_given_back:
            self._is_given_back = True
            os.close(self.inherited)
            os.close(self._ours)


async def claim(data: Path, name: str) -> Claim:
    """Claim a server's data. Raises DataFolderInUse if another PayOnce has it.

    Waits a while for a PayOnce that was killed, and for its servers, which end with it.
    """
    ours = _open_lock(data / f"{name}.lock")
    inherited = _open_lock(data / f"{name}.busy")
    try:
        if not await _lock_within(_DYING_S, ours):
            raise DataFolderInUse(
                f"{data} is in use by another PayOnce, process {_read(ours).owner}. "
                "Stop that one, or give this one a folder of its own with --data."
            )
        if not await _lock_within(_ORPHANS_END_S, inherited):
            raise DataFolderInUse(
                f"{data} is in use by the {name} server of an earlier PayOnce, process "
                f"{_read(ours).server}, which does not end. End it, then start again."
            )
        _write(ours, Holder(os.getpid()))
    except BaseException:
        os.close(inherited)
        os.close(ours)
        raise
    return Claim(ours, inherited)


def holder_of(data: Path, name: str) -> Holder | None:
    """Say who holds a server's data; None if nobody does, or if it is not ours to know."""
    try:
        lock = os.open(data / f"{name}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _try_lock(lock) else _read(lock)
    finally:
        os.close(lock)


def keep_password(path: Path, user: User | None) -> str:
    """Return the password kept in the file, made on first use; only `user` and root read it."""
    try:
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        if user is not None:
            os.chown(path, user.uid, user.gid)
        return path.read_text()
    except OSError as error:
        raise unusable(path, error) from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        os.fsync(file.fileno())
    draft.replace(path)


def open_log(path: Path) -> BinaryIO:
    """Open a server's log to append; a long one is put aside first, in place of the last such."""
    try:
        if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
            path.replace(path.with_name(path.name + ".old"))
        path.touch(mode=0o600)  # PostgreSQL quotes the statements that failed
        return path.open("ab")
    except OSError as error:
        raise unusable(path, error) from error


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from error


async def _lock_within(timeout_s: float, lock: int) -> bool:
    deadline = time.monotonic() + timeout_s
    while not _try_lock(lock):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def _try_lock(lock: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _read(lock: int) -> Holder:
    # Its holder may be about to write it; then we see an empty file, and look again.
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(os.pread(lock, 4096, 0), type=Holder)
    return Holder()


def _write(lock: int, holder: Holder) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, msgspec.json.encode(holder), 0)
