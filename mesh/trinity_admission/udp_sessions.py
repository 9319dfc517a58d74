"""Sessions of datagrams: whose a line is, by its session's MAC, and whether it comes for the first time.

The order of checks is that of docs/udp.md: time, seal, MAC, key, window. Nothing is kept of a session
before one of its MACs was good, so that nobody fills this table without a key. Whatever
fails is silence towards the sender; only our own counts tell the reasons apart.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trinity_admission.fast_pass import FastPass
from trinity_admission.held_key import HeldKey
from trinity_admission.keyring import Keyring
from trinity_admission.replay import ReplayWindow
from trinity_core.errors import TrinityError
from trinity_core.udp_mac import SessionMacs
from trinity_core.udp_session import find_session, tag_of_session

TIME_S: Final = 30
"""Greatest difference between a line's time and ours."""

_IDLE_NS: Final = (2 * TIME_S + 1) * 1_000_000_000
"""After this time no line that was let in can be sent again: its own time has passed."""
_SWEEP_NS: Final = 1_000_000_000
_CANDIDATES_MAX: Final = 64


class Unproven(StrEnum):
    """Why a line with a session is not believed."""

    TIME = "session_time"
    """Its time is too far from ours."""
    UNKNOWN = "session_unknown"
    """No key of ours sealed this id, or the session has ended."""
    MAC = "session_mac"
    """The MAC is not that of the session's key."""
    KEY = "session_key"
    """The key that opened the session is not good any more."""
    REPLAY = "session_replay"
    """The line came before, or is older than the window."""
    FULL = "sessions_full"
    """There are as many sessions as can be remembered."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a line says of its session."""

    session_id: int
    unix_s: int
    sequence: int
    mac: bytes
    signed: bytes
    """The line, or the binary datagram, before its MAC."""
    binary: bool = False


def own_window(session_id: int, expire_s: int) -> ReplayWindow:
    """A session's window in this process."""
    return ReplayWindow()


class Session:
    """A session that one of the keys sealed, as this process keeps it."""

    __slots__ = ("expire_s", "fast", "key_id", "macs", "source", "used_ns", "window")

    def __init__(self, key_id: str, macs: SessionMacs, expire_s: int) -> None:
        self.key_id = key_id
        self.macs = macs
        self.expire_s = expire_s
        """Its end, unix seconds."""
        self.window = ReplayWindow()
        self.used_ns = 0
        """When a line of it was last let in, monotonic."""
        self.fast: FastPass | None = None
        """The key's short way through admission, where an adapter has found that there is one."""
        self.source = b""
        """Address that it is good for."""


class UdpSessions:
    """Sessions that one process knows."""

    def __init__(
        self,
        *,
        master: bytes,
        keyring: Keyring,
        sessions_max: int,
        window_of: Callable[[int, int], ReplayWindow] = own_window,
    ) -> None:
        """No session is known yet.

        Args:
            master: the mesh's secret that keys of sessions are derived from.
            keyring: the replica of the keys.
            sessions_max: most sessions remembered at once; no key has more than a quarter of them.
            window_of: makes the window of a session by its id and its end (unix seconds); in this process by default.
        """
        self._master = master
        self._keyring = keyring
        self._sessions_max = sessions_max
        self._per_key_max = max(1, sessions_max // 4)
        self._window_of = window_of
        self._sessions: dict[int, Session] = {}
        self.known = self._sessions.get
        """The session of an id that was proven before; None for any other."""
        self._by_key: Counter[str] = Counter()
        self._swept_ns = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def cookie_master(self) -> bytes:
        """What the secrets of cookies follow from; another than that of sessions, as it follows from it."""
        return hmac.digest(self._master, b"udp1-cookies", "sha256")

    def prove(self, claim: Claim, *, mono_ns: int, unix_ns: int) -> HeldKey | Unproven:
        """The key whose session sent a line, the first time it comes; or why it is not believed."""
        now_s = unix_ns // 1_000_000_000
        if abs(claim.unix_s - now_s) > TIME_S:
            return Unproven.TIME
        session = self._sessions.get(claim.session_id)
        if session is not None and session.expire_s <= now_s:
            return Unproven.UNKNOWN
        found = session or self._found(claim.session_id, now_s)
        if found is None:
            return Unproven.UNKNOWN
        macs = found.macs
        if not hmac.compare_digest((macs.query if claim.binary else macs.text)(claim.signed), claim.mac):
            return Unproven.MAC
        held = self._keyring.get(found.key_id)
        if held is None:
            return Unproven.KEY
        if not self.judge(held, mono_ns=mono_ns, unix_ns=unix_ns):
            return Unproven.KEY
        if session is None and not self._keep(claim.session_id, found, mono_ns):
            return Unproven.FULL
        if not found.window.take(claim.sequence):
            return Unproven.REPLAY
        found.used_ns = mono_ns
        return held

    def holder(self, session: Session) -> HeldKey | None:
        """The key of a session, good or not; None where it is gone."""
        return self._keyring.get(session.key_id)

    def judge(self, held: HeldKey, *, mono_ns: int, unix_ns: int) -> bool:
        """Whether a key is good now."""
        try:
            self._keyring.judge(held, mono_ns=mono_ns, unix_ns=unix_ns)
        except TrinityError:
            return False
        return True

    def _found(self, session_id: int, now_s: int) -> Session | None:
        """A session of an id that one of the keys sealed."""
        candidates = self._keyring.with_tag(tag_of_session(session_id))[:_CANDIDATES_MAX]
        if not candidates:
            return None
        sealed = find_session(self._master, session_id, candidates, now_s=now_s)
        if sealed is None:
            return None
        return Session(sealed.key_id, SessionMacs(sealed.key(self._master)), sealed.expire_s)

    def _keep(self, session_id: int, session: Session, mono_ns: int) -> bool:
        full = len(self._sessions) >= self._sessions_max or self._by_key[session.key_id] >= self._per_key_max
        if full and mono_ns - self._swept_ns >= _SWEEP_NS:
            self._sweep(mono_ns)
            full = len(self._sessions) >= self._sessions_max or self._by_key[session.key_id] >= self._per_key_max
        if full:
            return False
        session.window = self._window_of(session_id, session.expire_s)
        self._sessions[session_id] = session
        self._by_key[session.key_id] += 1
        return True

    def _sweep(self, mono_ns: int) -> None:
        """Forget sessions that were silent for so long that nothing of theirs can be sent again."""
        self._swept_ns = mono_ns
        idle = [name for name, session in self._sessions.items() if mono_ns - session.used_ns > _IDLE_NS]
        for session_id in idle:
            del self._sessions[session_id]
        self._by_key = Counter(session.key_id for session in self._sessions.values())
