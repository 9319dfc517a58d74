"""What a key makes or replaces reaches no further than the key itself: scopes, networks, end."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from account.small_account import Caller, SmallAccount
from trinity.account.v1 import account_pb2 as pb
from trinity_account.reach import Reach, reach_of
from trinity_admission.principal import MESH_PEER, Principal
from trinity_core.accounts import ApiKey, OwnedKey, Plan
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.wire import unstamp

OFFICE = "203.0.113.0/24"
HOUR = Duration(seconds=3_600)
S_NS = 10**9
GOLD = Plan(plan="gold", rate_per_s=1, burst=1, scopes=("prices.read", "keys.manage", "admin"))


async def error_of(call: Any) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value


async def maker(account: SmallAccount, **fields: Any) -> tuple[pb.Key, Caller]:
    """A key of acme with bounds of its own, and calls made with it."""
    made = (await account.key("acme", **fields)).key
    return made, account.caller(Principal(made.key_id, "acme", frozenset(made.scopes)))


async def named(call: Any, field: str) -> str:
    """What is said of a field that reaches too far."""
    error = await error_of(call)
    assert (error.reason, error.metadata.get("field")) == (Reason.INVALID_FIELD, field), error
    return error.message


async def test_a_new_key_has_the_bounds_of_its_maker_where_none_are_asked_for(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    bounds: dict[str, Any] = {"scopes": ["prices.read", "keys.manage"], "allowed_networks": [OFFICE], "lifetime": HOUR}
    own, ask = await maker(account, **bounds)
    made = (await ask(pb.CreateKeyRequest())).key
    assert list(made.scopes) == ["prices.read", "keys.manage"]
    assert list(made.allowed_networks) == [OFFICE]
    assert made.expire_time == own.expire_time
    # And what that one makes has them too: no chain of keys leads out.
    again = account.caller(Principal(made.key_id, "acme", frozenset(made.scopes)))
    third = (await again(pb.CreateKeyRequest())).key
    assert (third.scopes, third.allowed_networks, third.expire_time) == (
        made.scopes,
        made.allowed_networks,
        made.expire_time,
    )


async def test_a_new_key_may_have_narrower_bounds_than_its_maker(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    _, ask = await maker(account, allowed_networks=[OFFICE, "2001:db8::/32"], lifetime=HOUR)
    narrow = ["203.0.113.7/32", "2001:db8:1::/48"]
    wish = pb.CreateKeyRequest(scopes=["prices.read"], allowed_networks=narrow, lifetime=Duration(seconds=60))
    made = (await ask(wish)).key
    assert list(made.scopes) == ["prices.read"]
    assert list(made.allowed_networks) == narrow
    assert unstamp(made.expire_time) - unstamp(made.create_time) == 60 * S_NS


async def test_a_wish_beyond_the_makers_bounds_is_refused_and_names_the_field(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    _, ask = await maker(account, scopes=["keys.manage"], allowed_networks=[OFFICE], lifetime=HOUR)
    for asked in ("0.0.0.0/0", "203.0.112.0/23", "198.51.100.1", "::/0", "::ffff:198.51.100.1"):
        wish = pb.CreateKeyRequest(allowed_networks=["203.0.113.9", asked])
        assert OFFICE in await named(ask(wish), "allowed_networks[1]"), asked
    assert "ends in" in await named(ask(pb.CreateKeyRequest(lifetime=Duration(seconds=3_700))), "lifetime")
    error = await error_of(ask(pb.CreateKeyRequest(scopes=["prices.read"])))
    assert (error.reason, error.metadata["scope"]) == (Reason.MISSING_SCOPE, "prices.read")
    assert len((await account.caller()(pb.ListKeysRequest(associate="acme"))).keys) == 1


async def test_a_key_can_be_replaced_only_by_one_that_reaches_as_far(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    anywhere = (await account.key("acme", lifetime=HOUR)).key.key_id
    elsewhere = (await account.key("acme", allowed_networks=["198.51.100.0/24"])).key.key_id
    endless = (await account.key("acme", allowed_networks=[OFFICE])).key.key_id
    longer = (await account.key("acme", allowed_networks=[OFFICE], lifetime=Duration(seconds=7_200))).key.key_id
    within = (await account.key("acme", allowed_networks=["203.0.113.8/29"], lifetime=Duration(seconds=60))).key
    _, ask = await maker(account, allowed_networks=[OFFICE], lifetime=HOUR)
    for key_id in (anywhere, elsewhere):
        assert "networks" in await named(ask(pb.RotateKeyRequest(key_id=key_id)), "key_id")
    for key_id in (endless, longer):
        assert "ends later" in await named(ask(pb.RotateKeyRequest(key_id=key_id)), "key_id")
    done = await ask(pb.RotateKeyRequest(key_id=within.key_id))
    assert list(done.key.allowed_networks) == ["203.0.113.8/29"]
    assert unstamp(done.key.expire_time) - unstamp(done.key.create_time) == 60 * S_NS
    # To end a key is to take, not to give.
    assert (await ask(pb.RevokeKeyRequest(key_id=endless))).key.state == pb.KEY_STATE_REVOKED


async def test_a_key_that_replaces_itself_keeps_its_bounds_and_its_end(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    own, ask = await maker(account, allowed_networks=[OFFICE], lifetime=HOUR)
    done = await ask(pb.RotateKeyRequest(key_id=own.key_id))
    assert done.key.expire_time == own.expire_time
    assert done.key.allowed_networks == own.allowed_networks
    assert done.key.scopes == own.scopes


async def test_a_key_in_its_grace_makes_nothing_that_outlasts_it(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    own, ask = await maker(account)
    done = await account.caller()(pb.RotateKeyRequest(key_id=own.key_id, grace=Duration(seconds=60)))
    assert (await ask(pb.CreateKeyRequest())).key.expire_time == done.previous.expire_time
    assert "ends later" in await named(ask(pb.RotateKeyRequest(key_id=done.key.key_id)), "key_id")


async def test_admins_and_parts_of_the_mesh_are_not_bounded(account: SmallAccount) -> None:
    await account.associate("acme", "demo")
    made = (await account.key("operator", scopes=["admin"], allowed_networks=[OFFICE], lifetime=HOUR)).key
    admin = account.caller(Principal(made.key_id, "operator", frozenset({"admin"})))
    for ask in (admin, account.caller()):
        wide = (await ask(pb.CreateKeyRequest(associate="acme"))).key
        assert not wide.allowed_networks
        assert not wide.HasField("expire_time")
        rotated = (await ask(pb.RotateKeyRequest(key_id=wide.key_id))).key
        assert not rotated.HasField("expire_time")


async def test_the_bounds_are_those_of_the_store_whatever_a_gateway_still_believes(account: SmallAccount) -> None:
    await account.plan("gold", scopes=["prices.read", "keys.manage"])
    own, _ = await account.tenant("acme", plan="gold")
    believed = account.caller(Principal(own.key_id, "acme", frozenset({"prices.read", "keys.manage", "admin"})))
    await account.caller()(pb.UpdatePlanRequest(plan=pb.Plan(plan="gold", scopes=["keys.manage"], rate_per_s=1)))
    error = await error_of(believed(pb.CreateKeyRequest(scopes=["prices.read"])))
    assert error.reason is Reason.MISSING_SCOPE
    assert list((await believed(pb.CreateKeyRequest())).key.scopes) == ["keys.manage"]


def test_a_caller_without_a_key_that_is_no_part_of_the_mesh_makes_nothing() -> None:
    with pytest.raises(TrinityError) as caught:
        reach_of(Principal("", "acme", frozenset({"keys.manage"})), None)
    assert caught.value.reason is Reason.INVALID_KEY
    assert reach_of(MESH_PEER, None) == Reach(None)


def test_a_scope_counts_only_where_the_gateway_and_the_store_have_it() -> None:
    key = ApiKey(key_id="k", associate="acme", digest=b"", scopes=("prices.read", "keys.manage"), create_time_ns=0)
    author = OwnedKey(key=key, plan=GOLD)
    reach = reach_of(Principal("k", "acme", frozenset({"keys.manage", "reports.read", "admin"})), author)
    assert reach.scopes == {"prices.read", "keys.manage"}, "admin is said to be held, and is not"
    reach = reach_of(Principal("k", "acme", frozenset({"keys.manage", "reports.read"})), author)
    assert reach.scopes == {"keys.manage"}


SMALL = st.builds(
    lambda bits, length: str(ipaddress.ip_network((bits << 24 | 0x0A << 28, length), strict=False)),
    st.integers(0, 15),
    st.integers(4, 10),
)
"""Networks near each other, so that some hold, touch or overlap others."""


@given(held=st.lists(SMALL, max_size=4), asked=st.lists(SMALL, max_size=4))
def test_networks_are_let_through_exactly_when_every_address_of_theirs_is_the_makers(
    held: list[str], asked: list[str]
) -> None:
    def blocks(networks: list[str]) -> set[int]:
        """Which /10 blocks they hold; no network here is smaller."""
        if not networks:
            return set(range(1 << 10))
        found = map(ipaddress.IPv4Network, networks)
        return {
            int(address) >> 22
            for network in found
            for address in (block.network_address for block in network.subnets(new_prefix=10))
        }

    reach = Reach(frozenset(), tuple(held))
    if not asked or blocks(asked) <= blocks(held):
        assert reach.networks_for(tuple(asked)) == tuple(asked or held)
    else:
        with pytest.raises(TrinityError) as caught:
            reach.networks_for(tuple(asked))
        index = int(caught.value.metadata["field"].removeprefix("allowed_networks[").removesuffix("]"))
        assert not blocks([asked[index]]) <= blocks(held)
        assert all(blocks([each]) <= blocks(held) for each in asked[:index])
