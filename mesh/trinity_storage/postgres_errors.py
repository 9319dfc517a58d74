"""What asyncpg and PostgreSQL raise, in our own words.

- STORE_UNAVAILABLE: no connection, a lost one, too slow, out of some resource; with
  `outcome: unknown` in its metadata where a statement was on its way
- STORE_CONFLICT: a deadlock, a serialization failure, a lock not had in time
- ALREADY_EXISTS: a value that must be unique and is not; `constraint` names which
- INTERNAL: anything else, a mistake of ours

The server's own text goes to the log with the cause, never to a caller: it can hold values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from trinity_core.errors import Reason, TrinityError

_UNKNOWN: Final = {"outcome": "unknown"}

_CONFLICTS: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,  # a migration changed a table under a prepared statement
)
_RESOURCES: Final = (
    asyncpg.InsufficientResourcesError,  # 53: too many connections, disk full, out of memory
    asyncpg.OperatorInterventionError,  # 57: shut down, starting up, statement timeout
    asyncpg.PostgresSystemError,  # 58: an I/O error of the server
)


@contextmanager
def renamed() -> Iterator[None]:
    """Raise what the block raises as TrinityError."""
    try:
        yield
    except TimeoutError as error:
        raise TrinityError(Reason.STORE_UNAVAILABLE, "the database did not answer in time", _UNKNOWN) from error
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError) as error:
        raise TrinityError(Reason.STORE_UNAVAILABLE, "the connection to the database was lost", _UNKNOWN) from error
    except asyncpg.UniqueViolationError as error:
        constraint = {"constraint": error.constraint_name or ""}
        raise TrinityError(Reason.ALREADY_EXISTS, "it exists already", constraint) from error
    except _CONFLICTS as error:
        raise TrinityError(Reason.STORE_CONFLICT, "another change came first; try again", retry_after_ms=0) from error
    except _RESOURCES as error:
        raise TrinityError(
            Reason.STORE_UNAVAILABLE, f"the database cannot do this now ({error.sqlstate})", _UNKNOWN
        ) from error
    except asyncpg.ClientConfigurationError as error:
        raise TrinityError(Reason.STORE_UNAVAILABLE, f"the database's address cannot be used: {error}") from error
    except asyncpg.InterfaceError as error:
        if _is_closed(error):
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the connection to the database was lost", _UNKNOWN) from error
        raise TrinityError(Reason.INTERNAL, "the database was used wrongly") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise TrinityError(
            Reason.STORE_UNAVAILABLE, f"the database refuses this user or does not exist ({error.sqlstate})"
        ) from error
    except asyncpg.PostgresError as error:
        raise TrinityError(Reason.INTERNAL, f"the database refused a statement ({error.sqlstate})") from error


def is_unreachable(error: BaseException) -> bool:
    """Whether connecting failed in a way that passes: nobody there, starting, stopping, or full."""
    if isinstance(error, asyncpg.InterfaceError):
        return _is_closed(error)
    return isinstance(error, OSError | asyncpg.PostgresConnectionError | _RESOURCES[0] | _RESOURCES[1])


def _is_closed(error: asyncpg.InterfaceError) -> bool:
    # asyncpg has no type of its own for a connection that ended before the call.
    return any(words in str(error) for words in ("is clos", "released back to the pool"))
