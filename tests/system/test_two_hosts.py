"""One mesh on two hosts, by mutual TLS: what a cut of the link does, what comes back, and what is billed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from processes import until
from system.askers import HttpAsker
from system.billing import Tally, from_database, judge, unrecorded
from system.customers import Customer, make_customer
from system.meshrun import Mesh, running_mesh, wait_until
from system.netns import Host, two_hosts, why_not
from trinity_cli.main import run

pytestmark = pytest.mark.timeout(300)

FRESH_MS, STALE_MS = 2_000, 4_000
BACK_S = 5.0
"""What is promised: prices come back within this time after the link is healed."""
SLACK_S = 2.0
"""For a machine with more to do than cores: a look every 20 ms, and a link that takes its time to go down."""
SOME = 50
NONE = ("STALE_PRICE", "BACKEND_UNAVAILABLE")
"""Why a gateway has no price: its own is too old, and the price service has none or cannot be asked."""


@dataclass
class Two:
    """A mesh: prices, accounts and stores on the first host, a gateway alone on the second."""

    one: Host
    two: Host
    first: Mesh
    second: Mesh
    certs: Path
    public_ca: Path
    """Of the port for callers with keys."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    why = why_not()
    if why:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("hosts")
    certs = folder / "certs"
    assert run(["certs", "--out", str(certs)]) == 0
    assert run(["certs", "--out", str(folder / "public"), "--service", "price", "--host", "127.0.0.1"]) == 0
    with two_hosts() as (one, two), contextlib.ExitStack() as running:
        environ = {
            "TRINITY_PRICE_BOOK_FRESH_MS": str(FRESH_MS),
            "TRINITY_PRICE_BOOK_STALE_MS": str(STALE_MS),
            "TRINITY_PRICE_BOOK_CONFIRM_MS": "1000",
            "TRINITY_PRICE_PUBLIC_TLS_CERT_FILE": str(folder / "public" / "price.pem"),
            "TRINITY_PRICE_PUBLIC_TLS_KEY_FILE": str(folder / "public" / "price.key"),
        }
        # A gateway's host has neither the CA's key nor the certificates of others.
        theirs = folder / "theirs"
        theirs.mkdir(mode=0o700)
        for name in ("ca.pem", "gateway.pem", "gateway.key"):
            shutil.copy(certs / name, theirs / name)

        def machine(host: Host, *options: str) -> Mesh:
            return running.enter_context(
                running_mesh(
                    tmp_path_factory.mktemp(host.link),
                    "--venues",
                    "sandbox",
                    environ=environ,
                    command=("serve", "--mode", "APP_SERVER", *options),
                    prefix=host.prefix,
                )
            )

        first = machine(one, "--certs", str(certs), "--mesh-host", one.address, "--grpc-port", "0")
        remotes = [f"--{name}={first.facts['grpc_mesh'][name]}" for name in ("price", "account", "usage", "webhook")]
        secrets = f"--secrets-file={first.data_dir / 'secrets.json'}"
        second = machine(two, "--certs", str(theirs), secrets, *remotes)
        yield Two(one, two, first, second, certs, folder / "public" / "ca.pem")


@pytest.fixture
async def customer(hosts: Two) -> Customer:
    """Whose bill is judged."""
    return await make_customer(hosts.first, f"c{random.randrange(10**9)}")


@pytest.fixture
async def looker(hosts: Two) -> Customer:
    """Another, to look at prices with."""
    return await make_customer(hosts.first, f"l{random.randrange(10**9)}")


def asked(hosts: Two, customer: Customer, path: str) -> httpx.Response:
    with hosts.two.inside():
        return httpx.get(
            f"http://{hosts.second.facts['http']}{path}",
            headers=customer.headers,
            timeout=15,
            trust_env=False,
            verify=False,
        )


def state(hosts: Two, customer: Customer) -> str:
    """State of a price on the second host; the reason where there is none."""
    answer = asked(hosts, customer, "/v1/prices/BTC")
    body: dict[str, Any] = answer.json()
    return str(body["state"] if answer.status_code == 200 else body["details"][0]["reason"])


