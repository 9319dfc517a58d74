"""UDP sessions for callers' own keys; they need no database, so they open while it is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trinity.account.v1 import account_pb2
from trinity_account.board import KeyBoard
from trinity_account.following import Following
from trinity_admission.principal import Principal
from trinity_core.errors import Reason, TrinityError
from trinity_core.udp_session import open_session
from trinity_mesh.clock import Clock
from trinity_mesh.wire import stamp, unstamp

_S: Final = 10**9
_NONCE_BYTES: Final = 4


class Sessions:
    """Opens sessions by the keys on the board."""

    def __init__(
        self,
        *,
        board: KeyBoard,
        following: Following,
        master: bytes,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`master` is the secret that the endpoints of the mesh derive session keys from."""
        self._board = board
        self._following = following
        self._master = master
        self._clock = clock
        self._random_bytes = random_bytes

    async def open(self, caller: Principal) -> account_pb2.CreateUdpSessionResponse:
        """A session for the caller's key.

        Raises TrinityError MISSING_KEY for a caller without one, INVALID_KEY for one that has
        ended, TRANSPORT_NOT_ALLOWED where its plan has no datagrams.
        """
        if not caller.key_id:
            raise TrinityError(Reason.MISSING_KEY, "a session belongs to a key; call with one")
        record = await self._record(caller.key_id)
        now_s = self._clock.unix_ns() // _S
        end_s = unstamp(record.expire_time) // _S if record.HasField("expire_time") else None
        nonce = int.from_bytes(self._random_bytes(_NONCE_BYTES), "big")
        session = open_session(self._master, key_id=record.key_id, now_s=now_s, nonce=nonce, expire_s_max=end_s)
        if record.revoked or session.expire_s <= now_s:
            raise _invalid_key()
        if record.transports and account_pb2.TRANSPORT_UDP not in record.transports:
            raise TrinityError(
                Reason.TRANSPORT_NOT_ALLOWED, "the plan of this key does not have datagrams", {"transport": "udp"}
            )
        return account_pb2.CreateUdpSessionResponse(
            session_id=session.text,
            session_key=session.key(self._master),
            expire_time=stamp(session.expire_s * _S),
            scopes=record.scopes,
        )

    async def _record(self, key_id: str) -> account_pb2.KeyRecord:
        record = self._board.find(key_id)
        if record is None:
            # It may have been made a moment ago, by another service.
            await self._following.look()
            record = self._board.find(key_id)
        if record is None:
            raise _invalid_key()
        return record


def _invalid_key() -> TrinityError:
    return TrinityError(Reason.INVALID_KEY, "this key is not valid any more")
