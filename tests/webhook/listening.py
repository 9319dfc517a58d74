"""A customer that listens for datagrams on a real socket, with the receiver that customers install."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from trinity_client.webhook_datagrams import DatagramReceiver, Push
from trinity_core.errors import TrinityError
from trinity_core.webhook_secrets import Scheme, SecretValue
from trinity_core.webhook_urls import Target, read_url
from webhook.receiving import POLICY

SECRET = SecretValue(Scheme.V1, bytes(range(32)))
NOW_S = 1_767_322_800


class Listener(asyncio.DatagramProtocol):
    """A receiver of a customer: answers what it takes, if it `answers`."""

    def __init__(self, *keys: str) -> None:
        self.receiver = DatagramReceiver(keys or [SECRET.text])
        self.pushes: list[Push] = []
        self.raw: list[bytes] = []
        self.refused: list[str] = []
        self.answers = True
        self.lose = 0
        self.senders: list[Any] = []
        self.now_s: Callable[[], int] = lambda: NOW_S

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.raw.append(data)
        self.senders.append(addr)
        if self.lose:
            self.lose -= 1
            return
        try:
            push = self.receiver.receive(data, now_s=self.now_s())
        except TrinityError as error:
            self.refused.append(error.message)
            return
        self.pushes.append(push)
        if push.reply and self.answers:
            self.transport.sendto(push.reply, addr)

    def target(self, host: str = "127.0.0.1") -> Target:
        return read_url(f"udp://{host}:{self.port}", policy=POLICY, loopback=True)