@contextlib.asynccontextmanager
async def load(hosts: Two, customer: Customer) -> AsyncIterator[Tally]:
    """Clients of the second host that keep their own count while the block runs."""
    tally, address = Tally(), str(hosts.second.facts["http"])
    askers = [HttpAsker(lambda: address, customer, tally, random.Random(seed)) for seed in (1, 2)]
    with hosts.two.inside():
        tasks = [asyncio.create_task(asker.run()) for asker in askers]
        try:
            yield tally
        finally:
            for asker in askers:
                asker.stopping = True
            await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def watched(hosts: Two) -> AsyncIterator[list[tuple[str, float]]]:
    """States of a price as a replica on the second host tells them, and when."""
    seen: list[tuple[str, float]] = []
    program = str(Path(__file__).with_name("price_watcher.py"))
    words = (program, hosts.first.facts["grpc_mesh"]["price"], str(hosts.certs), "BTC")
    process = await asyncio.create_subprocess_exec(
        *hosts.two.prefix, sys.executable, *words, stdout=asyncio.subprocess.PIPE
    )

    async def follow() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            seen.append((told["state"], told["monotonic"]))

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        process.terminate()
        await process.wait()
        await task


async def bill_is_exact(hosts: Two, customer: Customer, tally: Tally) -> None:
    async with asyncio.timeout(60):
        while await unrecorded(hosts.first, hosts.second.data_dir / "spool"):  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.1)
    verdict = judge(tally, await from_database(hosts.first, customer.key_id))
    assert (verdict.lost, verdict.double) == (0, 0)
    assert verdict.billed == verdict.answered, "nothing broke off, so nothing may be uncertain"


def test_the_second_host_runs_a_gateway_alone_and_answers_with_the_first_ones_prices(hosts: Two) -> None:
    assert set(hosts.second.facts["pids"]) - {"up"} == {"gateway-1"}
    assert not (hosts.second.data_dir / "postgres").exists()
    customer = asyncio.run(make_customer(hosts.first, "first"))
    wait_until(lambda: state(hosts, customer) == "STATE_FRESH")
    created = asked(hosts, customer, "/v1/usage/quota")
    assert created.status_code == 200, created.text


