"""Ports that are free now and still free a moment later.

A port that the kernel gives for 0 is from the range that outgoing connections take theirs from, so
between its choice and its use a connection to a database may have it. Below that range nobody takes
a port by chance. There each process walks from a place of its own, so that two that choose at once
do not choose the same.
"""

import os
import socket
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Final

_FROM: Final = 10_240
_OUTGOING: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OUTGOING_FROM: Final = 32_768  # where the system does not say
_TRIES: Final = 1000
# A prime, so that processes which were started one after another begin far apart.
_steps: Final = count(os.getpid() * 7919)


def free_port(row: int = 1) -> int:
    """Return a port of 127.0.0.1 on which nobody listens, nor on the `row - 1` ports after it.

    Raises OSError where none was found.
    """
    outgoing_from = int(_OUTGOING.read_text().split()[0]) if _OUTGOING.exists() else _OUTGOING_FROM
    room = max(outgoing_from - _FROM - row, 1000)
    for _ in range(_TRIES):
        first, *_rest = (_FROM + next(_steps) % room for _ in range(row))
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + row):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise OSError("no free port of 127.0.0.1 was found")
