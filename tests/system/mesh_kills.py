"""Usage under kill -9 on a whole mesh: `trinity up` with two gateway workers, clients over HTTP and UDP, a killer.

Beside the mesh's own gateways stand two that bill wrongly on purpose (wrong_mesh.py), each with a key
and clients of its own; they are killed together with the first worker, and judged by the same words.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger_kills import DELTAS, LEDGER, NO_ADOPTION, Verdict
from processes import GENEROUS_S, is_running, until
from system.askers import Asker, HttpAsker, UdpAsker
from system.billing import Kind, Tally, from_database, from_report, judge, unrecorded
from system.customers import Customer, make_customer, make_key
from system.meshrun import Mesh, running_mesh
from trinity_admission.spool import Spool
from trinity_mesh.clock import SystemClock

VARIANTS = (LEDGER, DELTAS, NO_ADOPTION)
GATEWAYS = ("gateway-1", "gateway-2")
TOGETHER = {"gateway-1": ("gateway-1", DELTAS, NO_ADOPTION)}
"""Who is killed in the same moment."""

_WRONG_MESH = str(Path(__file__).with_name("wrong_mesh.py"))


@dataclass(frozen=True, slots=True)
class Result:
    """How a fight on a mesh ended."""

    verdicts: Mapping[str, Verdict]
    answers: Mapping[str, int]
    """Answers of the mesh's own gateways that clients read, by transport."""
    kinds: int
    """Transport, method, asset and outcome: so many different ones were answered."""
    files: int
    """Ledger files of killed gateways that were recorded."""
    kills: Mapping[str, int]


class Battle:
    """The mesh under load."""

    def __init__(self, mesh: Mesh, tallies: Mapping[str, Tally]) -> None:
        self._mesh = mesh
        self._killed: dict[str, int] = {}
        self.tallies = tallies
        self.kills: Counter[str] = Counter()

    async def kill(self, *names: str) -> None:
        """SIGKILL processes that run, at once; those that were killed before, once they are back."""
        for name in names:
            await until(lambda name=name: self._is_back(name), f"{name} runs")  # type: ignore[misc]
        for name in names:
            pid = self._killed[name] = self._mesh.facts["pids"][name]
            os.kill(pid, signal.SIGKILL)
            self.kills[name] += 1

    async def all_back(self) -> None:
        """Return when everything that was killed runs again."""
        await until(lambda: all(map(self._is_back, self._killed)), "everything runs again")

    async def go_on(self, answers: int) -> None:
        """Return when the clients of every variant have read so many answers more."""
        goals = {name: tally.total + answers for name, tally in self.tallies.items()}
        await until(lambda: all(self.tallies[name].total >= goal for name, goal in goals.items()), f"{answers} answers")

    def _is_back(self, name: str) -> bool:
        pid = self._mesh.refresh()["pids"].get(name)
        return pid is not None and pid != self._killed.get(name) and is_running(pid)


async def fight(
    folder: Path,
    plan: Callable[[Battle], Awaitable[None]],
    *,
    seed: int,
    http: int = 2,
    udp: int = 2,
    lines: int = 3,
    options: Sequence[str] = (),
) -> Result:
    """Put a mesh under load, play `plan`, wait until everything is recorded, and judge.

    Args:
        folder: where the mesh lives.
        plan: kills.
        seed: makes the same requests again.
        http: connections to the mesh's own gateways; the wrong ones have one each.
        udp: clients that ask by datagrams.
        lines: lines with eight assets in a datagram.
        options: of `trinity up`.
    """
    dice = random.Random(seed)
    with running_mesh(folder, "--workers", "2", *options, program=(_WRONG_MESH,)) as mesh:
        customers = {variant: await make_customer(mesh, variant) for variant in VARIANTS}
        readers = {variant: await make_key(mesh, variant) for variant in VARIANTS}
        tallies = {variant: Tally() for variant in VARIANTS}
        askers = await _askers(mesh, customers, tallies, dice, http, udp, lines)
        tasks = [asyncio.create_task(asker.run()) for asker in askers]
        try:
            await plan(on := Battle(mesh, tallies))
            await on.all_back()
        finally:
            for asker in askers:
                asker.stopping = True
            await asyncio.wait_for(asyncio.gather(*tasks), GENEROUS_S)
        bills = {
            variant: await _bill(mesh, variant, customers[variant], readers[variant], tallies[variant])
            for variant in VARIANTS
        }
        files = len(os.listdir(mesh.data_dir / "spool" / "done"))  # noqa: PTH208 - one look, in a test
    good = tallies[LEDGER]
    answers = Counter[str]()
    for kind, n in good.answered.items():
        answers[kind.ask.transport.name.lower()] += n
    return Result(
        verdicts={variant: judge(tallies[variant], bills[variant]) for variant in VARIANTS},
        answers=dict(answers),
        kinds=len(good.answered),
        files=files,
        kills=dict(on.kills),
    )


async def _askers(
    mesh: Mesh,
    customers: Mapping[str, Customer],
    tallies: Mapping[str, Tally],
    dice: random.Random,
    http: int,
    udp: int,
    lines: int,
) -> list[Asker]:
    """The clients, each with dice of its own."""

    def at(variant: str) -> Callable[[], str]:
        return lambda: str(json.loads((mesh.data_dir / "run" / f"{variant}.ready.json").read_text())["http"])

    def own() -> random.Random:
        return random.Random(dice.random())

    good, tally = customers[LEDGER], tallies[LEDGER]
    address = str(mesh.facts["http"])
    askers: list[Asker] = [HttpAsker(lambda: address, good, tally, own()) for _ in range(http)]
    for variant in (DELTAS, NO_ADOPTION):
        askers.append(HttpAsker(at(variant), customers[variant], tallies[variant], own()))
    for _ in range(udp):
        session = await HttpAsker(lambda: address, good, tally, own()).session()
        askers.append(UdpAsker(lambda: str(mesh.facts["udp"]), session, tally, own(), lines=lines))
    return askers


async def _bill(mesh: Mesh, variant: str, customer: Customer, reader: Customer, tally: Tally) -> Counter[Kind]:
    """A variant's bill as its customer reads it and as the database has it, once nothing more can come to it."""
    spool = mesh.data_dir / ("spool" if variant == LEDGER else f"spool-{variant}")
    looks = Spool(spool, clock=SystemClock())
    report = bill = Counter[Kind]()
    try:
        async with asyncio.timeout(GENEROUS_S):
            while True:
                # First the files: nothing is counted any more, and what is recorded completely leaves the folder.
                if variant == LEDGER:
                    left = looks.orphans() or await unrecorded(mesh, spool)
                else:
                    left = variant == NO_ADOPTION and await unrecorded(mesh, spool, living=True)
                bill = await from_database(mesh, customer.key_id)
                report = await from_report(mesh, reader, customer.key_id)
                # Differences may go on being added; that they were added twice stays.
                good = report == bill if variant != DELTAS else judge(tally, report).double > 0
                if good and not left:
                    return report
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{variant}: the report says {report}, the database {bill}") from None
