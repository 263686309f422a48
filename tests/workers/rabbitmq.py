"""A RabbitMQ of the test's own, without plugins, with its name server (epmd) beside it."""

import asyncio
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aio_pika
import pytest

from gateway.ports import free_port
from gateway.together import end

_SERVER: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# Erlang takes a while, and more where others are busy.
_PATIENCE_S: Final = 50.0
_LOOK_AGAIN_S: Final = 0.1


@asynccontextmanager
async def running_rabbitmq(folder: Path) -> AsyncIterator[str]:
    """Run a broker in the folder, and yield its URL."""
    if not _SERVER.exists():
        pytest.fail("RabbitMQ is missing: `make test` installs it, or apt-get install it")
    port = free_port(3)
    names = {**os.environ, "ERL_EPMD_PORT": str(port + 2), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    async with (
        _running("epmd", names, folder),
        _running(str(_SERVER), names | _settings(folder, port), folder) as broker,
    ):
        url = f"amqp://127.0.0.1:{port}/"
        await _until_it_answers(broker, url, folder)
        yield url


def _settings(folder: Path, port: int) -> dict[str, str]:
    return {
        "HOME": str(folder),  # where Erlang keeps the cookie of this broker alone
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "no_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_NODENAME": "payonce@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(port + 1),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",  # one thread, which rests
    }


@asynccontextmanager
async def _running(
    program: str, environment: dict[str, str], folder: Path
) -> AsyncIterator[Process]:
    with (folder / "output").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            program, env=environment, cwd=folder, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_it_answers(broker: Process, url: str, folder: Path) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            assert broker.returncode is None, (folder / "output").read_text()
            try:
                connection = await aio_pika.connect(url)
            except (OSError, aio_pika.exceptions.AMQPError):
                await asyncio.sleep(_LOOK_AGAIN_S)  # what is awaited is in another program
            else:
                await connection.close()
                return


class Wire:
    """The network in front of a broker: it can be away, and it can lose the broker's answers."""

    def __init__(self, broker_url: str) -> None:
        self._broker_port = int(broker_url.rpartition(":")[2].rstrip("/"))
        self._port = free_port()
        self.url = f"amqp://127.0.0.1:{self._port}/"
        self.loses_answers = False

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port)
        async with server:
            yield

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._broker_port)
        out = asyncio.create_task(_copy(reader, there[1]))
        try:
            while (said := await there[0].read(65_536)) and not self.loses_answers:
                writer.write(said)
        except ConnectionError:
            pass
        finally:
            writer.close()
            there[1].close()
            await end([out])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while said := await reader.read(65_536):
        writer.write(said)
    writer.close()
