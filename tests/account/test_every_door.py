"""One key, every door: what is decided about it holds over HTTP, directly over gRPC and for datagrams alike."""

from __future__ import annotations

from pathlib import Path

from account.databases import Databases
from account.small_account import Switch
from account.tenant_stage import World, a_world
from account.tenant_ways import Who, methods
from price.valkey import ValkeyServer
from price.virtual_clock import until
from processes import GENEROUS_S
from trinity.account.v1 import account_pb2
from trinity.price.v1 import price_pb2
from trinity_admission.admission_config import QuotaConfig
from trinity_admission.principal import Principal
from trinity_core.errors import TrinityError
from trinity_core.udp_mac import signed_line
from trinity_core.usage import Outcome
from trinity_mesh.clock import SystemClock
from trinity_udp.admitting import Admitting
from trinity_udp.codec import parse_text
from trinity_udp.drops import Drop

PRICE = methods()["PriceService.GetPrice"]
HASTY = QuotaConfig(wait_ms=50, deadline_ms=200)
OPEN = {"http": "", "direct": "", "udp": ""}


class Holder:
    """A key's holder with an open session, who knocks at every door."""

    def __init__(self, world: World, who: Who, session: account_pb2.CreateUdpSessionResponse) -> None:
        self._world = world
        self._who = who
        self._session = session
        self._gate = Admitting(world.part.admission, world.part.sessions)
        self._sequence = 0

    async def reasons(self, who: Who | None = None) -> dict[str, str]:
        """Why each door stays closed; empty where it is open."""
        found = {}
        for name in ("http", "direct"):
            request = price_pb2.GetPriceRequest(asset="BTC")
            seen = await self._world.ways[name].ask(PRICE, request, who or self._who)
            found[name] = seen.told.reason if seen.told is not None else ""
        return {**found, "udp": self._datagram()}

    def _datagram(self) -> str:
        self._sequence += 1
        clock = SystemClock()
        now_ns = clock.unix_ns()
        line = signed_line(
            self._session.session_key,
            "GET BTC USD",
            session=self._session.session_id,
            unix_s=now_ns // 10**9,
            sequence=self._sequence,
        )
        queries = parse_text(line.encode())
        assert not isinstance(queries, Drop)
        assert queries[0].claim is not None
        caller = self._gate.session(queries[0].claim, mono_ns=clock.monotonic_ns(), unix_ns=now_ns)
        if isinstance(caller, Drop):
            return "SILENCE"
        try:
            entry = caller.enter("GET", "BTC", "127.0.0.1")
        except TrinityError as error:
            return str(error.reason)
        entry.answered(Outcome.LOCAL)
        entry.close()
        return ""


async def holder_of(world: World, who: Who) -> Holder:
    return Holder(world, who, await world.account.caller(who.principal)(account_pb2.CreateUdpSessionRequest()))


async def test_a_revoked_key_stops_at_every_door_at_once(database_url: str, tmp_path: Path) -> None:
    async with a_world("http", database_url, tmp_path) as world:
        holder = await holder_of(world, world.acme.whole)
        assert await holder.reasons() == OPEN
        await world.account.caller()(account_pb2.RevokeKeyRequest(key_id=world.acme.things.key_id))
        keyring = world.part.keyring
        await until(lambda: keyring.get(world.acme.things.key_id) is None, within_s=GENEROUS_S)
        # From the push on, with nothing to wait for.
        assert await holder.reasons() == {"http": "INVALID_KEY", "direct": "INVALID_KEY", "udp": "SILENCE"}


async def test_a_network_that_a_key_may_not_be_used_from_is_closed_at_every_door(
    database_url: str, tmp_path: Path
) -> None:
    async with a_world("http", database_url, tmp_path) as world:
        made = await world.account.key("acmeco", allowed_networks=["203.0.113.0/24"])
        await until(lambda: world.part.keyring.get(made.key.key_id) is not None, within_s=GENEROUS_S)
        principal = Principal(made.key.key_id, "acmeco", frozenset(made.key.scopes))
        holder = await holder_of(world, Who(principal, made.secret))
        assert await holder.reasons() == dict.fromkeys(OPEN, "NETWORK_NOT_ALLOWED")


async def test_known_keys_work_at_every_door_while_both_stores_are_down(
    databases: Databases, database_url: str, tmp_path: Path
) -> None:
    with ValkeyServer() as valkey, Switch(database_url, databases.stores.admin_url) as switch:
        async with a_world("http", switch.url, tmp_path, valkey_url=valkey.url, quota=HASTY) as world:
            holder = await holder_of(world, world.acme.whole)
            valkey.kill()
            await switch.off()
            assert await holder.reasons() == OPEN
            assert (await holder.reasons(world.globex.whole))["http"] == ""
            # A wrong key is as wrong as ever, and whoever needs a store is told that it is away.
            text = world.acme.whole.text
            wrong = Who(world.acme.whole.principal, text[:-49] + world.globex.whole.text[-49:])
            assert (await holder.reasons(wrong))["direct"] == "INVALID_KEY"
            valkey.start()
            switch.on()
            assert await holder.reasons() == OPEN
