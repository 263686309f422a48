"""The folder that the embedded servers keep: one lock, one password and one log for each.

A server inherits its lock. So the lock is free only when the last process that could write the
data is gone, and a second start can never touch data that is in use. The lock file also says who
holds it and where the server listens.
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
from gateway.errors import PayOnceError

_ORPHANS_END_S: Final = 15.0
_LOG_LIMIT_BYTES: Final = 8 * 1024 * 1024


class EmbeddedError(PayOnceError):
    """An embedded server cannot run; the message says why and what to do."""


class DataFolderInUse(EmbeddedError):
    """Somebody else runs on that data folder."""


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


def unusable(path: Path, error: OSError) -> EmbeddedError:
    """Turn an error of the file system into one that says what to do."""
    return EmbeddedError(
        f"Cannot use {path}: {error.strerror}. Make it writable for the user that starts PayOnce, "
        "or name another folder with --data (PAYONCE_DATA)."
    )


async def claim(lock_file: Path) -> int:
    """Take the lock, as a file descriptor; closing it gives the lock back.

    Raises DataFolderInUse if another PayOnce holds it. Waits a while for servers that an earlier
    PayOnce left when it was killed, because they are ending.
    """
    lock = _open_lock(lock_file)
    try:
        deadline = time.monotonic() + _ORPHANS_END_S
        while not _try_lock(lock):
            holder = _read(lock)
            if _is_alive(holder.owner):
                raise DataFolderInUse(
                    f"{lock_file.parent} is in use by another PayOnce, process {holder.owner}. "
                    "Stop that one, or give this one a folder of its own with --data."
                )
            if time.monotonic() > deadline:
                raise DataFolderInUse(
                    f"{lock_file.parent} is in use by a server of an earlier PayOnce, process "
                    f"{holder.server}, that does not end. End it, then start again."
                )
            await asyncio.sleep(0.02)
        describe(lock, Holder(os.getpid()))
    except BaseException:
        os.close(lock)
        raise
    return lock


def describe(lock: int, holder: Holder) -> None:
    """Write into a lock that we hold who holds it."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, msgspec.json.encode(holder), 0)


def holder_of(lock_file: Path) -> Holder | None:
    """Say who holds a lock; None if nobody does, or if it is not ours to know."""
    try:
        lock = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
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
        # Readable by us alone: PostgreSQL quotes the statements that failed.
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
    except OSError as error:
        raise unusable(path, error) from error


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from error


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


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
