"""Ports that are chosen at once, here and in other processes."""

import socket
import subprocess
import sys

from gateway.ports import free_port

CHOOSE = "from gateway.ports import free_port; print(*(free_port() for _ in range(100)))"


def test_no_port_is_chosen_twice() -> None:
    chosen = [free_port() for _ in range(100)]
    assert len(set(chosen)) == 100


def test_processes_that_choose_at_once_choose_other_ports() -> None:
    choosing = [
        subprocess.Popen([sys.executable, "-c", CHOOSE], stdout=subprocess.PIPE) for _ in range(3)
    ]
    chosen = [port for each in choosing for port in each.communicate()[0].split()]
    assert len(chosen) == len(set(chosen)) == 300


def test_a_row_of_ports_is_free_as_a_whole() -> None:
    first = free_port(3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 1))
        for _ in range(100):
            other = free_port(3)
            assert not other <= first + 1 < other + 3
