"""A key that stands somewhere else is registered, as often as one likes, and its text is never stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trinity_account.ensure import ensure_key
from trinity_core.accounts import Associate, Author, KeyState, OwnedKey, Plan
from trinity_core.accounts_memory import MemoryAccounts
from trinity_core.errors import Reason, TrinityError
from trinity_core.keys import mint

NOW_NS = 1_790_000_000_123_456_789
PEPPER = b"p" * 32
TEXT = mint(env="demo", random_bytes=lambda count: b"\7" * count)


@pytest.fixture
async def repo() -> MemoryAccounts:
    made = MemoryAccounts()
    plan = Plan(plan="demo", rate_per_s=1, burst=1, scopes=("prices.read", "feed.read"))
    await made.create_plan(plan, author=Author(NOW_NS))
    for name in ("demo", "other"):
        await made.create_associate(Associate(associate=name, plan="demo"), author=Author(NOW_NS))
    return made


async def ensure(repo: MemoryAccounts, **changes: object) -> OwnedKey:
    wanted = {
        "key_text": TEXT.text,
        "associate": "demo",
        "name": "demo key",
        "scopes": ["prices.read", "admin"],
        "pepper": PEPPER,
        "now_ns": NOW_NS,
        **changes,
    }
    return await ensure_key(repo, **wanted)  # type: ignore[arg-type]


async def test_a_key_is_registered_once(repo: MemoryAccounts) -> None:
    made = await ensure(repo)
    assert made.key.key_id == TEXT.key_id
    assert made.key.digest == TEXT.digest(PEPPER)
    assert made.scopes == ("prices.read",), "as far as the plan has them"
    version = await repo.version()
    assert await ensure(repo, now_ns=NOW_NS + 10**12) == made
    assert await repo.version() == version


async def test_a_new_pepper_or_other_scopes_make_it_anew(repo: MemoryAccounts) -> None:
    first = await ensure(repo)
    second = await ensure(repo, pepper=b"q" * 32, scopes=["feed.read"], name="x")
    assert second.key == replace(first.key, digest=TEXT.digest(b"q" * 32), scopes=("feed.read",), name="x")


async def test_a_key_that_was_revoked_stays_revoked(repo: MemoryAccounts) -> None:
    await ensure(repo)
    await repo.revoke_key(TEXT.key_id, lambda _: None, author=Author(NOW_NS))
    assert (await ensure(repo)).key.state(NOW_NS) is KeyState.REVOKED


async def test_another_associates_key_is_not_taken_away(repo: MemoryAccounts) -> None:
    await ensure(repo)
    with pytest.raises(TrinityError) as caught:
        await ensure(repo, associate="other")
    assert caught.value.reason is Reason.ALREADY_EXISTS
    with pytest.raises(TrinityError) as caught:
        await ensure(repo, associate="nobody")
    assert caught.value.reason is Reason.UNKNOWN_ASSOCIATE


async def test_what_is_no_key_is_refused_without_showing_it(repo: MemoryAccounts) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        await ensure(repo, key_text=TEXT.text[:-1] + "_")
    assert TEXT.text[30:50] not in str(caught.value)
