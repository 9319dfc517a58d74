"""Admission with everything real behind it: accounts, usage, PostgreSQL, HTTP in front; and all of it taken away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc.aio
import pytest

from account.databases import Databases
from account.small_account import SECRETS, SmallAccount, Switch
from admission.stage import make_key
from bridge_stage import Stage, error_of, serving_app
from price.virtual_clock import until
from trinity.account.v1 import account_pb2
from trinity_admission.admission_config import AdmissionConfig, QuotaConfig
from trinity_admission.ledger_config import CollectorConfig
from trinity_admission.main import AdmissionPart, admission_part
from trinity_core.errors import TrinityError
from trinity_core.udp_mac import signed_line
from trinity_core.usage import Outcome, Transport
from trinity_http.admitting import Admitting
from trinity_http.app import create_app
from trinity_http.main import own_contract
from trinity_http.prices import SERVICE, PriceAnswers
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import PostgresConfig
from trinity_udp.admitting import Admitting as Doors
from trinity_udp.config import UdpConfig
from trinity_udp.main import make_price_endpoint
from udp.counter import ASSETS, Shelf, make_price
from usage.small_usage import serving as usage_serving

WITHIN_S = 30.0


class Mesh:
    """Account and usage service on one database, and gateways of it."""

    def __init__(self, folder: Path, database_url: str, account: SmallAccount, usage: Any) -> None:
        self.folder = folder
        self.database_url = database_url
        self.account = account
        self.usage = usage

    def config(self, **settings: Any) -> AdmissionConfig:
        known: dict[str, Any] = {
            "account": self.account.address,
            "usage": self.usage.address,
            "spool": str(self.folder / "spool"),
            "keys_copy": str(self.folder / "run" / "keys.bin"),
            "rates_file": str(self.folder / "run" / "rates"),
            "collector": CollectorConfig(flush_ms=20, drain_ms=20_000),
            "quota": QuotaConfig(wait_ms=20_000, deadline_ms=20_000),
        }
        return AdmissionConfig(**{**known, **settings})

    @contextlib.asynccontextmanager
    async def gateway(self, **settings: Any) -> AsyncIterator[Gateway]:
        async with admission_part(self.config(**settings), clock=SystemClock(), assets=ASSETS, secret=SECRETS) as part:
            await part.ready()
            admitting = Admitting(part.admission)
            async with grpc.aio.insecure_channel(f"unix:{self.folder}/nowhere.sock") as channel:
                app = create_app(
                    descriptor_set=own_contract(),
                    channels={SERVICE: channel},
                    authenticate=admitting,
                    admission=admitting,
                    local=PriceAnswers(Shelf({"BTC": make_price()}), clock=SystemClock()),
                    ready=part.missing,
                )
                async with serving_app(app) as stage:
                    yield Gateway(part, stage)

    async def key(self, plan: str, **fields: Any) -> account_pb2.CreateKeyResponse:
        await self.account.plan(plan, **{"rate_per_s": 1_000, "burst": 1_000, **fields})
        await self.account.associate(f"of-{plan}", plan)
        return await self.account.key(f"of-{plan}")

    async def revoke(self, key_id: str) -> None:
        await self.account.caller()(account_pb2.RevokeKeyRequest(key_id=key_id))

    async def billed(self, key_id: str) -> int:
        connection = await asyncpg.connect(self.database_url)
        try:
            found = await connection.fetchval(
                "SELECT coalesce(sum(n), 0) FROM trinity.usage_log WHERE key_id = $1 AND billed", key_id
            )
        finally:
            await connection.close()
        return int(found)


class Gateway:
    """One gateway worker's admission and its HTTP."""

    def __init__(self, part: AdmissionPart, stage: Stage) -> None:
        self.part = part
        self.stage = stage

    async def get(self, key: str) -> Any:
        return await self.stage.get("/price?asset=BTC", authorization=f"Bearer {key}")

    def knows(self, key: str) -> bool:
        try:
            self.part.admission.find(key)
        except TrinityError:
            return False
        return True


@pytest.fixture
async def mesh(databases: Databases, tmp_path: Path) -> AsyncIterator[Mesh]:
    with tempfile.TemporaryDirectory(prefix="am-") as name:
        async with (
            databases.fresh() as url,
            SmallAccount(tmp_path, url).running() as account,
            usage_serving(Path(name), url, clock=SystemClock()) as usage,
        ):
            yield Mesh(Path(name), url, account, usage)


