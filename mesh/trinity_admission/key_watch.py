"""Follows AccountService.WatchKeys for a keyring: opens the stream again when it is lost or silent, and resumes.

A push that revokes a key is in the keyring a moment after it was committed. A stream that is
silent for three heartbeats counts as lost. Nothing here ever empties the keyring: it keeps what
it held until a newer word comes or its age bound passes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import grpc.aio

from trinity.account.v1 import account_pb2, account_service_pb2_grpc
from trinity_admission.keyring import Keyring, WatchBrokenError
from trinity_core.backoff import Backoff
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import Clock
from trinity_mesh.status import from_rpc_error

log = logging.getLogger(__name__)

_SILENCE_NS: Final = 3_000_000_000
"""Three of the heartbeats that the service sends at least once a second."""
_OPENING_NS: Final = 10_000_000_000
"""A service that has just started may have to read all keys first."""
_KEEPER_S: Final = 0.25
_MESSAGE_BYTES_MAX: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class WatchState:
    """How the replica of the keys stands with the account service."""

    connected: bool
    """A stream is open and the replica is up to date."""
    streams: int
    """Streams opened since the start; each after the first is a reconnection."""
    failures: int
    """Attempts that failed since data last came."""
    detail: str
    """Why the last stream ended, in words; empty before any did."""
    keys: int
    """Keys held."""
    age_ms: float
    """Time since the replica was last known to be right, milliseconds; -1 where it never was."""


class KeyWatch:
    """Keeps a keyring up to date for as long as the `async with` block runs."""

    def __init__(
        self,
        target: str | grpc.aio.Channel,
        *,
        keyring: Keyring,
        clock: Clock,
        backoff: Backoff | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            target: "unix:/path", "host:port", or a channel, which stays the caller's to close.
            keyring: what is kept up to date.
            clock: the machine's.
            backoff: waits between attempts; 50 ms doubling up to 2 s, with full jitter, by default.
            on_change: called after each batch that changed what is held. It must be quick and must not raise.
        """
        self._target = target
        self._keyring = keyring
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._on_change = on_change
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._call: grpc.aio.UnaryStreamCall[account_pb2.WatchKeysRequest, account_pb2.WatchKeysResponse] | None = None
        self._cut = False
        self._streams = 0
        self._detail = ""
        self._spoke_ns = 0
        self._patience_ns = 0

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ready(self) -> None:
        """Return once the service's word was heard; bound the wait with `asyncio.timeout`."""
        await self._ready.wait()

    @property
    def state(self) -> WatchState:
        """How the replica stands now."""
        heard_ns = self._keyring.heard_ns
        return WatchState(
            connected=self._call is not None and self._ready.is_set() and not self._keyring.opening,
            streams=self._streams,
            failures=self._backoff.failures,
            detail=self._detail,
            keys=len(self._keyring),
            age_ms=-1.0 if heard_ns is None else (self._clock.monotonic_ns() - heard_ns) / 1e6,
        )

    async def _follow(self) -> None:
        """Keep a stream open. The service's refusals are tried again too: its operator may mend them."""
        owned = None
        if isinstance(self._target, str):
            owned = open_channel(self._target, message_bytes_max=_MESSAGE_BYTES_MAX)
        channel = owned or self._target
        assert isinstance(channel, grpc.aio.Channel)
        try:
            while True:
                await self._stream(account_service_pb2_grpc.AccountServiceStub(channel))
                await self._clock.sleep(self._backoff.failed_s())
        finally:
            if owned is not None:
                await owned.close()

    async def _stream(self, stub: account_service_pb2_grpc.AccountServiceAsyncStub) -> None:
        """Open one stream and read it to its end, whatever that is."""
        request = account_pb2.WatchKeysRequest(resume_version=self._keyring.opened())
        self._cut = False
        self._streams += 1
        self._spoke_ns = self._clock.monotonic_ns()
        self._patience_ns = _OPENING_NS
        call = self._call = stub.WatchKeys(request)
        try:
            async for batch in call:
                self._receive(batch)
            self._ended("the service ended the stream")
        except grpc.aio.AioRpcError as error:
            self._ended(str(from_rpc_error(error)))
        except WatchBrokenError as error:
            self._keyring.distrust()
            self._ended(f"the stream broke its rules: {error}")
        except Exception as error:
            # Whatever a batch may hold, a replica that stopped following would be worse.
            self._keyring.distrust()
            log.exception("key stream: unforeseen error")
            self._ended(f"unforeseen: {type(error).__name__}")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cut or (task is not None and task.cancelling()):
                raise
            self._ended(f"nothing came for {self._patience_ns / 1e9:g} s")
        finally:
            self._call = None
            call.cancel()

    def _receive(self, batch: account_pb2.WatchKeysResponse) -> None:
        now_ns = self._spoke_ns = self._clock.monotonic_ns()
        changes = self._keyring.changes
        self._keyring.receive(batch, mono_ns=now_ns)
        if not self._keyring.opening:
            self._patience_ns = _SILENCE_NS
            if self._backoff.failures:
                log.info("following the keys again, %d of them", len(self._keyring))
            self._backoff.succeeded()
            self._ready.set()
        if self._on_change is not None and self._keyring.changes != changes:
            self._on_change()

    def _ended(self, detail: str) -> None:
        self._detail = detail
        if not self._backoff.failures:
            log.warning("the keys are not followed now, those known go on: %s", detail)

    async def _keep(self) -> None:
        """Cut a stream that fell silent."""
        while True:
            await self._clock.sleep(_KEEPER_S)
            if self._call is not None and self._clock.monotonic_ns() - self._spoke_ns > self._patience_ns:
                self._cut = True
                self._call.cancel()
