"""The socket: datagrams in, answers out, in batches, never waiting for anyone."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, Hashable
from typing import Any, Final, Self, TypeVar

from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock
from trinity_udp.allowance import Allowance
from trinity_udp.batches import Address, Batches, batches_of
from trinity_udp.config import PortConfig
from trinity_udp.desk import Desk
from trinity_udp.doors import Doors, OpenDoors
from trinity_udp.drops import Drop, Tally
from trinity_udp.gathering import Run, by_sender, runs_of
from trinity_udp.lookups import Lookups
from trinity_udp.purpose import Deferred, Purpose
from trinity_udp.quick import Quick
from trinity_udp.reply import NOTHING, Reply
from trinity_udp.sockets import FAMILY_MISSING, bind, refusal, resolve, spell

S = TypeVar("S", bound=Hashable)
F = TypeVar("F")

log = logging.getLogger(__name__)


_RUN_MIN: Final = 4
"""Runs of fewer datagrams are taken one at a time: it costs no more."""


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
        quick: Quick | None = None,
    ) -> None:
        """An endpoint that is not open yet.

        Args:
            config: where to listen and how much to give.
            purpose: what the port is for.
            lookups: ask for what is not at hand, and are closed with the endpoint; None where nobody can be asked.
            clock: the machine's.
            doors: lets lines in and counts; None for no sessions and no count.
            quick: the short way of plain questions; None where all go the long one.
        """
        self._config = config
        # What is looked up and found is a matter between these two, which the caller has matched.
        self._purpose: Purpose[Any, Any] = purpose
        self._clock = clock
        self._lookups: Lookups[Any, Any] | None = lookups
        self._sockets: list[socket.socket] = []
        self._doors = doors or OpenDoors()
        self._quick = quick
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
        return tuple(spell(bound.getsockname()) for bound in self._sockets)

    async def start(self) -> None:
        """Bind and listen. Raises TrinityError BACKEND_UNAVAILABLE that names an address it cannot have.

        An address whose family this machine lacks is left out as long as another one is bound.
        """
        loop = asyncio.get_running_loop()
        missing: list[TrinityError] = []
        try:
            for text in self._config.listen:
                for family, address in await resolve(loop, text):
                    try:
                        self._sockets.append(bind(self._config, family, address))
                    except OSError as error:
                        lacking = refusal(spell(address), error)
                        if error.errno not in FAMILY_MISSING:
                            raise lacking from error
                        missing.append(lacking)
            if not self._sockets:
                raise missing[0]
        except BaseException:
            self._close_sockets()
            raise
        for lacking in missing:
            log.warning("%s; going on without it", lacking.message)
        self._desk = self._make_desk([bound.getsockname()[1] for bound in self._sockets])
        for bound in self._sockets:
            batches = batches_of(bound, batch_max=self._config.batch_max, batched=self._config.batched)
            loop.add_reader(bound, self._on_readable, bound, batches)

    async def close(self) -> None:
        """Stop listening; whoever waits for a look-up is not answered."""
        for bound in self._sockets:
            asyncio.get_running_loop().remove_reader(bound)
        if self._lookups is not None:
            await self._lookups.close()
        await asyncio.gather(*self._sending)
        self._close_sockets()

    def _on_readable(self, bound: socket.socket, batches: Batches) -> None:
        """Answer what has arrived, at most `batch_max` datagrams; the loop comes back while there is more."""
        tally = self.tally
        received = batches.receive()
        tally.dropped[Drop.RECEIVE_FAILED] += received.failed
        tally.received += len(received.datagrams)
        tally.bytes_in += sum(map(len, received.datagrams))
        mono_ns, unix_ns = self._clock.monotonic_ns(), self._clock.unix_ns()
        put = bytes_out = 0
        strict = self._doors.strict
        for run in runs_of(received):
            replies = self._taken(run, mono_ns, unix_ns)
            for index, reply in enumerate(replies):
                if strict or reply.deferred or len(reply.data) > reply.limit:
                    self._apart(bound, reply, batches.address(run.places[index]))
                    replies[index] = NOTHING
            for place, group in by_sender(run, replies):
                batches.put((place, group))
                put += len(group)
                bytes_out += sum([len(reply.data) for reply in group])
        if put:
            for reply, reason in batches.flush():
                put -= 1
                bytes_out -= len(reply.data)
                self._unsent(reply, reason)
            tally.replied += put
            tally.bytes_out += bytes_out
        tally.busy_ns += self._clock.monotonic_ns() - mono_ns

    def _taken(self, run: Run, mono_ns: int, unix_ns: int) -> list[Reply]:
        """The fate of each datagram of a run."""
        desk, source = self._desk, run.source
        if len(run.datagrams) >= _RUN_MIN:
            try:
                together = desk.take_run(run, mono_ns, unix_ns)
            except Exception as error:
                for _ in run.datagrams:
                    self._unforeseen(error)
                return [NOTHING] * len(run.datagrams)
            if together is not None:
                return together
        replies = []
        for datagram, (port, _) in zip(run.datagrams, run.senders, strict=True):
            try:
                replies.append(desk.take(datagram, source, port, mono_ns, unix_ns))
            except Exception as error:
                self._unforeseen(error)
                replies.append(NOTHING)
        return replies

    def _apart(self, bound: socket.socket, reply: Reply, address: Address) -> None:
        """See to a reply that does not leave with its batch."""
        self._send(bound, reply, address)
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
                self._send(bound, reply, address)

        if self._lookups is None:
            self._send(bound, self._desk.without_lookup(deferred, unix_ns=self._clock.unix_ns()), address)
        elif not self._lookups.submit(deferred.subject, deliver):
            self._send(bound, self._desk.crowded_out(deferred, unix_ns=self._clock.unix_ns()), address)

    def _send(self, bound: socket.socket, reply: Reply, address: Address) -> None:
        """Send one answer by itself; the last guard of the bound of bytes."""
        if not reply.data:
            return
        if len(reply.data) > reply.limit:
            self._unsent(reply, Drop.AMPLIFICATION)
        elif not self._doors.strict:
            self._hand_over(bound, reply, address)
        elif len(self._sending) < self._config.strict_answers_max:
            task = asyncio.get_running_loop().create_task(self._send_when_safe(bound, reply, address))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        else:
            self._unsent(reply, Drop.SEND_BLOCKED)

    async def _send_when_safe(self, bound: socket.socket, reply: Reply, address: Address) -> None:
        """Send an answer once its count outlives the machine."""
        try:
            await self._doors.committed()
        except TrinityError:
            self._unsent(reply, Drop.UNCOUNTED)
        else:
            self._hand_over(bound, reply, address)

    def _hand_over(self, bound: socket.socket, reply: Reply, address: Address) -> None:
        try:
            bound.sendto(reply.data, address)
        except BlockingIOError:
            self._unsent(reply, Drop.SEND_BLOCKED)
        except OSError:
            self._unsent(reply, Drop.SEND_FAILED)
        else:
            self.tally.replied += 1
            self.tally.bytes_out += len(reply.data)

    def _unsent(self, reply: Reply, reason: Drop) -> None:
        """The kernel did not get an answer that was counted."""
        self.tally.drop(reason)
        self._desk.unsent(reply)

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
            quick=self._quick,
        )

    def _close_sockets(self) -> None:
        for bound in self._sockets:
            bound.close()
        self._sockets.clear()
