"""The endpoint's doors, kept by trinity_admission: sessions of keys, and every answer counted.

Answers to lines without a session are counted under the name `udp-demo`, which is no key: nobody
is billed for them, and the endpoint's own allowance bounds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trinity.options.v1 import options_pb2
from trinity.price.v1 import price_service_pb2
from trinity.report.v1 import report_service_pb2
from trinity_admission.admission import Admission
from trinity_admission.fast_pass import FastPass, UnkeyedPass
from trinity_admission.held_key import HeldKey
from trinity_admission.principal import Principal
from trinity_admission.udp_sessions import Claim, Session, UdpSessions, Unproven
from trinity_core.udp_cookie import Cookies
from trinity_core.udp_mac import SessionMacs
from trinity_core.usage import Transport
from trinity_udp.allowance import host_of
from trinity_udp.doors import Caller, Entry
from trinity_udp.drops import Drop

if TYPE_CHECKING:
    from trinity_admission.ledger import Slot

DEMO: Final = "udp-demo"
"""What callers without a session are counted under."""

_OWN: Final = {"PING": "Ping", "TIME": "Time", "HELP": "Help"}
"""Commands of the datagram interface itself, as they are counted."""


class Admitting:
    """The doors of all endpoints of a process: one window of sessions, so that no line is good at two."""

    def __init__(self, admission: Admission, sessions: UdpSessions) -> None:
        """Both are this process's."""
        self._admission = admission
        self._sessions = sessions
        self._methods = _methods()
        self._demo = _Demo(admission, self._methods)
        self.cookies = Cookies(sessions.cookie_master)
        """Those of the mesh: any endpoint knows another's."""
        self.short = Short(admission, sessions, self._methods)
        """The short way in for prices that are at hand."""

    @property
    def strict(self) -> bool:
        """Answers must wait for `committed`."""
        return self._admission.counts.strict

    def demo(self) -> Caller:
        """Who has no session."""
        return self._demo

    def session(self, claim: Claim, *, mono_ns: int, unix_ns: int) -> Caller | Drop:
        """Who has one; or why that is not believed."""
        held = self._sessions.prove(claim, mono_ns=mono_ns, unix_ns=unix_ns)
        if isinstance(held, Unproven):
            return Drop(held.value)
        session = self._sessions.known(claim.session_id)
        assert session is not None
        return _Holder(self._admission, self._methods, held, session.macs)

    async def committed(self) -> None:
        """Return once everything counted is as safe as it is meant to be. Raises TrinityError where it is not."""
        await self._admission.counts.committed()


_Methods = dict[str, tuple[str, tuple[str, ...]]]


class Short:
    """Implements ShortDoors."""

    def __init__(self, admission: Admission, sessions: UdpSessions, methods: _Methods) -> None:
        self._admission = admission
        self._sessions = sessions
        self._methods = methods
        self._demo: UnkeyedPass | None = None
        self.known = sessions.known

    def pass_of(self, session: Session, source: bytes, /) -> FastPass | None:
        """The way of a session's key from an address (packed); None where it has to go the long one."""
        session.fast = None
        held = self._sessions.holder(session)
        if held is None:
            return None
        method, scopes = self._methods["GET"]
        address = host_of(source)
        session.fast = self._admission.fast_pass(
            held, transport=Transport.UDP, method=method, scopes=scopes, address=address
        )
        session.source = source
        return session.fast

    def demo(self) -> UnkeyedPass | None:
        """The way of who has no session; None where it has to go the long one."""
        if self._demo is None:
            method, _ = self._methods["GET"]
            self._demo = self._admission.unkeyed_pass(DEMO, transport=Transport.UDP, method=method)
        return self._demo

    def again(self, session_id: int, *, mono_ns: int, unix_ns: int) -> Caller | Drop:
        """Who has a session whose line was proven just now; or that its key is not good any more."""
        session = self._sessions.known(session_id)
        held = None if session is None else self._sessions.holder(session)
        if session is None or held is None or not self._sessions.judge(held, mono_ns=mono_ns, unix_ns=unix_ns):
            return Drop.SESSION_KEY
        return _Holder(self._admission, self._methods, held, session.macs)

    def give_back(self, slots: Sequence[Slot], /) -> None:
        """Answers that were counted did not leave."""
        for slot in slots:
            self._admission.counts.give_back(slot)


class _Demo:
    principal = None
    macs = None

    def __init__(self, admission: Admission, methods: _Methods) -> None:
        self._admission = admission
        self._methods = methods

    def enter(self, command: str, asset: str, host: str) -> Entry:
        method, _ = self._methods[command]
        assets = (asset,) if asset else None
        return self._admission.unkeyed(DEMO, transport=Transport.UDP, method=method, assets=assets)


class _Holder:
    __slots__ = ("_admission", "_held", "_methods", "macs")

    def __init__(self, admission: Admission, methods: _Methods, held: HeldKey, macs: SessionMacs) -> None:
        self._admission = admission
        self._methods = methods
        self._held = held
        self.macs = macs
        """Those of the session."""

    @property
    def principal(self) -> Principal:
        """The holder of the key that opened the session."""
        return self._held.principal

    def enter(self, command: str, asset: str, host: str) -> Entry:
        method, scopes = self._methods[command]
        return self._admission.admit(
            self._held,
            transport=Transport.UDP,
            method=method,
            scopes=scopes,
            address=host,
            assets=(asset,) if asset else None,
        )


def _methods() -> _Methods:
    """Methods that a command stands for, by the contract's own words: their names and the scopes they need."""
    found: _Methods = {word: (name, ()) for word, name in _OWN.items()}
    for contract in (price_service_pb2, report_service_pb2):
        for service in contract.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                rules = method.GetOptions().Extensions[options_pb2.method]
                if rules.udp_command:
                    found[rules.udp_command] = (method.name, tuple(rules.scopes))
    return found
