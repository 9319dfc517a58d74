"""A whole mesh without its stores, and without its account service: known keys go on, and nothing goes uncounted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from processes import descendants, is_running, until
from system.askers import GrpcAsker, HttpAsker, UdpAsker
from system.billing import Tally, from_database, from_report, judge, unrecorded
from system.customers import Customer, make_customer, make_key
from system.meshrun import Mesh, running_mesh, wait_until
from trinity_core.keys import mint
from trinity_core.usage import Outcome, Transport

pytestmark = pytest.mark.timeout(240)

SOME = 100
AGE_S = 3


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("outages"), "--workers", "2", "--grpc-port", "0") as running:
        with running.http() as client:
            wait_until(lambda: client.get("/price", params={"asset": "BTC"}).status_code == 200)
        yield running


@contextlib.contextmanager
def held(mesh: Mesh, *names: str) -> Iterator[None]:
    """Processes stand still while the block runs, with all that they started: no answer, no refusal, no end."""
    first = [mesh.refresh()["pids"][name] for name in names]
    pids = [*first, *(below for pid in first for below in descendants(pid))]
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_known_keys_go_on_without_either_store_and_every_answer_is_recorded_afterwards(mesh: Mesh) -> None:
    customer = await make_customer(mesh, "steady")
    reader = await make_key(mesh, "steady")
    tally, dice = Tally(), random.Random(3)
    address = str(mesh.facts["http"])
    over_http = HttpAsker(lambda: address, customer, tally, dice)
    session = await over_http.session()
    over_udp = UdpAsker(lambda: str(mesh.facts["udp"]), session, tally, dice, lines=3)
    over_grpc = GrpcAsker(mesh.facts["grpc_public"], customer, tally, dice)
    askers = [over_http, over_udp, over_grpc]

    def answers(transport: Transport) -> int:
        return sum(n for kind, n in tally.answered.items() if kind.ask.transport is transport)

    async def go_on() -> None:
        goals = {transport: answers(transport) + SOME for transport in Transport}
        await until(lambda: all(answers(each) >= goal for each, goal in goals.items()), "all transports answer")

    tasks = [asyncio.create_task(asker.run()) for asker in askers]
    try:
        await go_on()
        with held(mesh, "postgres", "valkey"):
            await go_on()
            await go_on()
    finally:
        for asker in askers:
            asker.stopping = True
        await asyncio.gather(*tasks)
    unlike = {kind for kind in tally.answered if kind.ask.asset and kind.outcome is not Outcome.LOCAL}
    assert not unlike, "every price that was asked for was given"
    async with asyncio.timeout(60):
        while await unrecorded(mesh, mesh.data_dir / "spool"):  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.1)
    bill = await from_database(mesh, customer.key_id)
    verdict = judge(tally, bill)
    assert (verdict.lost, verdict.double) == (0, 0)
    assert {transport for transport in Transport if answers(transport)} == set(Transport)
    async with asyncio.timeout(60):
        while await from_report(mesh, reader, customer.key_id) != bill:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.1)


def billed(mesh: Mesh, reader: Customer, key_id: str) -> tuple[int, str]:
    """Billed answers of one key as its customer reads them, and where they were read; that is empty where nowhere."""
    answer = httpx.get(
        f"http://{mesh.facts['reports']}/reports/summary",
        params={"group_by": "key"},
        headers=reader.headers,
        timeout=30,
        trust_env=False,
        verify=False,
    )
    assert answer.status_code in (200, 503), answer.text
    body = answer.json()
    sums = {each["group"][0]: int(each["billed"]) for each in body.get("sums", ())}
    return sums.get(key_id, 0), body.get("servedFrom", "")


async def test_reports_are_read_from_the_copy_while_the_database_is_away(mesh: Mesh) -> None:
    customer = await make_customer(mesh, "curious")
    reader = await make_key(mesh, "curious")
    wait_until(lambda: status(mesh, customer) == 200)
    for _ in range(20):
        wait_until(lambda: status(mesh, customer) == 200)

    def told() -> tuple[int, str]:
        return billed(mesh, reader, customer.key_id)

    wait_until(lambda: told() == (21, "SERVED_FROM_DATABASE"))
    done = mesh.cli("sync")
    assert done.returncode == 0, done.stderr
    with held(mesh, "postgres"):
        # The first to ask waits until the database has not answered in time.
        wait_until(lambda: told() == (21, "SERVED_FROM_CACHE"), 60)
        assert told() == (21, "SERVED_FROM_CACHE"), "and again"
    wait_until(lambda: told() == (21, "SERVED_FROM_DATABASE"), 60)


def restart_gateways(mesh: Mesh) -> None:
    """Kill every gateway process, and return when others serve."""
    names = [name for name in mesh.refresh()["pids"] if name.startswith("gateway-")]
    old = {name: mesh.facts["pids"][name] for name in names}
    for pid in old.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, old.values())))
    wait_until(lambda: all(mesh.refresh()["pids"].get(name) not in (None, old[name]) for name in names), 60)


def status(mesh: Mesh, customer: Customer) -> int:
    """What a caller with this key is told; 0 while nobody listens."""
    try:
        return httpx.get(
            f"http://{mesh.facts['http']}/price?asset=BTC",
            headers=customer.headers,
            timeout=30,
            trust_env=False,
            verify=False,
        ).status_code
    except httpx.TransportError:
        return 0


async def test_gateways_that_start_without_the_account_service_know_the_keys(mesh: Mesh) -> None:
    customer = await make_customer(mesh, "loyal")
    wait_until(lambda: status(mesh, customer) == 200)
    wait_until(lambda: holds(mesh, customer))
    with held(mesh, "account"):
        restart_gateways(mesh)
        wait_until(lambda: status(mesh, customer) != 0, 60)
        for _ in range(20):
            assert status(mesh, customer) == 200
        assert status(mesh, replace(customer, key=mint(env="local", random_bytes=secrets.token_bytes).text)) == 401
    newcomer = await make_customer(mesh, "newcomer")
    wait_until(lambda: status(mesh, newcomer) == 200, 60)


def holds(mesh: Mesh, customer: Customer) -> bool:
    """Whether the kept copy of the keys names this one."""
    path = mesh.data_dir / "known-keys"
    return path.exists() and customer.key_id.encode() in path.read_bytes()


async def test_known_keys_end_with_their_age_bound_and_come_back_with_the_account_service(tmp_path: Path) -> None:
    environ = {
        "TRINITY_GATEWAY_ADMISSION_AGE_MAX_S": str(AGE_S),
        "TRINITY_GATEWAY_ADMISSION_READY_WAIT_MS": "1000",
    }
    with running_mesh(tmp_path, environ=environ) as mesh:
        customer = await make_customer(mesh, "aging")
        wait_until(lambda: status(mesh, customer) == 200)
        with held(mesh, "account"):
            wait_until(lambda: status(mesh, customer) == 503)
            restart_gateways(mesh)
            wait_until(lambda: status(mesh, customer) != 0, 60)
            assert status(mesh, customer) == 503, "the kept copy is as old, and a new process does not believe it"
        wait_until(lambda: status(mesh, customer) == 200, 60)
