"""The socket: datagrams in, answers out, in batches, never waiting for anyone."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Collection, Hashable
from typing import Any, Final, Self, TypeVar, cast

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock
from trinity_udp.allowance import Allowance
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR
from trinity_udp.config import PortConfig
from trinity_udp.desk import Desk, Reply
from trinity_udp.doors import Doors, OpenDoors
from trinity_udp.drops import Drop, Tally
from trinity_udp.lookups import Lookups
from trinity_udp.purpose import Deferred, Purpose

S = TypeVar("S", bound=Hashable)
F = TypeVar("F")

log = logging.getLogger(__name__)

Address = tuple[str, int] | tuple[str, int, int, int]
"""A peer, as the socket names it."""

_FAMILY_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class Endpoint:
    """Answers datagrams on its addresses. `async with Endpoint(...) as endpoint:` opens and closes it."""

    def __init__(
        self,
        *,
        config: PortConfig,
        purpose: Purpose[S, F],
        lookups: Lookups[S, F] | None,
        clock: Clock,
        doors: Doors | None = None,
    ) -> None:
        """An endpoint that is not open yet.

        Args:
            config: where to listen and how much to give.
            purpose: what the port is for.
            lookups: ask for what is not at hand, and are closed with the endpoint; None where nobody can be asked.
            clock: the machine's.
            doors: lets lines in and counts; None for no sessions and no count.
        """
        self._config = config
        # What is looked up and found is a matter between these two, which the caller has matched.
        self._purpose: Purpose[Any, Any] = purpose
        self._clock = clock
        self._lookups: Lookups[Any, Any] | None = lookups
        self._sockets: list[socket.socket] = []
        self._doors = doors or OpenDoors()
        self._sending: set[asyncio.Task[None]] = set()
        self.tally = Tally()
        """What was received, answered and dropped."""
        self._desk = self._make_desk(())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, as "host:port" or "[host]:port"."""
        return tuple(_spell(bound.getsockname()) for bound in self._sockets)

    async def start(self) -> None:
        """Bind and listen. Raises TrinityError BACKEND_UNAVAILABLE that names an address it cannot have.

        An address whose family this machine lacks is left out as long as another one is bound.
        """
        loop = asyncio.get_running_loop()
        missing: list[TrinityError] = []
        try:
            for text in self._config.listen:
                for family, address in await _resolve(loop, text):
                    try:
                        self._sockets.append(self._bind(family, address))
                    except OSError as error:
                        refusal = _refusal(_spell(address), error)
                        if error.errno not in _FAMILY_MISSING:
                            raise refusal from error
                        missing.append(refusal)
            if not self._sockets:
                raise missing[0]
        except BaseException:
            self._close_sockets()
            raise
        for refusal in missing:
            log.warning("%s; going on without it", refusal.message)
        self._desk = self._make_desk([bound.getsockname()[1] for bound in self._sockets])
        for bound in self._sockets:
            loop.add_reader(bound, self._on_readable, bound)

    async def close(self) -> None:
        """Stop listening; whoever waits for a look-up is not answered."""
        for bound in self._sockets:
            asyncio.get_running_loop().remove_reader(bound)
        if self._lookups is not None:
            await self._lookups.close()
        await asyncio.gather(*self._sending)
        self._close_sockets()

    def _on_readable(self, bound: socket.socket) -> None:
        """Answer what has arrived, at most `batch_max` datagrams; the loop comes back while there is more."""
        tally = self.tally
        mono_ns, unix_ns = self._clock.monotonic_ns(), self._clock.unix_ns()
        for _ in range(self._config.batch_max):
            try:
                # One byte more than is allowed, so that a longer datagram shows.
                datagram, address = bound.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                tally.drop(Drop.RECEIVE_FAILED)
                continue
            tally.received += 1
            tally.bytes_in += len(datagram)
            try:
                reply = self._desk.handle(datagram, address[0], address[1], mono_ns=mono_ns, unix_ns=unix_ns)
            except Exception as error:
                self._unforeseen(error)
                continue
            self._send(bound, reply, address, len(datagram))
            for deferred in reply.deferred:
                self._look_up(bound, deferred, address)

    def _look_up(self, bound: socket.socket, deferred: Deferred[Any], address: Address) -> None:
        self.tally.looked_up += 1

        def deliver(outcome: Any) -> None:
            try:
                reply = self._desk.settle(deferred, outcome, unix_ns=self._clock.unix_ns())
            except Exception as error:
                self._unforeseen(error)
            else:
                self._send(bound, reply, address, deferred.query.size)

        if self._lookups is None:
            reply = self._desk.without_lookup(deferred, unix_ns=self._clock.unix_ns())
            self._send(bound, reply, address, deferred.query.size)
        elif not self._lookups.submit(deferred.subject, deliver):
            self._send(bound, self._desk.crowded_out(deferred), address, deferred.query.size)

    def _send(self, bound: socket.socket, reply: Reply[Any], address: Address, earned_by: int) -> None:
        """Send an answer; `earned_by` is the number of bytes that came for it, the last guard of the bound."""
        if not reply.data:
            return
        if len(reply.data) > earned_by * EARNED_FACTOR:
            self._unsent(reply, Drop.AMPLIFICATION)
        elif not self._doors.strict:
            self._hand_over(bound, reply, address)
        elif len(self._sending) < self._config.strict_answers_max:
            task = asyncio.get_running_loop().create_task(self._send_when_safe(bound, reply, address))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        else:
            self._unsent(reply, Drop.SEND_BLOCKED)

    async def _send_when_safe(self, bound: socket.socket, reply: Reply[Any], address: Address) -> None:
        """Send an answer once its count outlives the machine."""
        try:
            await self._doors.committed()
        except TrinityError:
            self._unsent(reply, Drop.UNCOUNTED)
        else:
            self._hand_over(bound, reply, address)

    def _hand_over(self, bound: socket.socket, reply: Reply[Any], address: Address) -> None:
        try:
            bound.sendto(reply.data, address)
        except BlockingIOError:
            self._unsent(reply, Drop.SEND_BLOCKED)
        except OSError:
            self._unsent(reply, Drop.SEND_FAILED)
        else:
            self.tally.replied += 1
            self.tally.bytes_out += len(reply.data)

    def _unsent(self, reply: Reply[Any], reason: Drop) -> None:
        """The kernel did not get an answer that was counted."""
        self.tally.drop(reason)
        for entry in reply.entries:
            entry.unsent()

    def _unforeseen(self, error: Exception) -> None:
        """Count an error of ours; log the first and then one of a thousand, since strangers may cause them at will."""
        self.tally.drop(Drop.INTERNAL)
        if self.tally.dropped[Drop.INTERNAL] % 1_000 == 1:
            log.error("unforeseen error while answering a datagram", exc_info=error)

    def _make_desk(self, own_ports: Collection[int]) -> Desk[Any, Any]:
        config = self._config
        most = config.prefixes_max
        return Desk(
            purpose=self._purpose,
            allowance=Allowance(per_s=config.demo_per_s, burst=config.demo_burst, prefixes_max=most),
            session_allowance=Allowance(per_s=config.session_per_s, burst=config.session_burst, prefixes_max=most),
            own_ports=own_ports,
            tally=self.tally,
            doors=self._doors,
        )

    def _bind(self, family: socket.AddressFamily, address: Address) -> socket.socket:
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._config.receive_buffer_bytes)
            if self._config.reuse_port:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
        return bound

    def _close_sockets(self) -> None:
        for bound in self._sockets:
            bound.close()
        self._sockets.clear()


async def _resolve(loop: asyncio.AbstractEventLoop, text: str) -> list[tuple[socket.AddressFamily, Address]]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal():
        raise TrinityError(Reason.BACKEND_UNAVAILABLE, f"{text!r} is no address; write it as 127.0.0.1:2679")
    try:
        found = await loop.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError) as error:
        raise _refusal(text, error) from error
    return [(family, cast("Address", address)) for family, _, _, _, address in found]


def _refusal(text: str, error: Exception) -> TrinityError:
    return TrinityError(
        Reason.BACKEND_UNAVAILABLE,
        f"cannot listen for datagrams on {text}: {error}; is another `trinity up` running? choose another address",
    )


def _spell(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
