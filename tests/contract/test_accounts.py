"""One suite, every adapter of AccountRepo: PostgreSQL, the newest and the oldest we promise, and the twin in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from account.databases import Databases, open_postgres
from stores import shared_stores
from trinity_core.accounts import (
    AccountRepo,
    ApiKey,
    Associate,
    Author,
    KeyRecord,
    KeyState,
    OwnedKey,
    Plan,
    Room,
    Rotation,
)
from trinity_core.accounts_memory import MemoryAccounts
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Transport
from trinity_storage.accounts import PostgresAccounts

NOW_NS = 1_790_000_000_123_456_000
MESH = Author(NOW_NS)
DAY_NS = 86_400 * 10**9
COLUMNS = "key_id, associate, name, digest, scopes, allowed_networks, create_time, version"

GOLD = Plan(
    plan="gold",
    name="Gold ✨",
    rate_per_s=100,
    burst=200,
    monthly_quota=9_000_000_000_000_000,
    scopes=("prices.read", "keys.manage"),
    assets=("BTC", "ETH"),
    transports=(Transport.HTTP, Transport.GRPC),
)
ACME = Associate(associate="acme", name="Acme", email="ops@acme.example", plan="gold")


@pytest.fixture(scope="module", params=["memory", "wheels", "debian"])
def databases(request: pytest.FixtureRequest) -> Databases | None:
    return None if request.param == "memory" else Databases(shared_stores(request.param))


@pytest.fixture
async def repo(databases: Databases | None) -> AsyncIterator[AccountRepo]:
    """Each adapter in turn, with the plan gold and the associate acme."""
    if databases is None:
        memory = MemoryAccounts()
        await furnish(memory)
        yield memory
        return
    async with databases.fresh() as url, open_postgres(url) as postgres:
        await postgres.execute("DELETE FROM trinity.associates; DELETE FROM trinity.plans")
        adapter = PostgresAccounts(postgres)
        await furnish(adapter)
        yield adapter


@pytest.fixture
async def stored(databases: Databases) -> AsyncIterator[PostgresAccounts]:
    """PostgreSQL as it was migrated."""
    async with databases.fresh() as url, open_postgres(url) as postgres:
        yield PostgresAccounts(postgres)


only_stored = pytest.mark.parametrize("databases", ["wheels", "debian"], indirect=True)
"""For what only a database can do wrong."""


async def furnish(repo: AccountRepo) -> None:
    await repo.create_plan(GOLD, author=MESH)
    await repo.create_associate(ACME, author=MESH)


def key(number: int, **changes: Any) -> ApiKey:
    fields = {
        "key_id": f"{number:012d}",
        "associate": "acme",
        "digest": number.to_bytes(32, "big"),
        "scopes": ("prices.read",),
        "create_time_ns": NOW_NS,
        **changes,
    }
    return ApiKey(**fields)


async def add(repo: AccountRepo, made: ApiKey, *, author: Author = MESH) -> OwnedKey:
    return await repo.create_key(made.associate, lambda _: made, author=author)


async def reason_of(call: Awaitable[object]) -> Reason:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value.reason


async def records(repo: AccountRepo, since: int, *, now_ns: int = NOW_NS) -> dict[str, KeyRecord]:
    """What is handed over after a version, by key; nothing is handed over twice."""
    taken: list[KeyRecord] = []
    await repo.read_records(since=since, now_ns=now_ns, take=taken.extend)
    found = {record.key_id: record for record in taken}
    assert len(found) == len(taken)
    return found


async def plan_records(repo: AccountRepo, since: int, *, limit: int = 2) -> dict[str, KeyRecord]:
    """Likewise of plans that changed after a version, page by page."""
    found: dict[str, KeyRecord] = {}
    after = ""
    while page := await repo.read_plan_records(since=since, now_ns=NOW_NS, after=after, limit=limit):
        ids = [record.key_id for record in page]
        assert ids == sorted(ids)
        assert ids[0] > after
        assert len(ids) <= limit
        found.update({record.key_id: record for record in page})
        after = ids[-1]
    return found


async def test_a_plan_is_kept_as_it_was_made(repo: AccountRepo) -> None:
    plan = await repo.get_plan("gold")
    assert plan == replace(GOLD, create_time_ns=NOW_NS, update_time_ns=NOW_NS)
    assert await repo.get_plan("Gold") is None
    assert await reason_of(repo.create_plan(GOLD, author=MESH)) is Reason.ALREADY_EXISTS


async def test_an_associate_is_kept_as_it_was_made_and_needs_a_plan(repo: AccountRepo) -> None:
    associate = await repo.get_associate("acme")
    assert associate == replace(ACME, create_time_ns=NOW_NS, update_time_ns=NOW_NS)
    assert await repo.get_associate("globex") is None
    assert await reason_of(repo.create_associate(ACME, author=MESH)) is Reason.ALREADY_EXISTS
    poor = replace(ACME, associate="globex", plan="nothing")
    assert await reason_of(repo.create_associate(poor, author=MESH)) is Reason.UNKNOWN_PLAN
    assert await repo.get_associate("globex") is None


async def test_a_plan_changes_but_for_its_creation(repo: AccountRepo) -> None:
    later = Author(NOW_NS + 1_000)
    changed = await repo.update_plan("gold", lambda old: replace(old, burst=7, assets=()), author=later)
    assert (
        changed
        == replace(GOLD, burst=7, assets=(), create_time_ns=NOW_NS, update_time_ns=NOW_NS + 1_000)
        == await repo.get_plan("gold")
    )
    assert await reason_of(repo.update_plan("lead", lambda old: old, author=later)) is Reason.UNKNOWN_PLAN


async def test_an_associate_changes_but_for_its_creation(repo: AccountRepo) -> None:
    later = Author(NOW_NS + 1_000)
    changed = await repo.update_associate("acme", lambda old: replace(old, suspended=True, name=""), author=later)
    assert changed == await repo.get_associate("acme")
    assert (changed.suspended, changed.name, changed.email) == (True, "", "ops@acme.example")
    assert (changed.create_time_ns, changed.update_time_ns) == (NOW_NS, NOW_NS + 1_000)
    assert await reason_of(repo.update_associate("ghost", lambda old: old, author=later)) is Reason.UNKNOWN_ASSOCIATE
    to_nowhere = repo.update_associate("acme", lambda old: replace(old, plan="nothing"), author=later)
    assert await reason_of(to_nowhere) is Reason.UNKNOWN_PLAN
    assert await repo.get_associate("acme") == changed


async def test_a_change_that_changes_nothing_leaves_no_trace(repo: AccountRepo) -> None:
    await add(repo, key(1))
    await repo.revoke_key(key(1).key_id, lambda _: None, author=MESH)
    version = await repo.version()
    later = Author(NOW_NS + 1_000)
    assert (await repo.update_plan("gold", lambda old: old, author=later)).update_time_ns == NOW_NS
    assert (await repo.update_associate("acme", lambda old: old, author=later)).update_time_ns == NOW_NS
    again = await repo.revoke_key(key(1).key_id, lambda _: None, author=later)
    assert again.key.revoke_time_ns == NOW_NS
    await repo.register_key(key(1), author=later)
    assert await repo.version() == version


async def test_a_change_that_raises_leaves_no_trace(repo: AccountRepo) -> None:
    await add(repo, key(1))
    version = await repo.version()

    def refuse(*_: object) -> Any:
        raise TrinityError(Reason.KEY_NOT_ACTIVE, "no")

    for call in (
        repo.update_plan("gold", refuse, author=MESH),
        repo.update_associate("acme", refuse, author=MESH),
        repo.create_key("acme", refuse, author=MESH),
        repo.rotate_key(key(1).key_id, refuse, author=MESH),
        repo.revoke_key(key(1).key_id, refuse, author=MESH),
    ):
        assert await reason_of(call) is Reason.KEY_NOT_ACTIVE
    assert await repo.version() == version
    assert [held.key.key_id for held in await repo.list_keys(associate=None, after=None, limit=10)] == [key(1).key_id]


async def test_plans_and_associates_are_listed_by_id_in_pages(repo: AccountRepo) -> None:
    for name in ("a1", "a-b", "z", "a"):
        await repo.create_plan(replace(GOLD, plan=name), author=MESH)
        await repo.create_associate(replace(ACME, associate=name), author=MESH)
    assert [plan.plan for plan in await repo.list_plans(after="", limit=10)] == ["a", "a-b", "a1", "gold", "z"]
    assert [plan.plan for plan in await repo.list_plans(after="a-b", limit=2)] == ["a1", "gold"]
    assert [each.associate for each in await repo.list_associates(after="", limit=3)] == ["a", "a-b", "a1"]
    assert [each.associate for each in await repo.list_associates(after="a1", limit=9)] == ["acme", "z"]
    assert list(await repo.list_associates(after="z", limit=9)) == []


async def test_a_key_is_kept_as_it_was_made(repo: AccountRepo) -> None:
    made = key(
        1,
        name="désk",
        scopes=("prices.read", "reports.read"),
        allowed_networks=("203.0.113.0/24", "2001:db8::/32"),
        expire_time_ns=NOW_NS + DAY_NS,
    )
    held = await add(repo, made)
    assert held.key == made
    assert held == await repo.get_key(made.key_id)
    assert held.scopes == ("prices.read",), "the plan lacks the other"
    assert held.plan.plan == "gold"
    assert await repo.get_key("999999999999") is None
    assert await reason_of(repo.create_key("ghost", lambda _: made, author=MESH)) is Reason.UNKNOWN_ASSOCIATE


async def test_ids_and_digests_of_keys_are_unique(repo: AccountRepo) -> None:
    await add(repo, key(1))
    assert await reason_of(add(repo, key(1, digest=b"x" * 32))) is Reason.ALREADY_EXISTS
    assert await reason_of(add(repo, key(2, digest=key(1).digest))) is Reason.ALREADY_EXISTS
    assert await repo.get_key(key(2).key_id) is None


async def test_who_makes_a_key_sees_the_associate_its_plan_and_how_many_keys_it_has(repo: AccountRepo) -> None:
    await repo.create_associate(replace(ACME, associate="globex"), author=MESH)
    await add(repo, key(1))
    await add(repo, key(2, expire_time_ns=NOW_NS + 1_000))
    await add(repo, key(3, associate="globex"))
    await add(repo, key(4))
    await repo.revoke_key(key(4).key_id, lambda _: None, author=MESH)
    seen: list[Room] = []

    def look(room: Room) -> ApiKey:
        seen.append(room)
        raise TrinityError(Reason.TOO_MANY_KEYS, "only looking")

    for at_ns in (NOW_NS, NOW_NS + 1_000):
        await reason_of(repo.create_key("acme", look, author=Author(at_ns)))
    assert [room.live_keys for room in seen] == [2, 1]
    assert seen[0].associate == await repo.get_associate("acme")
    assert seen[0].plan == await repo.get_plan("gold")
    assert seen[0].author is None


async def test_who_makes_or_replaces_a_key_sees_the_authors_own_as_it_is_now(repo: AccountRepo) -> None:
    await repo.create_associate(replace(ACME, associate="globex"), author=MESH)
    await add(repo, key(1, scopes=("prices.read", "keys.manage"), allowed_networks=("10.0.0.0/8",)))
    await add(repo, key(2, associate="globex"))
    await repo.update_plan("gold", lambda plan: replace(plan, scopes=("keys.manage",)), author=MESH)
    seen: list[Room] = []

    def look(room: Room) -> ApiKey:
        seen.append(room)
        raise TrinityError(Reason.TOO_MANY_KEYS, "only looking")

    author = Author(NOW_NS, key(1).key_id)
    await reason_of(repo.create_key("globex", look, author=author))
    await reason_of(repo.rotate_key(key(2).key_id, lambda _, room: Rotation(look(room), 0), author=author))
    assert [room.author for room in seen] == [await repo.get_key(key(1).key_id)] * 2
    assert [room.author.scopes for room in seen if room.author] == [("keys.manage",)] * 2


async def test_a_bound_on_keys_holds_however_many_are_made_at_once(repo: AccountRepo) -> None:
    def bounded(number: int) -> Callable[[Room], ApiKey]:
        def make(room: Room) -> ApiKey:
            if room.live_keys >= 3:
                raise TrinityError(Reason.TOO_MANY_KEYS, "enough")
            return key(number)

        return make

    calls = [repo.create_key("acme", bounded(number), author=MESH) for number in range(10)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, OwnedKey) for each in done) == 3
    assert all(each.reason is Reason.TOO_MANY_KEYS for each in done if isinstance(each, TrinityError))
    assert len(await repo.list_keys(associate="acme", after=None, limit=10)) == 3


async def test_keys_are_listed_newest_first_in_pages_of_one_associate_or_all(repo: AccountRepo) -> None:
    await repo.create_associate(replace(ACME, associate="globex"), author=MESH)
    order = [key(5, create_time_ns=NOW_NS + 2_000), key(4, create_time_ns=NOW_NS + 1_000), key(9), key(2), key(1)]
    for made in reversed(order):
        await add(repo, replace(made, associate="globex") if made.key_id == key(2).key_id else made)

    async def ids(**where: Any) -> list[int]:
        return [
            int(held.key.key_id)
            for held in await repo.list_keys(**{"associate": None, "after": None, "limit": 9, **where})
        ]

    assert await ids() == [5, 4, 9, 2, 1]
    assert await ids(limit=2) == [5, 4]
    assert await ids(after=(NOW_NS + 1_000, key(4).key_id), limit=2) == [9, 2]
    assert await ids(after=(NOW_NS, key(2).key_id)) == [1]
    assert await ids(associate="acme") == [5, 4, 9, 1]
    assert await ids(associate="acme", after=(NOW_NS, key(9).key_id)) == [1]
    assert await ids(associate="ghost") == []


async def test_a_rotation_makes_one_key_of_two(repo: AccountRepo) -> None:
    await add(repo, key(1))
    seen: list[tuple[OwnedKey, Room]] = []

    def change(old: OwnedKey, room: Room) -> Rotation:
        seen.append((old, room))
        return Rotation(key(2), NOW_NS + DAY_NS)

    new, old = await repo.rotate_key(key(1).key_id, change, author=MESH)
    assert seen[0][0].key == key(1)
    assert seen[0][1].live_keys == 1
    assert new.key == key(2, replaces=key(1).key_id)
    assert old.key == key(1, replaced=True, expire_time_ns=NOW_NS + DAY_NS)
    assert (new, old) == (await repo.get_key(key(2).key_id), await repo.get_key(key(1).key_id))
    assert [old.key.state(NOW_NS), old.key.state(NOW_NS + DAY_NS)] == [KeyState.ROTATED, KeyState.EXPIRED]
    again = repo.rotate_key(key(1).key_id, lambda *_: Rotation(key(3), NOW_NS), author=MESH)
    assert await reason_of(again) is Reason.ALREADY_EXISTS
    assert await repo.get_key(key(3).key_id) is None
    assert await repo.get_key(key(1).key_id) == old
    assert await reason_of(repo.rotate_key("999999999999", change, author=MESH)) is Reason.UNKNOWN_KEY


async def test_a_key_is_revoked_once_and_for_good(repo: AccountRepo) -> None:
    await add(repo, key(1))
    revoked = await repo.revoke_key(key(1).key_id, lambda _: None, author=Author(NOW_NS + 5_000))
    assert revoked.key.revoke_time_ns == NOW_NS + 5_000
    assert revoked.key.state(NOW_NS) is KeyState.REVOKED
    assert revoked == await repo.get_key(key(1).key_id)
    assert await reason_of(repo.revoke_key("999999999999", lambda _: None, author=MESH)) is Reason.UNKNOWN_KEY


async def test_a_given_key_is_registered_and_registered_again(repo: AccountRepo) -> None:
    assert (await repo.register_key(key(1), author=MESH)).key == key(1)
    renewed = key(1, name="demo", scopes=("prices.read", "feed.read"), digest=b"n" * 32)
    assert (await repo.register_key(replace(renewed, create_time_ns=NOW_NS + DAY_NS), author=MESH)).key == renewed
    await repo.create_associate(replace(ACME, associate="globex"), author=MESH)
    assert await reason_of(repo.register_key(key(1, associate="globex"), author=MESH)) is Reason.ALREADY_EXISTS
    assert await reason_of(repo.register_key(key(2, associate="ghost"), author=MESH)) is Reason.UNKNOWN_ASSOCIATE
    await add(repo, key(3))
    assert await reason_of(repo.register_key(key(1, digest=key(3).digest), author=MESH)) is Reason.ALREADY_EXISTS
    await repo.revoke_key(key(1).key_id, lambda _: None, author=MESH)
    assert (await repo.register_key(key(1), author=MESH)).key.revoke_time_ns == NOW_NS, "for good"


async def test_a_key_that_has_ended_changes_nothing_any_more(repo: AccountRepo) -> None:
    await repo.create_associate(replace(ACME, associate="globex", suspended=True), author=MESH)
    await add(repo, key(1))
    await repo.revoke_key(key(1).key_id, lambda _: None, author=MESH)
    await add(repo, key(2, expire_time_ns=NOW_NS))
    await add(repo, key(3, associate="globex"))
    await add(repo, key(4))
    version = await repo.version()
    for number in (1, 2, 3, 99):
        author = Author(NOW_NS, key(number).key_id)
        for call in (
            repo.create_plan(replace(GOLD, plan="own"), author=author),
            repo.update_plan("gold", lambda old: replace(old, burst=9), author=author),
            repo.create_associate(replace(ACME, associate="own"), author=author),
            repo.update_associate("acme", lambda old: replace(old, name="own"), author=author),
            repo.create_key("acme", lambda _: key(5), author=author),
            repo.register_key(key(5), author=author),
            repo.rotate_key(key(4).key_id, lambda *_: Rotation(key(5), NOW_NS), author=author),
            repo.revoke_key(key(4).key_id, lambda _: None, author=author),
        ):
            assert await reason_of(call) is Reason.INVALID_KEY
    assert await repo.version() == version
    assert (await add(repo, key(5), author=Author(NOW_NS, key(4).key_id))).key == key(5)


async def test_every_change_has_a_greater_version(repo: AccountRepo) -> None:
    seen = [await repo.version()]

    async def see(call: Awaitable[object]) -> None:
        await call
        seen.append(await repo.version())

    await see(repo.create_plan(replace(GOLD, plan="more"), author=MESH))
    await see(repo.update_plan("gold", lambda old: replace(old, burst=9), author=MESH))
    await see(repo.create_associate(replace(ACME, associate="globex"), author=MESH))
    await see(repo.update_associate("acme", lambda old: replace(old, name="x"), author=MESH))
    await see(add(repo, key(1)))
    await see(repo.register_key(key(2), author=MESH))
    await see(repo.register_key(key(2, name="x"), author=MESH))
    await see(repo.rotate_key(key(1).key_id, lambda *_: Rotation(key(3), NOW_NS + 1), author=MESH))
    await see(repo.revoke_key(key(3).key_id, lambda _: None, author=MESH))
    assert seen[0] > 0
    assert seen == sorted(set(seen))


async def test_a_replica_that_has_nothing_is_handed_every_key_that_is_valid(repo: AccountRepo) -> None:
    await repo.create_associate(replace(ACME, associate="globex", suspended=True), author=MESH)
    await add(repo, key(1, allowed_networks=("10.0.0.0/8",), scopes=("prices.read", "admin")))
    await add(repo, key(2, expire_time_ns=NOW_NS))
    await add(repo, key(3, expire_time_ns=NOW_NS + 1_000))
    await add(repo, key(4))
    await repo.revoke_key(key(4).key_id, lambda _: None, author=MESH)
    await add(repo, key(5, associate="globex"))
    found = await records(repo, 0)
    assert set(found) == {key(1).key_id, key(3).key_id}
    record = found[key(1).key_id]
    assert 0 < record.version <= await repo.version()
    assert replace(record, version=0) == KeyRecord(
        key_id=key(1).key_id,
        digest=key(1).digest,
        associate="acme",
        scopes=("prices.read",),
        allowed_networks=("10.0.0.0/8",),
        assets=("BTC", "ETH"),
        transports=(Transport.HTTP, Transport.GRPC),
        rate_per_s=100,
        burst=200,
        monthly_quota=GOLD.monthly_quota,
        expire_time_ns=None,
        revoked=False,
        version=0,
    )
    assert found[key(3).key_id].expire_time_ns == NOW_NS + 1_000


async def test_a_replica_is_handed_what_changed_since_and_nothing_else(repo: AccountRepo) -> None:
    await repo.create_plan(replace(GOLD, plan="lead"), author=MESH)
    await repo.create_associate(replace(ACME, associate="globex", plan="lead"), author=MESH)
    for number in (1, 2):
        await add(repo, key(number))
    await add(repo, key(3, associate="globex"))
    await add(repo, key(4))
    await repo.revoke_key(key(4).key_id, lambda _: None, author=MESH)

    async def changed(call: Awaitable[object]) -> dict[int, KeyRecord]:
        version = await repo.version()
        await call
        own, by_plan = await records(repo, version), await plan_records(repo, version)
        assert not set(own) & set(by_plan)
        found = {**own, **by_plan}
        assert all(record.version > version for record in found.values())
        assert await records(repo, await repo.version()) == await plan_records(repo, await repo.version()) == {}
        return {int(key_id): record for key_id, record in found.items()}

    assert set(await changed(add(repo, key(5)))) == {5}
    revoked = await changed(repo.revoke_key(key(5).key_id, lambda _: None, author=MESH))
    assert {number: record.revoked for number, record in revoked.items()} == {5: True}
    slower = await changed(repo.update_plan("gold", lambda old: replace(old, rate_per_s=1), author=MESH))
    assert {number: record.rate_per_s for number, record in slower.items()} == {1: 1, 2: 1}
    moved = await changed(repo.update_associate("acme", lambda old: replace(old, plan="lead"), author=MESH))
    assert {number: record.rate_per_s for number, record in moved.items()} == {1: 100, 2: 100}
    suspended = await changed(repo.update_associate("globex", lambda old: replace(old, suspended=True), author=MESH))
    assert {number: record.revoked for number, record in suspended.items()} == {3: True}
    welcome = await changed(repo.update_associate("globex", lambda old: replace(old, suspended=False), author=MESH))
    assert {number: record.revoked for number, record in welcome.items()} == {3: False}
    rotated = await changed(repo.rotate_key(key(1).key_id, lambda *_: Rotation(key(6), NOW_NS + DAY_NS), author=MESH))
    assert {number: record.expire_time_ns for number, record in rotated.items()} == {1: NOW_NS + DAY_NS, 6: None}
    assert set(await changed(repo.create_plan(replace(GOLD, plan="unused"), author=MESH))) == set()


async def test_what_is_read_is_told_up_to_which_version(repo: AccountRepo) -> None:
    await add(repo, key(1))
    nothing: Callable[[object], None] = lambda _: None  # noqa: E731
    assert await repo.read_records(since=0, now_ns=NOW_NS, take=nothing) == await repo.version()
    assert await repo.read_records(since=await repo.version(), now_ns=NOW_NS, take=nothing) == await repo.version()


async def test_many_keys_are_handed_over_in_parts_and_none_is_missing(repo: AccountRepo) -> None:
    count = 150 if isinstance(repo, MemoryAccounts) else 1_100
    if isinstance(repo, PostgresAccounts):
        await repo._postgres.execute(
            f"INSERT INTO trinity.api_keys ({COLUMNS}) "
            "SELECT lpad(n::text, 12, '0'), 'acme', '', sha256(n::text::bytea), '{}', '{}', now(), 1 "
            f"FROM generate_series(1, {count}) n"
        )
    else:
        for number in range(1, count + 1):
            await add(repo, key(number))
    version = await repo.version()
    parts: list[int] = []
    seen: set[str] = set()

    def take(part: Any) -> None:
        parts.append(len(part))
        seen.update(record.key_id for record in part)

    async def all_are_handed_over(since: int) -> None:
        parts.clear()
        seen.clear()
        await repo.read_records(since=since, now_ns=NOW_NS, take=take)
        assert sum(parts) == len(seen) == count
        assert len(parts) > 1

    await all_are_handed_over(0)
    await repo.update_associate("acme", lambda old: replace(old, suspended=True), author=MESH)
    await all_are_handed_over(version)
    await repo.update_plan("gold", lambda old: replace(old, burst=9), author=MESH)
    found = await plan_records(repo, version, limit=400)
    assert len(found) == count
    assert {(record.burst, record.revoked) for record in found.values()} == {(9, True)}


@only_stored
async def test_no_change_is_missed_by_a_reader_while_many_write(stored: PostgresAccounts) -> None:
    writing = asyncio.Event()

    async def write(author: int) -> None:
        for number in range(15):
            made = key(author * 100 + number, associate="demo")
            await add(stored, made)
            await stored.revoke_key(made.key_id, lambda _: None, author=MESH)
            await stored.update_plan("admin", lambda old: replace(old, burst=old.burst % 1_000 + 1), author=MESH)

    async def follow() -> dict[str, KeyRecord]:
        seen: dict[str, KeyRecord] = {}
        version = 0

        def take(part: Any) -> None:
            for record in part:
                assert record.key_id not in seen or record.version > seen[record.key_id].version
                seen[record.key_id] = record

        while not writing.is_set():
            told = await stored.version()
            version = await stored.read_records(since=version, now_ns=NOW_NS, take=take)
            assert version >= told
        await stored.read_records(since=version, now_ns=NOW_NS, take=take)
        return seen

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(author) for author in range(1, 5)))
    writing.set()
    seen = await following
    revoked = {key_id for key_id, record in seen.items() if record.revoked}
    # A key that was made and revoked between two readings was never known.
    assert revoked == set(seen)
    assert len(await stored.list_keys(associate="demo", after=None, limit=100)) == 60


@only_stored
async def test_a_change_that_is_slow_to_commit_is_not_overtaken(stored: PostgresAccounts) -> None:
    postgres = stored._postgres
    version = await stored.version()
    async with postgres.transaction() as session:
        await session.execute("UPDATE trinity.account_version SET version = version + 1")
        await session.execute(
            f"INSERT INTO trinity.api_keys ({COLUMNS}) VALUES ($1, 'demo', '', $2, '{{}}', '{{}}', now(), $3)",
            key(1).key_id,
            key(1).digest,
            version + 1,
        )
        second = asyncio.create_task(add(stored, key(2, associate="demo")))
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while await postgres.fetch_value(blocked) == 0:
            assert not second.done()
        assert await stored.version() == version
        assert await records(stored, version) == {}
    await second
    assert set(await records(stored, version)) == {key(1).key_id, key(2).key_id}
    assert set(await records(stored, version + 1)) == {key(2).key_id}


@only_stored
async def test_every_database_has_the_plans_and_associates_that_a_mesh_starts_with(stored: PostgresAccounts) -> None:
    assert [plan.plan for plan in await stored.list_plans(after="", limit=9)] == ["admin", "demo"]
    assert [(each.associate, each.plan) for each in await stored.list_associates(after="", limit=9)] == [
        ("demo", "demo"),
        ("operator", "admin"),
    ]
    demo, admin = await stored.get_plan("demo"), await stored.get_plan("admin")
    assert demo is not None
    assert admin is not None
    assert "admin" not in demo.scopes
    assert set(admin.scopes) == {*demo.scopes, "admin"}
    assert await records(stored, 0) == {}
