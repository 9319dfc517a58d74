"""The bridge's ports, answered by trinity_admission: whose key it is, whether it may ask now, and the count.

    admitting = Admitting(admission)
    create_app(…, authenticate=admitting, admission=admitting)

A call is counted when its answer is about to leave, a stream when it opens. `RateLimit` and
`RateLimit-Policy` stand on every answer to a valid key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from trinity_admission import refusals
from trinity_admission.admission import Admission as Judge
from trinity_admission.admitted import Admitted as Entry
from trinity_admission.asked import assets_of, outcome_of_code, outcome_of_response
from trinity_admission.held_key import HeldKey
from trinity_core import usage
from trinity_core.errors import Code
from trinity_http.answer import Admitted, Call, End, OpenAdmission, Outcome, Principal, RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder(Principal):
    """The holder of a key."""

    held: HeldKey


class Admitting:
    """Authenticator and Admission of the bridge."""

    def __init__(self, admission: Judge) -> None:
        """`admission` is this process's."""
        self._admission = admission
        self._open = OpenAdmission()

    async def authenticate(self, key: str) -> Principal:
        """The holder of a key, once its quota is known if it has one. Raises TrinityError."""
        held = self._admission.find(key)
        if held.monthly_quota:
            await self._admission.prepare(held)
        return Holder(held.key_id, None, held.metadata, held=held)

    def admit(self, call: Call) -> Admitted:
        """Let a call in. Raises TrinityError, with the key's limits in its headers."""
        principal = call.principal
        if not isinstance(principal, Holder):
            return self._open.admit(call)
        try:
            entry = self._admission.admit(
                principal.held,
                transport=usage.Transport.HTTP,
                method=call.method.name,
                scopes=call.method.scopes,
                address=call.address,
            )
        except refusals.RefusedError as error:
            raise RefusedError(
                error.reason, error.message, error.metadata, error.retry_after_ms, headers=_headers(error.fields)
            ) from None
        return _Call(entry, self._admission)


class _Call:
    """One call of a key's holder."""

    __slots__ = ("_admission", "_entry")

    def __init__(self, entry: Entry, admission: Judge) -> None:
        self._entry = entry
        self._admission = admission

    def bound(self, request: Message) -> None:
        self._entry.ask(assets_of(request))

    async def answer(self, outcome: Outcome) -> Sequence[tuple[bytes, bytes]]:
        self._entry.answered(_counted(outcome))
        if self._admission.counts.strict:
            await self._admission.counts.committed()
        return _headers(self._entry.fields())

    def opened(self, end: End) -> None:
        self._entry.opened(end)

    def sent(self, messages: int) -> None:
        """A stream was counted when it opened."""

    def close(self) -> None:
        self._entry.close()


def _counted(outcome: Outcome) -> usage.Outcome:
    if outcome.code is not Code.OK:
        return outcome_of_code(outcome.code)
    if outcome.local:
        return usage.Outcome.LOCAL
    return outcome_of_response(outcome.response)


def _headers(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in fields.items()]
