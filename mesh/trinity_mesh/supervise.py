"""Keeps children running: started in order, restarted with patience, stopped in reverse, none left behind."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.child import Child, Spec
from trinity_mesh.childlog import ChildLog
from trinity_mesh.childstate import Event, State, Status
from trinity_mesh.claim import Claim, claim
from trinity_mesh.clock import Clock
from trinity_mesh.log_echo import LogEcho
from trinity_mesh.process import EXIT_CONFIG
from trinity_mesh.restart import Backoff, Restart

__all__ = ["Event", "Restart", "Spec", "State", "Status", "Supervisor"]

_LOG: Final = logging.getLogger(__name__)
_READY_POLL_S: Final = 0.02
_KILLED_WITHIN_MS: Final = 3_000


class _Charge:
    """A spec and what became of it."""

    def __init__(self, spec: Spec, log: ChildLog, log_path: Path, since_ns: int) -> None:
        self.spec = spec
        self.log = log
        self.log_path = log_path
        self.child: Child | None = None
        self.task: asyncio.Task[None] | None = None
        self.state = State.WAITING
        self.since_ns = since_ns
        self.starts = 0
        self.exit_code: int | None = None
        self.hung = False
        """Its last run did not serve in time."""
        self.served: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it first served; its exception says why it never will."""

    def alive(self) -> Child | None:
        """The running child, if one runs."""
        return self.child if self.child is not None and self.child.exit_code is None else None


