"""Outages: which errors say that PostgreSQL or Redis is away, and how the log tells it.

What they have in common is that a repeat may succeed: a caller gets a 503, a sweep looks again, and
the log gets a line that is not said again and again. Any other error is a fault of ours, and loud.
"""

from typing import Final, Literal

import asyncpg
from redis.exceptions import RedisError

from gateway.errors import ChannelUnavailable, QueueUnavailable, ServiceUnavailable
from gateway.telemetry import OUTAGES, log

Missing = Literal["postgresql", "redis", "channel", "queue"]

# PostgreSQL is away, is starting or going, is full, is only a standby, or gave up waiting.
_POSTGRESQL: Final = (
    ServiceUnavailable,
    OSError,  # includes TimeoutError; what Redis, channels and the queue raise comes wrapped
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a server that does not know us yet
    asyncpg.InvalidCatalogNameError,  # the database is being restored
    asyncpg.InternalClientError,  # the connection was killed while it was being used
    asyncpg.InterfaceError,  # the pool or the connection is closing
)
# asyncpg's InterfaceError too, but what we passed to a statement was wrong.
_OUR_FAULT: Final = ValueError


def missing(error: BaseException) -> Missing | None:
    """Say what is away when this is raised; None: nothing is, it is a fault of ours."""
    match error:
        case RedisError():
            return "redis"
        case ChannelUnavailable():
            return "channel"
        case QueueUnavailable():
            return "queue"
        case OSError() if error.filename is not None:
            return None  # a file, and no connection
        case _ if isinstance(error, _POSTGRESQL) and not isinstance(error, _OUR_FAULT):
            return "postgresql"
        case _:
            return None


def tell(event: str, error: BaseException, **said: str) -> None:
    """Log what failed: an outage in a line, and counted; a fault of ours with its traceback."""
    away = missing(error)
    if away is None:
        log.error(event, exc_info=error, **said)
    else:
        OUTAGES.labels(missing=away).inc()
        log.warning(event, outage=away, error=f"{type(error).__name__}: {error}", **said)
