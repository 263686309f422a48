"""Child processes that do not outlive us and, where they refuse to be root, are not root.

PostgreSQL refuses to run as root, yet containers and fresh machines often have nobody else. So as
root a child may be given another user. That user cannot always reach its program and its data: a
clone under a closed home is behind a folder that only root may enter. Opening those folders to
everybody would be a poor price for a demonstration, so the child alone is allowed to pass them, by
one ambient capability.
"""

import ctypes
import os
import pwd
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from gateway.embedded.errors import EmbeddedError

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ = 23
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 4
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
# Either lets a process enter any folder. The first cannot write, so it is preferred; the second is
# what root has left in an ordinary container.
_CAP_DAC_READ_SEARCH = 2
_CAP_DAC_OVERRIDE = 1
_NEEDED_TO_BE_ANOTHER = (0, 6, 7)  # CAP_CHOWN, CAP_SETGID, CAP_SETUID

# Resolved before any fork: between fork and exec only system calls are safe.
_libc = ctypes.CDLL(None, use_errno=True)


class User(msgspec.Struct, frozen=True):
    """Whom a child runs as; `passage` is the capability that lets it enter closed folders."""

    uid: int
    gid: int
    passage: int | None = None


def choose_user(program: Path, data: Path) -> User | None:
    """Say who may run a server that refuses root: None is ourselves, when we are not root.

    Root's choice is the owner of the data, or nobody (the user of that name) if that is root too.
    Raises EmbeddedError where root may not act as another user.
    """
    if os.geteuid() != 0:
        return None
    if not all(_may_have(capability) for capability in _NEEDED_TO_BE_ANOTHER):
        raise EmbeddedError(
            "PostgreSQL does not run as root, and this root may not act as another user. Start "
            "PayOnce as an ordinary user, or set PAYONCE_DATABASE_URL to a server of your own."
        )
    passage = None
    if not (_is_open_to_all(program) and _is_open_to_all(data)):
        passage = next(filter(_may_have, (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE)), None)
    if data.exists() and data.stat().st_uid != 0:
        return User(data.stat().st_uid, data.stat().st_gid, passage)
    nobody = pwd.getpwnam("nobody")
    return User(nobody.pw_uid, nobody.pw_gid, passage)


def _is_open_to_all(path: Path) -> bool:
    """Tell whether every user can enter all folders above the path."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _may_have(capability: int) -> bool:
    """Tell whether root has this capability here; outside Linux root has no such limits."""
    if sys.platform != "linux":
        return True
    return bool(_libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1)


def start_child(
    command: Sequence[str],
    *,
    user: User | None,
    dies_by: signal.Signals,
    output: BinaryIO,
    folder: Path,
    keep_open: Sequence[int],
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with a bare environment.

    It gets `dies_by` when we die, however we die (Linux); a Ctrl-C meant for us does not reach it.
    `keep_open` are file descriptors that it inherits.
    """
    return subprocess.Popen(  # noqa: S603 - the commands are our own
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=folder,
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
        pass_fds=keep_open,
        start_new_session=True,
        # A launcher program would cost a start of Python for each server; what runs between fork
        # and exec here is only system calls.
        preexec_fn=_before_exec(user, dies_by),  # noqa: PLW1509
    )


def _before_exec(user: User | None, dies_by: signal.Signals) -> Callable[[], None]:
    """Prepare what the child does between fork and exec; the order of the steps matters."""
    parent = os.getpid()

    def become() -> None:
        if user is not None:
            _become(user)
        if sys.platform == "linux":
            # After the change of user, which clears it.
            _libc.prctl(_PR_SET_PDEATHSIG, int(dies_by), 0, 0, 0)
            if os.getppid() != parent:  # we were killed before the child could ask to be told
                os._exit(1)

    return become


def _become(user: User) -> None:
    if user.passage is not None and sys.platform == "linux":
        # Keep capabilities across the change of user, and let access(2) count them: initdb asks
        # by it whether it can run the server. All but one are given up below.
        _libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(user.gid)
    os.setuid(user.uid)
    if user.passage is not None and sys.platform == "linux":
        # An ambient capability survives exec, and must be permitted and inheritable before.
        mask = 1 << user.passage
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        _libc.capset(header, struct.pack("=6I", mask, mask, mask, 0, 0, 0))
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, user.passage, 0, 0)
