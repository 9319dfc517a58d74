"""What a receiver of webhooks makes of a delivery: genuine or not, seen before or not, and how it is answered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from trinity_client.webhook_datagrams import DatagramReceiver, Push
from trinity_client.webhook_verify import WebhookMessage, WebhookVerifier
from trinity_core.errors import TrinityError
from trinity_core.prices import plain
from trinity_core.webhook_secrets import SECRET_PREFIX
from trinity_mesh.clock import Clock

_SEEN_MAX: Final = 100_000
_ID: Final = "webhook-id"


@dataclass(frozen=True, slots=True)
class Faults:
    """How a receiver misbehaves, so that its sender can be tried."""

    fail: float = 0.0
    """Share of deliveries that are answered with `status`."""
    status: int = 503
    hang: float = 0.0
    """Share that are not answered at all."""
    delay_s: float = 0.0
    """How long every answer waits."""
    retry_after_s: int | None = None
    """`Retry-After` of those that fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one delivery is answered."""

    status: int
    """0: not at all."""
    body: bytes = b""
    fields: Mapping[str, str] = field(default_factory=dict)


Record = dict[str, Any]


class Receiver:
    """Judges deliveries one by one; `told` is called with a record of each."""

    def __init__(
        self,
        keys: list[str],
        *,
        faults: Faults,
        clock: Clock,
        random: Callable[[], float],
        told: Callable[[Record], None],
    ) -> None:
        """Without keys nothing is verified. `random` returns a number from 0 up to 1. Raises ValueError for a key."""
        self._verifier = WebhookVerifier(keys, clock=clock) if keys else None
        self._faults = faults
        self._clock = clock
        self._random = random
        self._told = told
        self._seen: OrderedDict[str, None] = OrderedDict()
        shared = [key for key in keys if key.startswith(SECRET_PREFIX)]
        self._datagrams = DatagramReceiver(shared) if shared else None

    @property
    def reads_datagrams(self) -> bool:
        """Whether it has a secret to check datagrams with."""
        return self._datagrams is not None

    def posted(self, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        """A delivery over HTTP."""
        record = self._begin("https", fields.get(_ID, ""))
        record["path"] = path
        try:
            message = self._read(fields, body)
        except TrinityError as error:
            return self._answer(record | {"genuine": False, "error": error.message}, Answer(status=401))
        record |= {"genuine": self._verifier is not None, "type": message.type, "data": message.data}
        record["again"] = self._is_again(message.message)
        return self._answer(record, self._fate(message.challenge))

    def datagram(self, data: bytes) -> bytes:
        """A datagram; what to send back, empty for nothing."""
        assert self._datagrams is not None
        try:
            push = self._datagrams.receive(data, now_s=self._clock.unix_ns() // 10**9)
        except TrinityError as error:
            self._told(self._begin("udp", "") | {"genuine": False, "error": error.message})
            return b""
        fate = self._fate("")
        record = self._begin("udp", push.message) | {"genuine": True, "number": push.number, "missed": push.missed}
        record |= _shown(push)
        if push.message:
            record["again"] = self._is_again(push.message)
        answered = fate.status == 204 or (bool(push.reply) and not push.message)
        self._told(record | {"answered": bool(push.reply) and answered})
        return push.reply if answered else b""

    def _read(self, fields: Mapping[str, str], body: bytes) -> WebhookMessage:
        if self._verifier is not None:
            return self._verifier.verify(fields, body)
        try:
            read = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            read = {}
        read = read if isinstance(read, dict) else {}
        data = read.get("data")
        return WebhookMessage(
            fields.get(_ID, ""), 0, str(read.get("type", "")), "", data if isinstance(data, dict) else {}
        )

    def _fate(self, challenge: str) -> Answer:
        """Challenges are always answered: a receiver that is not known is sent nothing to fail at."""
        if challenge:
            return Answer(status=200, body=challenge.encode(), fields={"content-type": "text/plain"})
        faults, drawn = self._faults, self._random()
        if drawn < faults.hang:
            return Answer(status=0)
        if drawn < faults.hang + faults.fail:
            wait = {} if faults.retry_after_s is None else {"retry-after": str(faults.retry_after_s)}
            return Answer(status=faults.status, fields=wait)
        return Answer(status=204)

    def _answer(self, record: Record, answer: Answer) -> Answer:
        self._told(record | {"status": answer.status})
        return answer

    def _begin(self, transport: str, message: str) -> Record:
        now = datetime.fromtimestamp(self._clock.unix_ns() / 1e9, UTC)
        return {"time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "via": transport, "id": message}

    def _is_again(self, message: str) -> bool:
        if message in self._seen:
            return True
        self._seen[message] = None
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        return False


def line_of(record: Record) -> str:
    """A record for people."""
    words = [record["time"][11:23], record["via"], str(record.get("type") or "-")]
    words += [record["id"]] if record["id"] else []
    words += _summary(record)
    if not record["genuine"]:
        words.append(f"NOT GENUINE: {record['error']}" if "error" in record else "not verified")
    if record.get("again"):
        words.append("again")
    if record.get("missed"):
        words.append(f"{record['missed']} missed before it")
    if "status" in record:
        words.append(f"-> {record['status'] or 'no answer'}")
    elif record.get("type") != "price.tick" and record["genuine"]:
        words.append("-> answered" if record["answered"] else "-> no answer")
    return "  ".join(words)


def _summary(record: Record) -> list[str]:
    data = record.get("data") or {}
    prices = data.get("prices") or ([data["price"]] if isinstance(data.get("price"), dict) else [])
    if not isinstance(prices, list):
        return []
    found = []
    for price in prices:
        if isinstance(price, dict):
            skipped = f" +{price['skipped']}" if price.get("skipped") else ""
            found.append(f"{price.get('asset')} {price.get('price')} {price.get('state')}{skipped}")
    return found


def _shown(push: Push) -> Record:
    """A datagram as a record shows it, with the words of HTTPS."""
    if push.message:
        body = push.body if isinstance(push.body, dict) else {}
        return {"type": body.get("type", ""), "data": body.get("data", {})}
    if not push.prices:
        return {"type": "heartbeat", "data": {}}
    prices = [
        {
            "asset": price.asset,
            "price": plain(price.price),
            "state": price.state.name.lower(),
            "sequence": price.sequence,
            "epoch": str(price.epoch),
            "skipped": price.skipped,
            "receive_time_ns": str(price.receive_time_ns),
            "venue_time_ns": None if price.venue_time_ns is None else str(price.venue_time_ns),
        }
        for price in push.prices
    ]
    return {"type": "price.tick", "data": {"prices": prices}}