def test_a_peer_of_the_second_host_gets_no_further_than_its_certificate(hosts: Two) -> None:
    """The gateway's certificate opens what gateways call; without one nothing answers."""
    script = f"""
import asyncio, sys
from trinity.feed.v1 import feed_pb2, feed_service_pb2_grpc
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_cli.certificate_folder import CertificateFolder
from trinity_core.errors import TrinityError
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.identity import Identity
from trinity_mesh.tls_config import TlsConfig
from pathlib import Path

async def main():
    config = TlsConfig(**CertificateFolder(Path({str(hosts.certs)!r})).tls("gateway"))
    identity = Identity(config, service="gateway", clock=SystemClock())
    feeds, price = {hosts.first.facts["grpc_mesh"]["feeds"]!r}, {hosts.first.facts["grpc_mesh"]["price"]!r}
    asked = []
    asked.append((feeds, "feeds", feed_service_pb2_grpc.FeedServiceStub, "ListVenues", feed_pb2.ListVenuesRequest()))
    btc = price_pb2.GetPriceRequest(asset="BTC")
    asked.append((price, "price", price_service_pb2_grpc.PriceServiceStub, "GetPrice", btc))
    asked.append((price, "account", price_service_pb2_grpc.PriceServiceStub, "GetPrice", btc))
    for address, service, stub, name, request in asked:
        async with open_channel(address, identity=identity, service=service) as channel:
            try:
                await call(getattr(stub(channel), name)(request))
                print("answered")
            except TrinityError as error:
                print(error)
    async with open_channel(price) as channel:
        try:
            await call(price_service_pb2_grpc.PriceServiceStub(channel).GetPrice(btc))
        except TrinityError as error:
            print(error)

asyncio.run(main())
"""
    words = [*hosts.two.prefix, sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    feeds, price, wrong, plain = done.stdout.splitlines()
    assert feeds.startswith("PEER_NOT_ALLOWED: spiffe://trinity.internal/gateway may not call")
    assert price == "answered"
    assert "not the service that was wanted" in wrong
    assert "does not take our certificate" in plain


def test_a_caller_with_a_key_meets_a_certificate_and_needs_none(hosts: Two) -> None:
    customer = asyncio.run(make_customer(hosts.first, "direct"))
    script = f"""
import asyncio, grpc, grpc.aio
from trinity_client import PriceBook, PriceClient
from trinity_core.errors import TrinityError

async def main():
    address = {hosts.first.facts["grpc_public"]!r}
    credentials = grpc.ssl_channel_credentials(open({str(hosts.public_ca)!r}, "rb").read())
    key = [("authorization", {f"Bearer {customer.key}"!r})]
    async with grpc.aio.secure_channel(address, credentials) as channel:
        async with PriceBook(channel, assets=["BTC"], metadata=key) as book:
            await book.ready()
            print(book.get("BTC").asset)
        for target, metadata in ((channel, ()), (address, key)):
            async with PriceClient(target, metadata=metadata) as client:
                try:
                    print(await client.get("BTC"))
                except TrinityError as error:
                    print(error)

asyncio.run(main())
"""
    words = [*hosts.one.prefix, sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    replica, keyless, plain = done.stdout.splitlines()
    assert replica == "BTC"
    assert keyless.startswith("MISSING_KEY")
    assert plain.startswith("BACKEND_UNAVAILABLE")


def test_an_operator_asks_from_the_second_host_by_his_certificate(hosts: Two) -> None:
    address = hosts.first.facts["grpc_mesh"]
    words = [*hosts.two.prefix, sys.executable, "-m", "trinity_cli.main"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRINITY_")}

    def told(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        done = [*words, *command, "--json"]
        return subprocess.run(done, env=kept | environ, capture_output=True, text=True, timeout=60, check=False)

    priced = told("price", "BTC", "--address", address["price"], TRINITY_CERTS=str(hosts.certs))
    assert priced.returncode == 0, priced.stderr
    plans = told("plan", "list", "--address", address["account"], TRINITY_CERTS=str(hosts.certs))
    assert plans.returncode == 0, plans.stderr
    plain = told("plan", "list", "--address", address["account"])
    assert plain.returncode == 5
    assert "does not take our certificate" in plain.stderr


async def test_a_cut_link_makes_prices_stale_in_time_and_a_healed_one_brings_them_back(
    hosts: Two, customer: Customer, looker: Customer
) -> None:
    await until(lambda: state(hosts, looker) == "STATE_FRESH", "fresh prices on the second host")
    async with load(hosts, customer) as tally, watched(hosts) as seen:
        await until(lambda: tally.total >= SOME and bool(seen), "answers before the cut")
        hosts.one.up(up=False)
        began = time.monotonic()
        try:
            await until(lambda: seen[-1][0] == "STATE_STALE", "a stale price in a replica")
            stale_s = seen[-1][1] - began
            await until(lambda: state(hosts, looker) in NONE, "the gateway gives an old price no more")
            before = tally.total
            await until(lambda: tally.total >= before + SOME, "answers while the link is cut")
        finally:
            hosts.one.up(up=True)
        began = time.monotonic()
        while state(hosts, looker) != "STATE_FRESH":
            assert time.monotonic() - began < 6 * BACK_S, "prices do not come back at all"
            await asyncio.sleep(0.02)
        gateway_s = time.monotonic() - began
        await until(lambda: seen[-1][0] == "STATE_FRESH", "a fresh price in the replica")
        replica_s = next(at for state, at in reversed(seen) if state != "STATE_FRESH")
        replica_s = next(at for state, at in seen if at > replica_s) - began
        before = tally.total
        await until(lambda: tally.total >= before + SOME, "answers after the healing")
    measured = f"stale {stale_s:.2f} s after the cut; fresh after {gateway_s:.2f} and {replica_s:.2f} s"
    states = [state for state, _ in itertools.groupby(state for state, _ in seen)]
    assert states == ["STATE_FRESH", "STATE_DELAYED", "STATE_STALE", "STATE_FRESH"], measured
    assert stale_s <= STALE_MS / 1_000 + SLACK_S, measured
    assert max(gateway_s, replica_s) <= BACK_S, measured
    assert tally.breaks == 0
    await bill_is_exact(hosts, customer, tally)


async def test_certificates_renewed_in_a_running_mesh_cost_no_answer(
    hosts: Two, customer: Customer, looker: Customer
) -> None:
    def renewals(mesh: Mesh, part: str) -> int:
        file = mesh.data_dir / "logs" / f"{part}.log"
        log = file.read_text() if file.exists() else ""
        return sum(
            "the certificate was renewed" in json.loads(line)["message"] for line in log.splitlines() if line[:1] == "{"
        )

    await until(lambda: state(hosts, looker) == "STATE_FRESH", "fresh prices on the second host")
    async with load(hosts, customer) as tally:
        await until(lambda: tally.total >= SOME, "answers before")
        assert run(["certs", "--out", str(hosts.certs), "--renew"]) == 0
        theirs = json.loads((hosts.second.data_dir / "run" / "gateway-1.config.json").read_text())["tls"]["cert_file"]
        for name in ("gateway.key", "gateway.pem"):
            shutil.copy(hosts.certs / name, Path(theirs).parent / name)
        for mesh, part in ((hosts.first, "price"), (hosts.first, "usage"), (hosts.second, "gateway-1")):
            await until(lambda mesh=mesh, part=part: renewals(mesh, part) == 1, f"{part} renews")
        before = tally.total
        await until(lambda: tally.total >= before + SOME, "answers afterwards")
    assert {kind.outcome.name for kind in tally.answered if kind.ask.asset} == {"LOCAL"}
    assert tally.breaks == 0
    await bill_is_exact(hosts, customer, tally)