class Supervisor:
    """Runs children from the main thread of this process; they die with it, however it dies.

    One supervisor a data directory: its claim (see claim.py) says so.
    """

    def __init__(
        self,
        specs: Iterable[Spec],
        *,
        clock: Clock,
        data_dir: Path,
        on_event: Callable[[Event], None] = lambda _: None,
        rng: random.Random | None = None,
        echo: Callable[[bytes], object] | None = None,
    ) -> None:
        """Raises ValueError for a name given twice, an unknown dependency, or a circle of them.

        `on_event` is called in the event loop for every change and MUST NOT block; what it raises is logged.
        `echo` is given what children print as JSON lines, beside their log files.
        """
        self._echo = echo
        self._levels = _in_order(tuple(specs))
        self._clock = clock
        self._data_dir = data_dir
        self._on_event = on_event
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._charges: dict[str, _Charge] = {}
        self._claim: Claim | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything; returns when every child serves.

        Children that do not depend on each other start at the same time. Raises TrinityError
        when one ends or hangs too often without serving, having stopped the others; its text
        has the child's last lines. Raises DATA_DIR_IN_USE when another supervisor has this directory.
        """
        self._claim = claim(self._data_dir)
        try:
            now = self._clock.monotonic_ns()
            for spec in (spec for level in self._levels for spec in level):
                path = self._data_dir / "logs" / f"{spec.name}.log"
                echo = None if self._echo is None else LogEcho(spec.name, self._echo)
                log = ChildLog(path, bytes_max=spec.log_bytes_max, echo=echo)
                self._charges[spec.name] = _Charge(spec, log, path, now)
            for charge in self._charges.values():
                charge.task = asyncio.create_task(self._look_after(charge), name=f"supervise-{charge.spec.name}")
            await asyncio.gather(*(charge.served for charge in self._charges.values()))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop everything, dependents first; returns when nothing is left. Safe to call twice."""
        for level in reversed(self._levels):
            charges = [self._charges[spec.name] for spec in level if spec.name in self._charges]
            await asyncio.gather(*(self._stop_one(charge) for charge in charges))
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def statuses(self) -> tuple[Status, ...]:
        """Every child, in the order of their start."""
        return tuple(
            Status(
                charge.spec.name,
                charge.state,
                child.pid if (child := charge.alive()) else None,
                max(0, charge.starts - 1),
                charge.exit_code,
                charge.since_ns,
                charge.log.tail(),
                charge.log_path,
            )
            for charge in self._charges.values()
        )

    def status(self, name: str) -> Status:
        """One child; raises KeyError for an unknown name."""
        return {status.name: status for status in self.statuses()}[name]

    async def _look_after(self, charge: _Charge) -> None:
        try:
            for name in charge.spec.depends_on:
                await asyncio.shield(self._charges[name].served)
            await self._keep_running(charge)
        except TrinityError as error:
            # Its own failure, or that of one it waited for.
            self._set(charge, State.FAILED, error.message)
            _fail(charge.served, error)
        except Exception as error:
            self._set(charge, State.FAILED, f"supervision failed: {error!r}")
            _fail(charge.served, error)
            raise

    async def _keep_running(self, charge: _Charge) -> None:
        backoff = Backoff(charge.spec.restart, self._rng)
        while True:
            served_ms, why = await self._run_once(charge)
            if not charge.served.done() and (
                charge.starts >= charge.spec.restart.attempts_to_serve or charge.hung or charge.exit_code == EXIT_CONFIG
            ):
                raise _never_served(charge, why)
            wait_ms = backoff.next_ms(served_ms)
            self._set(charge, State.BACKOFF, f"{why}; again in {wait_ms} ms")
            await self._clock.sleep(wait_ms / 1_000)

    async def _run_once(self, charge: _Charge) -> tuple[int, str]:
        """One run from start to end: the milliseconds it served, and why it ended."""
        spec = charge.spec
        charge.starts += 1
        charge.log.forget_tail()
        self._set(charge, State.STARTING)
        try:
            if spec.before_start is not None:
                await spec.before_start()
            if spec.ready is not None:
                spec.ready.reset()
            child = charge.child = Child(spec, charge.log)
        except (OSError, TrinityError) as error:
            return 0, error.message if isinstance(error, TrinityError) else str(error)
        served_ms = 0
        charge.hung = False
        if await self._serves(spec, child):
            since_ns = self._clock.monotonic_ns()
            self._set(charge, State.SERVING)
            if not charge.served.done():
                charge.served.set_result(None)
            await child.wait()
            served_ms = (self._clock.monotonic_ns() - since_ns) // 1_000_000
            why = _how(await child.wait())
        elif child.exit_code is not None:
            why = _how(child.exit_code)
        else:
            charge.hung = True
            why = f"did not serve within {spec.ready_timeout_ms} ms"
            await self._end(spec, child)
        charge.exit_code = child.exit_code
        return served_ms, why

    async def _serves(self, spec: Spec, child: Child) -> bool:
        deadline_ns = self._clock.monotonic_ns() + spec.ready_timeout_ms * 1_000_000
        while child.exit_code is None and self._clock.monotonic_ns() < deadline_ns:
            if child.pid is not None and (spec.ready is None or await spec.ready.check()):
                return child.exit_code is None
            await self._clock.sleep(_READY_POLL_S)
        return False

    async def _stop_one(self, charge: _Charge) -> None:
        if charge.task is not None:
            charge.task.cancel()
            await asyncio.gather(charge.task, return_exceptions=True)
        child = charge.alive()
        if child is not None:
            self._set(charge, State.STOPPING)
            await self._end(charge.spec, child)
            charge.exit_code = child.exit_code
        if charge.state not in (State.STOPPED, State.FAILED):
            self._set(charge, State.STOPPED)
        _fail(charge.served, TrinityError(Reason.STOPPING, f"{charge.spec.name} is being stopped"))
        charge.log.close()

    async def _end(self, spec: Spec, child: Child) -> None:
        """The stop signal, then SIGKILL; returns when the child and what is its are gone."""
        child.signal(spec.stop_signal)
        if not await self._ends_within(child, spec.stop_timeout_ms):
            child.kill()
            if not await self._ends_within(child, _KILLED_WITHIN_MS):
                child.kill_guardian()
                await child.wait()

    async def _ends_within(self, child: Child, timeout_ms: int) -> bool:
        ended = asyncio.ensure_future(child.wait())
        slept = asyncio.ensure_future(self._clock.sleep(timeout_ms / 1_000))
        try:
            await asyncio.wait((ended, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ended, slept):
                task.cancel()
        return child.exit_code is not None

    def _set(self, charge: _Charge, state: State, text: str = "") -> None:
        charge.state = state
        charge.since_ns = self._clock.monotonic_ns()
        if text:
            charge.log.note(text)
        child = charge.alive()
        event = Event(charge.spec.name, state, child.pid if child else None, text, charge.since_ns)
        try:
            self._on_event(event)
        except Exception:
            # Who listens may fail, on a full disk for one; the children must not pay for it.
            _LOG.exception("an event of %s was not taken", event.name)


def _in_order(specs: Sequence[Spec]) -> tuple[tuple[Spec, ...], ...]:
    """Levels such that each depends only on earlier ones."""
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise ValueError(f"a name is given twice: {sorted(names)}")
    if unknown := {name for spec in specs for name in spec.depends_on} - set(names):
        raise ValueError(f"unknown dependency: {', '.join(sorted(unknown))}")
    levels: list[tuple[Spec, ...]] = []
    placed: set[str] = set()
    waiting = list(specs)
    while waiting:
        level = tuple(spec for spec in waiting if placed.issuperset(spec.depends_on))
        if not level:
            raise ValueError(f"these depend on each other in a circle: {', '.join(spec.name for spec in waiting)}")
        levels.append(level)
        placed.update(spec.name for spec in level)
        waiting = [spec for spec in waiting if spec.name not in placed]
    return tuple(levels)


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exited with {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _never_served(charge: _Charge, why: str) -> TrinityError:
    lines = [line for line in charge.log.tail() if not line.startswith("-- ")]
    said = "; its last lines:\n  " + "\n  ".join(lines[-10:]) if lines else "; it printed nothing"
    return TrinityError(
        Reason.BACKEND_UNAVAILABLE,
        f"{charge.spec.name} did not start: {why} ({charge.starts} attempts){said}\n  (log: {charge.log_path})",
        metadata={"child": charge.spec.name, "exit_code": str(charge.exit_code)},
    )


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Marked as seen: who waits gets it, and nobody else misses it.
