"""The endpoint's doors, kept by trinity_admission: sessions of keys, and every answer counted.

Answers to lines without a session are counted under the name `udp-demo`, which is no key: nobody
is billed for them, and the endpoint's own allowance bounds them.
"""

from __future__ import annotations

from typing import Final

from trinity.options.v1 import options_pb2
from trinity.price.v1 import price_service_pb2
from trinity.report.v1 import report_service_pb2
from trinity_admission.admission import Admission
from trinity_admission.held_key import HeldKey
from trinity_admission.principal import Principal
from trinity_admission.udp_sessions import Claim, UdpSessions, Unproven
from trinity_core.usage import Transport
from trinity_udp.doors import Caller, Entry
from trinity_udp.drops import Drop

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
        return Drop(held.value) if isinstance(held, Unproven) else _Holder(self._admission, self._methods, held)

    async def committed(self) -> None:
        """Return once everything counted is as safe as it is meant to be. Raises TrinityError where it is not."""
        await self._admission.counts.committed()


_Methods = dict[str, tuple[str, tuple[str, ...]]]


class _Demo:
    principal = None

    def __init__(self, admission: Admission, methods: _Methods) -> None:
        self._admission = admission
        self._methods = methods

    def enter(self, command: str, asset: str, host: str) -> Entry:
        method, _ = self._methods[command]
        assets = (asset,) if asset else None
        return self._admission.unkeyed(DEMO, transport=Transport.UDP, method=method, assets=assets)


class _Holder:
    __slots__ = ("_admission", "_held", "_methods")

    def __init__(self, admission: Admission, methods: _Methods, held: HeldKey) -> None:
        self._admission = admission
        self._methods = methods
        self._held = held

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