async def test_a_new_key_works_and_a_revoked_one_stops_in_every_gateway(mesh: Mesh) -> None:
    async with mesh.gateway() as one, mesh.gateway() as two:
        made = await mesh.key("plain")
        for gateway in (one, two):
            await until(lambda gateway=gateway: gateway.knows(made.secret), within_s=WITHIN_S)
            assert (await gateway.get(made.secret)).status_code == 200
        await mesh.revoke(made.key.key_id)
        for gateway in (one, two):
            await until(lambda gateway=gateway: not gateway.knows(made.secret), within_s=WITHIN_S)
            assert error_of(await gateway.get(made.secret)) == (401, "INVALID_KEY")


async def test_a_suspended_associates_keys_stop_and_come_back(mesh: Mesh) -> None:
    async with mesh.gateway() as gateway:
        made = await mesh.key("plain")
        await until(lambda: gateway.knows(made.secret), within_s=WITHIN_S)
        for suspended in (True, False):
            associate = account_pb2.Associate(associate="of-plain", plan="plain", suspended=suspended)
            request = account_pb2.UpdateAssociateRequest(associate=associate, update_mask={"paths": ["suspended"]})
            await mesh.account.caller()(request)
            await until(lambda: gateway.knows(made.secret) != suspended, within_s=WITHIN_S)  # noqa: B023


async def test_what_was_answered_stands_in_the_database_when_the_gateway_is_gone(mesh: Mesh) -> None:
    made = await mesh.key("plain")
    async with mesh.gateway() as gateway:
        await until(lambda: gateway.knows(made.secret), within_s=WITHIN_S)
        for _ in range(25):
            assert (await gateway.get(made.secret)).status_code == 200
        assert (await gateway.stage.get("/price?asset=NOPE", authorization=f"Bearer {made.secret}")).status_code == 503
    assert await mesh.billed(made.key.key_id) == 25


async def test_two_gateways_share_a_small_quota_and_never_overrun_it(mesh: Mesh) -> None:
    made = await mesh.key("small", monthly_quota=20)
    async with mesh.gateway() as one, mesh.gateway() as two:
        for gateway in (one, two):
            await until(lambda gateway=gateway: gateway.knows(made.secret), within_s=WITHIN_S)
        answers = [await (one, two)[number % 2].get(made.secret) for number in range(24)]
        good = [answer.status_code for answer in answers].count(200)
        assert good in (19, 20), "the last answer may be held by the one that is not asked"
        assert error_of(answers[-1]) == (429, "QUOTA_EXHAUSTED")
    assert await mesh.billed(made.key.key_id) == good


async def test_one_gateway_gives_a_quota_to_the_last_answer(mesh: Mesh) -> None:
    made = await mesh.key("small", monthly_quota=20)
    async with mesh.gateway() as gateway:
        await until(lambda: gateway.knows(made.secret), within_s=WITHIN_S)
        answers = await asyncio.gather(*(gateway.get(made.secret) for _ in range(30)))
        assert sorted(answer.status_code for answer in answers) == [200] * 20 + [429] * 10
    assert await mesh.billed(made.key.key_id) == 20


async def test_two_gateways_of_a_host_share_a_keys_bucket(mesh: Mesh) -> None:
    made = await mesh.key("slow", rate_per_s=1, burst=6)
    async with mesh.gateway() as one, mesh.gateway() as two:
        for gateway in (one, two):
            await until(lambda gateway=gateway: gateway.knows(made.secret), within_s=WITHIN_S)
        clock_s = SystemClock().monotonic_ns
        began = clock_s()
        answers = [await (one, two)[number % 2].get(made.secret) for number in range(40)]
        good = [answer.status_code for answer in answers].count(200)
        assert 6 <= good <= 6 + (clock_s() - began) // 10**9 + 1


async def test_known_keys_go_on_without_postgresql_and_everything_is_counted_afterwards(
    databases: Databases, tmp_path: Path
) -> None:
    async with databases.fresh() as url:
        with (
            tempfile.TemporaryDirectory(prefix="am-") as name,
            Switch(url, databases.stores.admin_url) as switch,
        ):
            async with (
                SmallAccount(tmp_path, switch.url, silence_ms=1_000).running() as account,
                # How long a record waits for a database that is away is not what this is about.
                usage_serving(
                    Path(name), switch.url, clock=SystemClock(), postgres=PostgresConfig(acquire_timeout_ms=500)
                ) as usage,
            ):
                mesh = Mesh(Path(name), url, account, usage)
                unlimited, limited = await mesh.key("plain"), await mesh.key("limited", monthly_quota=1_000_000)
                quota = QuotaConfig(wait_ms=50, deadline_ms=200)
                async with mesh.gateway(quota=quota) as gateway:
                    await until(lambda: gateway.knows(limited.secret), within_s=WITHIN_S)
                    await switch.off()
                    # A stream that cannot say that nothing changed ends; what is known goes on.
                    await until(lambda: gateway.part.watch.state.failures, within_s=WITHIN_S)
                    for made in (unlimited, limited):
                        for _ in range(20):
                            assert (await gateway.get(made.secret)).status_code == 200
                    await until(lambda: gateway.part.collector.failures, within_s=WITHIN_S)
                    async with mesh.gateway(quota=quota, account=f"unix:{name}/nobody.sock") as late:
                        assert late.part.missing() == (), "it knows the keys of the other from their copy"
                        assert (await late.get(limited.secret)).status_code == 200
                        switch.on()
                        await until(lambda: gateway.part.watch.state.connected, within_s=WITHIN_S)
                for made, answers in ((unlimited, 20), (limited, 21)):
                    assert await mesh.billed(made.key.key_id) == answers


