"""What may be asked of accounts beyond the rules of the contract, and what a change changes. Pure."""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from trinity.account.v1 import account_pb2
from trinity_account.encoding import associate_from_message, plan_from_message
from trinity_core.accounts import Associate, Plan
from trinity_core.errors import invalid_field
from trinity_core.keys import holds_key

_PLAN_FIELDS: Final = ("name", "rate_per_s", "burst", "monthly_quota", "scopes", "assets", "transports")
_ASSOCIATE_FIELDS: Final = ("name", "email", "plan", "suspended")
_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of text: names must read the same wherever they are shown."""
_MAPPED_BITS: Final = 96


def new_plan(message: account_pb2.Plan) -> Plan:
    """A plan to make. Raises INVALID_FIELD."""
    _check_plan(message)
    return plan_from_message(message)


def new_associate(message: account_pb2.Associate) -> Associate:
    """An associate to make. Raises INVALID_FIELD."""
    _check_associate(message)
    return associate_from_message(message)


def plan_change(request: account_pb2.UpdatePlanRequest) -> Callable[[Plan], Plan]:
    """What a request makes of a plan. Raises INVALID_FIELD."""
    message = request.plan
    if not message.plan:
        raise invalid_field("plan.plan", "it is needed; name the plan to change")
    _check_plan(message)
    wanted = plan_from_message(message)
    names = _changed(request.update_mask.paths, _PLAN_FIELDS, [name for name in _PLAN_FIELDS if getattr(wanted, name)])
    changes = {name: getattr(wanted, name) for name in names}
    return lambda old: replace(old, **changes)


def associate_change(request: account_pb2.UpdateAssociateRequest) -> Callable[[Associate], Associate]:
    """What a request makes of an associate. Raises INVALID_FIELD."""
    message = request.associate
    if not message.associate:
        raise invalid_field("associate.associate", "it is needed; name the associate to change")
    _check_associate(message)
    wanted = associate_from_message(message)
    filled = [name for name in _ASSOCIATE_FIELDS if getattr(wanted, name)]
    names = _changed(request.update_mask.paths, _ASSOCIATE_FIELDS, filled)
    changes = {name: getattr(wanted, name) for name in names}
    return lambda old: replace(old, **changes)


def networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks in their one form, each once. Raises INVALID_FIELD naming the one that is none."""
    found: dict[str, None] = {}
    for index, text in enumerate(texts):
        path = f"allowed_networks[{index}]"
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            hint = "; the bits after the prefix must be 0" if "host bits" in str(error) else ""
            raise invalid_field(path, f"{text[:64]!r} is no network{hint}") from None
        if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
            # An IPv4 address is judged as such, however the socket shows it.
            mapped = network.network_address.ipv4_mapped
            if mapped is not None:
                network = ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_BITS))
        found[str(network)] = None
    return tuple(found)


def check_text(path: str, text: str) -> None:
    """Raise INVALID_FIELD for text that holds a key, or characters that are not seen or change how others are seen."""
    if holds_key(text):
        raise invalid_field(path, "an API key stands in it, which would be stored in the clear; leave it out")
    for character in text:
        if unicodedata.category(character) in _UNSEEN or character in _TURNS:
            raise invalid_field(path, f"the character U+{ord(character):04X} is not taken; use printable text")


def _check_plan(message: account_pb2.Plan) -> None:
    check_text("plan.name", message.name)
    for index, transport in enumerate(message.transports):
        if transport == account_pb2.TRANSPORT_UNSPECIFIED:
            raise invalid_field(f"plan.transports[{index}]", "use http, udp or grpc")


def _check_associate(message: account_pb2.Associate) -> None:
    check_text("associate.name", message.name)
    check_text("associate.email", message.email)


def _changed(paths: Sequence[str], known: Sequence[str], filled: Sequence[str]) -> Sequence[str]:
    """Names of the fields to change: those of the mask, and without one those that are not empty."""
    if not paths:
        return filled
    for path in paths:
        if path not in known:
            raise invalid_field("update_mask", f"{path[:64]!r} is no field that can be changed; use {', '.join(known)}")
    return tuple(dict.fromkeys(paths))