async def test_a_gateway_that_never_heard_of_a_key_says_that_it_cannot_judge(tmp_path: Path) -> None:
    config = AdmissionConfig(
        account=f"unix:{tmp_path}/nobody.sock",
        usage=f"unix:{tmp_path}/nobody.sock",
        spool=str(tmp_path / "spool"),
        ready_wait_ms=0,
        collector=CollectorConfig(drain_ms=0),
    )
    async with admission_part(config, clock=SystemClock(), assets=ASSETS, secret=SECRETS) as part:
        await part.ready()
        (reason,) = part.missing()
        assert "not known yet" in reason
        with pytest.raises(TrinityError, match="BACKEND_UNAVAILABLE"):
            part.admission.find(make_key(5).text)


async def test_a_session_opened_by_the_account_service_is_good_at_the_endpoint_until_its_key_is_revoked(
    mesh: Mesh,
) -> None:
    made = await mesh.key("plain")
    async with mesh.gateway() as gateway:
        await until(lambda: gateway.knows(made.secret), within_s=WITHIN_S)
        held = gateway.part.admission.find(made.secret)
        session = await mesh.account.caller(held.principal)(account_pb2.CreateUdpSessionRequest())
        endpoint = make_price_endpoint(
            config=UdpConfig(listen=("127.0.0.1:0",)),
            replica=Shelf({"BTC": make_price()}),
            assets=ASSETS,
            lookup=None,
            clock=SystemClock(),
            doors=Doors(gateway.part.admission, gateway.part.sessions),
        )
        async with endpoint:
            peer = _Peer(endpoint.addresses[0], session)
            assert (await peer.ask()).startswith("OK - BTC 67000.10 USD")
            assert (await peer.ask()).startswith("OK - BTC 67000.10 USD")
            await mesh.revoke(made.key.key_id)
            await until(lambda: not gateway.knows(made.secret), within_s=WITHIN_S)
            peer.send()
            await until(lambda: sum(endpoint.tally.dropped.values()) == 1, within_s=WITHIN_S)
            assert endpoint.tally.replied == 2
            peer.socket.close()
    assert await mesh.billed(made.key.key_id) == 2


class _Peer:
    def __init__(self, address: str, session: account_pb2.CreateUdpSessionResponse) -> None:
        host, _, port = address.rpartition(":")
        self.session = session
        self.sequence = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, int(port)))

    def send(self) -> None:
        self.sequence += 1
        line = signed_line(
            self.session.session_key,
            "GET BTC USD",
            session=self.session.session_id,
            unix_s=SystemClock().unix_ns() // 10**9,
            sequence=self.sequence,
        )
        self.socket.send(line.encode())

    async def ask(self) -> str:
        self.send()
        async with asyncio.timeout(WITHIN_S):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 65_536)).decode()


async def test_counts_of_admission_are_those_of_the_real_ledger(mesh: Mesh) -> None:
    made = await mesh.key("plain", scopes=["prices.read", "reports.read"])
    async with mesh.gateway() as gateway:
        await until(lambda: gateway.knows(made.secret), within_s=WITHIN_S)
        admission = gateway.part.admission
        kinds = [
            (transport, method, asset, outcome)
            for transport in Transport
            for method in ("GetPrice", "ListUsage")
            for asset in ("BTC", "")
            for outcome in Outcome
        ]
        for transport, method, asset, outcome in kinds:
            admitted = admission.admit(
                made.secret, transport=transport, method=method, assets=(asset,) if asset else None
            )
            admitted.answered(outcome)
            admitted.close()
    connection = await asyncpg.connect(mesh.database_url)
    try:
        rows = await connection.fetch(
            "SELECT transport, method, asset, outcome, n, billed FROM trinity.usage_log WHERE key_id = $1",
            made.key.key_id,
        )
    finally:
        await connection.close()
    assert {tuple(row)[:4] for row in rows} == {(int(t), m, a, int(o)) for t, m, a, o in kinds}
    assert {row["n"] for row in rows} == {1}
    assert all(row["billed"] == (row["outcome"] <= 4) for row in rows)
