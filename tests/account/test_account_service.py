"""Every RPC of the account service, over real gRPC on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from account.small_account import SECRETS, Replica, SmallAccount
from trinity.account.v1 import account_pb2 as pb
from trinity_account.servicer import DESCRIPTOR
from trinity_admission.principal import Principal
from trinity_core.errors import Reason, TrinityError
from trinity_core.keys import parse
from trinity_core.udp_session import find_session, parse_session_id
from trinity_mesh.clock import SystemClock
from trinity_mesh.wire import unstamp

S_NS = 10**9


async def error_of(call: Awaitable[object]) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value


async def reason_of(call: Awaitable[object]) -> Reason:
    return (await error_of(call)).reason


async def test_a_plan_is_made_and_shown(account: SmallAccount) -> None:
    wanted = pb.Plan(
        plan="gold",
        name="Gold",
        rate_per_s=100,
        burst=200,
        monthly_quota=1_000_000,
        scopes=["prices.read", "feed.read"],
        assets=["BTC"],
        transports=[pb.TRANSPORT_HTTP, pb.TRANSPORT_UDP],
    )
    mesh = account.caller()
    made = (await mesh(pb.CreatePlanRequest(plan=wanted))).plan
    assert made.create_time == made.update_time
    assert abs(unstamp(made.create_time) - SystemClock().unix_ns()) < 60 * S_NS
    shown = (await mesh(pb.GetPlanRequest(plan="gold"))).plan
    assert shown == made
    made.ClearField("create_time")
    made.ClearField("update_time")
    assert made == wanted
    assert await reason_of(mesh(pb.CreatePlanRequest(plan=wanted))) is Reason.ALREADY_EXISTS
    assert await reason_of(mesh(pb.GetPlanRequest(plan="lead"))) is Reason.UNKNOWN_PLAN


async def test_times_of_a_request_are_not_taken(account: SmallAccount) -> None:
    plan = pb.Plan(plan="old", rate_per_s=1, burst=1)
    plan.create_time.FromSeconds(1)
    made = (await account.caller()(pb.CreatePlanRequest(plan=plan))).plan
    assert made.create_time.seconds > 1_700_000_000


async def test_an_update_changes_the_fields_of_its_mask_and_no_other(account: SmallAccount) -> None:
    before = await account.plan("gold", name="Gold", monthly_quota=5, assets=["BTC"])
    change = pb.Plan(plan="gold", rate_per_s=7, name="ignored")
    request = pb.UpdatePlanRequest(plan=change, update_mask=FieldMask(paths=["rate_per_s", "monthly_quota", "assets"]))
    after = (await account.caller()(request)).plan
    assert (after.rate_per_s, after.monthly_quota, list(after.assets)) == (7, 0, [])
    assert (after.name, after.burst, after.scopes) == ("Gold", before.burst, before.scopes)
    assert unstamp(after.update_time) > unstamp(before.update_time)
    assert after.create_time == before.create_time


async def test_an_update_without_a_mask_changes_what_is_not_empty(account: SmallAccount) -> None:
    await account.plan("gold", name="Gold")
    after = (await account.caller()(pb.UpdatePlanRequest(plan=pb.Plan(plan="gold", burst=9)))).plan
    assert (after.name, after.burst) == ("Gold", 9)
    await account.associate("acme", "gold", name="Acme", email="a@b.example")
    change = pb.Associate(associate="acme", suspended=True)
    acme = (await account.caller()(pb.UpdateAssociateRequest(associate=change))).associate
    assert (acme.name, acme.email, acme.plan, acme.suspended) == ("Acme", "a@b.example", "gold", True)


async def test_a_mask_can_empty_a_field_and_give_back_a_suspended_associate(account: SmallAccount) -> None:
    await account.associate("acme", "demo", name="Acme", email="a@b.example", suspended=True)
    request = pb.UpdateAssociateRequest(
        associate=pb.Associate(associate="acme"), update_mask=FieldMask(paths=["suspended", "email"])
    )
    acme = (await account.caller()(request)).associate
    assert (acme.name, acme.email, acme.suspended) == ("Acme", "", False)


UNCHANGEABLE: list[tuple[Any, str]] = [
    (pb.UpdatePlanRequest(plan=pb.Plan(name="x")), "plan.plan"),
    (pb.UpdatePlanRequest(plan=pb.Plan(plan="demo"), update_mask=FieldMask(paths=["plan"])), "update_mask"),
    (pb.UpdatePlanRequest(plan=pb.Plan(plan="demo"), update_mask=FieldMask(paths=["create_time"])), "update_mask"),
    (pb.UpdatePlanRequest(plan=pb.Plan(plan="demo"), update_mask=FieldMask(paths=["*"])), "update_mask"),
    (pb.UpdatePlanRequest(plan=pb.Plan(plan="demo"), update_mask=FieldMask(paths=["burst"])), "plan.burst"),
    (pb.UpdateAssociateRequest(associate=pb.Associate(name="x")), "associate.associate"),
    (
        pb.UpdateAssociateRequest(associate=pb.Associate(associate="demo"), update_mask=FieldMask(paths=["associate"])),
        "update_mask",
    ),
    (
        pb.UpdateAssociateRequest(associate=pb.Associate(associate="demo"), update_mask=FieldMask(paths=["plan"])),
        "associate.plan",
    ),
]


async def test_a_change_of_what_cannot_change_is_refused(account: SmallAccount) -> None:
    for request, field in UNCHANGEABLE:
        error = await error_of(account.caller()(request))
        assert (error.reason, error.metadata["field"]) == (Reason.INVALID_FIELD, field), request


async def test_an_associate_needs_a_plan_that_exists(account: SmallAccount) -> None:
    mesh = account.caller()
    nowhere = pb.CreateAssociateRequest(associate=pb.Associate(associate="acme", plan="nothing"))
    assert await reason_of(mesh(nowhere)) is Reason.UNKNOWN_PLAN
    await account.associate("acme", "demo")
    move = pb.UpdateAssociateRequest(associate=pb.Associate(associate="acme", plan="nothing"))
    assert await reason_of(mesh(move)) is Reason.UNKNOWN_PLAN
    again = pb.CreateAssociateRequest(associate=pb.Associate(associate="acme", plan="demo"))
    assert await reason_of(mesh(again)) is Reason.ALREADY_EXISTS
    ghost = pb.UpdateAssociateRequest(associate=pb.Associate(associate="ghost", name="x"))
    assert await reason_of(mesh(ghost)) is Reason.UNKNOWN_ASSOCIATE
    assert await reason_of(mesh(pb.GetAssociateRequest(associate="ghost"))) is Reason.UNKNOWN_ASSOCIATE


async def test_lists_come_in_pages_that_fit_together(account: SmallAccount) -> None:
    for number in range(7):
        await account.plan(f"p{number}")
        await account.associate(f"a{number}", "demo")
    for number in range(7):
        await account.key("demo", name=str(number))
    mesh = account.caller()

    async def pages(kind: Any, field: str, size: int, **more: Any) -> list[list[Any]]:
        found, token = [], ""
        while True:
            page = await mesh(kind(page_size=size, page_token=token, **more))
            found.append(list(getattr(page, field)))
            token = page.next_page_token
            if not token:
                return found

    plans = await pages(pb.ListPlansRequest, "plans", 4)
    assert [[plan.plan for plan in page] for page in plans] == [
        ["admin", "demo", "p0", "p1"],
        ["p2", "p3", "p4", "p5"],
        ["p6"],
    ]
    associates = await pages(pb.ListAssociatesRequest, "associates", 9)
    assert [[each.associate for each in page] for page in associates] == [
        [*(f"a{number}" for number in range(7)), "demo", "operator"]
    ]
    keys = await pages(pb.ListKeysRequest, "keys", 3)
    assert [[key.name for key in page] for page in keys] == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    assert await pages(pb.ListKeysRequest, "keys", 3, associate="demo") == keys
    assert await pages(pb.ListKeysRequest, "keys", 3, associate="operator") == [[]]


async def test_a_page_token_is_good_for_its_own_list_only(account: SmallAccount) -> None:
    for number in range(3):
        await account.key("demo", name=str(number))
        await account.plan(f"p{number}")
        await account.associate(f"a{number}", "demo")
    mesh = account.caller()
    plans = (await mesh(pb.ListPlansRequest(page_size=1))).next_page_token
    every = (await mesh(pb.ListKeysRequest(page_size=1))).next_page_token
    for request in (
        pb.ListAssociatesRequest(page_token=plans),
        pb.ListKeysRequest(page_token=plans),
        pb.ListKeysRequest(page_token=every, associate="demo"),
        pb.ListPlansRequest(page_token=plans[:-1]),
        pb.ListPlansRequest(page_token="\0"),
    ):
        assert await reason_of(mesh(request)) is Reason.INVALID_PAGE_TOKEN
    assert [key.name for key in (await mesh(pb.ListKeysRequest(page_token=every, page_size=9))).keys] == ["1", "0"]


async def test_a_key_is_made_and_its_secret_shown_once(account: SmallAccount) -> None:
    await account.plan("gold", scopes=["prices.read", "feed.read", "admin"])
    await account.associate("acme", "gold")
    made = await account.key("acme", name="desk", allowed_networks=["203.0.113.0/24", "::1"])
    text = parse(made.secret)
    assert text.env == "test"
    assert text.key_id == made.key.key_id
    assert list(made.key.scopes) == ["prices.read", "feed.read"], "all of the plan but admin"
    assert list(made.key.allowed_networks) == ["203.0.113.0/24", "::1/128"]
    assert made.key.state == pb.KEY_STATE_ACTIVE
    assert not made.key.HasField("expire_time")
    assert not made.key.HasField("revoke_time")
    shown = (await account.caller()(pb.ListKeysRequest(associate="acme"))).keys
    assert list(shown) == [made.key]
    async with Replica().following(account.caller()) as replica:
        await replica.until(lambda: replica.knows(made.key.key_id))
        assert replica.keys[made.key.key_id].digest == text.digest(SECRETS.pepper)


async def test_a_key_ends_with_its_lifetime(account: SmallAccount) -> None:
    made = (await account.key("demo", lifetime=Duration(seconds=1))).key
    assert unstamp(made.expire_time) - unstamp(made.create_time) == S_NS
    async with asyncio.timeout(30):
        while (await account.caller()(pb.ListKeysRequest(associate="demo"))).keys[0].state != pb.KEY_STATE_EXPIRED:
            pass
    rotate = account.caller()(pb.RotateKeyRequest(key_id=made.key_id))
    assert await reason_of(rotate) is Reason.KEY_NOT_ACTIVE


async def test_a_key_has_no_scope_that_its_plan_or_its_maker_lacks(account: SmallAccount) -> None:
    await account.plan("gold", scopes=["prices.read", "feed.read", "keys.manage", "admin"])
    _, acme = await account.tenant("acme", plan="gold", scopes=["prices.read", "keys.manage"])
    for scope in ("feed.read", "admin", "reports.read"):
        error = await error_of(acme(pb.CreateKeyRequest(scopes=["prices.read", scope])))
        assert (error.reason, error.metadata["scope"]) == (Reason.MISSING_SCOPE, scope)
    assert list((await acme(pb.CreateKeyRequest())).key.scopes) == ["prices.read", "keys.manage"]
    assert list((await acme(pb.CreateKeyRequest(scopes=["prices.read"]))).key.scopes) == ["prices.read"]
    refused = account.caller()(pb.CreateKeyRequest(associate="acme", scopes=["reports.read"]))
    assert await reason_of(refused) is Reason.MISSING_SCOPE
    assert list((await account.key("acme", scopes=["admin"])).key.scopes) == ["admin"]


async def test_a_part_of_the_mesh_must_say_for_whom_a_key_is(account: SmallAccount) -> None:
    error = await error_of(account.caller()(pb.CreateKeyRequest()))
    assert (error.reason, error.metadata["field"]) == (Reason.INVALID_FIELD, "associate")
    assert await reason_of(account.caller()(pb.CreateKeyRequest(associate="ghost"))) is Reason.UNKNOWN_ASSOCIATE


async def test_scopes_that_a_plan_loses_are_gone_from_its_keys(account: SmallAccount) -> None:
    await account.plan("gold", scopes=["prices.read", "feed.read"])
    await account.associate("acme", "gold")
    key_id = (await account.key("acme")).key.key_id
    async with Replica().following(account.caller()) as replica:
        await replica.until(lambda: replica.knows(key_id))
        await account.caller()(pb.UpdatePlanRequest(plan=pb.Plan(plan="gold", scopes=["feed.read"], rate_per_s=3)))
        await replica.until(lambda: list(replica.keys[key_id].scopes) == ["feed.read"])
        assert replica.keys[key_id].rate_per_s == 3
    assert list((await account.caller()(pb.ListKeysRequest())).keys[0].scopes) == ["feed.read"]


async def test_a_rotated_key_stays_valid_for_its_grace_and_its_successor_is_like_it(account: SmallAccount) -> None:
    old = await account.key("demo", name="desk", scopes=["prices.read"], allowed_networks=["10.0.0.0/8"])
    request = pb.RotateKeyRequest(key_id=old.key.key_id, grace=Duration(seconds=60))
    done = await account.caller()(request)
    assert (done.key.name, list(done.key.scopes), list(done.key.allowed_networks)) == (
        "desk",
        ["prices.read"],
        ["10.0.0.0/8"],
    )
    assert done.key.replaces == old.key.key_id
    assert done.key.state == pb.KEY_STATE_ACTIVE
    assert parse(done.secret).key_id == done.key.key_id != old.key.key_id
    assert done.previous.state == pb.KEY_STATE_ROTATED
    assert unstamp(done.previous.expire_time) - unstamp(done.key.create_time) == 60 * S_NS
    async with Replica().following(account.caller()) as replica:
        await replica.until(lambda: replica.knows(done.key.key_id))
        assert replica.keys[old.key.key_id].expire_time == done.previous.expire_time
    again = account.caller()(pb.RotateKeyRequest(key_id=old.key.key_id))
    error = await error_of(again)
    assert (error.reason, error.metadata["state"]) == (Reason.KEY_NOT_ACTIVE, "ROTATED")


async def test_grace_is_a_day_unless_said_and_no_grace_ends_the_old_key_now(account: SmallAccount) -> None:
    mesh = account.caller()
    first = await mesh(pb.RotateKeyRequest(key_id=(await account.key("demo")).key.key_id))
    assert unstamp(first.previous.expire_time) - unstamp(first.key.create_time) == 86_400 * S_NS
    second = await mesh(pb.RotateKeyRequest(key_id=first.key.key_id, grace=Duration()))
    assert second.previous.state == pb.KEY_STATE_EXPIRED


async def test_a_rotation_never_prolongs_the_old_key_and_counts_the_lifetime_anew(account: SmallAccount) -> None:
    old = (await account.key("demo", lifetime=Duration(seconds=600))).key
    done = await account.caller()(pb.RotateKeyRequest(key_id=old.key_id, grace=Duration(seconds=86_400)))
    assert done.previous.expire_time == old.expire_time
    assert unstamp(done.key.expire_time) - unstamp(done.key.create_time) == 600 * S_NS


async def test_nobody_gets_more_by_rotating_than_they_have(account: SmallAccount) -> None:
    _, acme = await account.tenant("acme", scopes=["prices.read", "keys.manage"])
    richer = (await account.key("acme", scopes=["prices.read", "reports.read"])).key
    error = await error_of(acme(pb.RotateKeyRequest(key_id=richer.key_id)))
    assert (error.reason, error.metadata["scope"]) == (Reason.MISSING_SCOPE, "reports.read")


async def test_a_revoked_key_has_ended_for_good(account: SmallAccount) -> None:
    made = (await account.key("demo")).key
    mesh = account.caller()
    revoked = (await mesh(pb.RevokeKeyRequest(key_id=made.key_id))).key
    assert revoked.state == pb.KEY_STATE_REVOKED
    assert (await mesh(pb.RevokeKeyRequest(key_id=made.key_id))).key == revoked, "again changes nothing"
    assert await reason_of(mesh(pb.RotateKeyRequest(key_id=made.key_id))) is Reason.KEY_NOT_ACTIVE
    assert await reason_of(mesh(pb.RevokeKeyRequest(key_id="999999999999"))) is Reason.UNKNOWN_KEY


async def test_a_revoked_key_cannot_make_its_successor(account: SmallAccount) -> None:
    principal, acme = await account.tenant("acme")
    await account.caller()(pb.RevokeKeyRequest(key_id=principal.key_id))
    # The gateway may not have heard of it yet and still passes the caller on.
    for request in (pb.CreateKeyRequest(), pb.RotateKeyRequest(key_id=principal.key_id)):
        assert await reason_of(acme(request)) is Reason.INVALID_KEY
    assert len((await account.caller()(pb.ListKeysRequest(associate="acme"))).keys) == 1


async def test_an_associate_has_a_bounded_number_of_valid_keys(account: SmallAccount) -> None:
    from trinity_storage.app_config import AppConfig

    await AppConfig(account.part.postgres).write("account.keys_per_associate_max", 3)
    await account.part.shared.look()
    made = [(await account.key("demo")).key for _ in range(3)]
    mesh = account.caller()
    error = await error_of(mesh(pb.CreateKeyRequest(associate="demo")))
    assert (error.reason, error.metadata["keys_max"]) == (Reason.TOO_MANY_KEYS, "3")
    with_grace = pb.RotateKeyRequest(key_id=made[0].key_id, grace=Duration(seconds=9))
    assert await reason_of(mesh(with_grace)) is Reason.TOO_MANY_KEYS
    await mesh(pb.RotateKeyRequest(key_id=made[0].key_id, grace=Duration()))
    await mesh(pb.RevokeKeyRequest(key_id=made[1].key_id))
    await account.key("demo")
    await account.key("operator")


async def test_a_session_for_datagrams_is_derived_from_its_id(account: SmallAccount) -> None:
    principal, acme = await account.tenant("acme", scopes=["prices.read", "reports.read"])
    opened = await acme(pb.CreateUdpSessionRequest())
    session_id = parse_session_id(opened.session_id)
    assert session_id is not None
    now_s = SystemClock().unix_ns() // S_NS
    session = find_session(SECRETS.udp_master, session_id, [principal.key_id], now_s=now_s)
    assert session is not None
    assert session.key(SECRETS.udp_master) == opened.session_key
    assert session.expire_s == opened.expire_time.seconds
    assert 3_500 < session.expire_s - now_s <= 3_600
    assert list(opened.scopes) == ["prices.read", "reports.read"]
    again = await acme(pb.CreateUdpSessionRequest())
    assert again.session_id != opened.session_id
    assert again.session_key != opened.session_key


async def test_who_may_have_no_session_is_told_why(account: SmallAccount) -> None:
    assert await reason_of(account.caller()(pb.CreateUdpSessionRequest())) is Reason.MISSING_KEY
    await account.plan("web", transports=[pb.TRANSPORT_HTTP])
    _, acme = await account.tenant("acme", plan="web")
    assert await reason_of(acme(pb.CreateUdpSessionRequest())) is Reason.TRANSPORT_NOT_ALLOWED
    principal, globex = await account.tenant("globex")
    await globex(pb.CreateUdpSessionRequest())
    await account.caller()(pb.RevokeKeyRequest(key_id=principal.key_id))
    async with asyncio.timeout(30):
        while True:
            try:
                await globex(pb.CreateUdpSessionRequest())
            except TrinityError as error:
                assert error.reason is Reason.INVALID_KEY
                break
    stranger = account.caller(Principal("999999999999", "acme", frozenset({"prices.read"})))
    assert await reason_of(stranger(pb.CreateUdpSessionRequest())) is Reason.INVALID_KEY
    ending, _ = await account.tenant("ending", lifetime=Duration(seconds=120))
    opened = await account.caller(ending)(pb.CreateUdpSessionRequest())
    assert opened.expire_time.seconds - SystemClock().unix_ns() // S_NS <= 120


async def test_names_with_hidden_characters_are_refused(account: SmallAccount) -> None:
    mesh = account.caller()
    for name in ("\0", "a\nb", "\x1b[31m", "\u202e", "\u2028", "\x7f", "x" * 101):
        for request, field in (
            (pb.CreateKeyRequest(associate="demo", name=name), "name"),
            (pb.CreatePlanRequest(plan=pb.Plan(plan="gold", name=name, rate_per_s=1, burst=1)), "plan.name"),
            (pb.UpdatePlanRequest(plan=pb.Plan(plan="demo", name=name)), "plan.name"),
            (
                pb.CreateAssociateRequest(associate=pb.Associate(associate="acme", plan="demo", name=name * 2)),
                "associate.name",
            ),
            (pb.UpdateAssociateRequest(associate=pb.Associate(associate="demo", name=name * 2)), "associate.name"),
        ):
            error = await error_of(mesh(request))
            assert (error.reason, error.metadata["field"]) == (Reason.INVALID_FIELD, field), ascii(name)


async def test_any_other_name_is_kept_as_it_is(account: SmallAccount) -> None:
    for name in ("O'Brien; DROP TABLE trinity.api_keys --", "Ünïcødé 漢字 🚀", '"\\%_$1', "x" * 100):
        assert (await account.key("demo", name=name)).key.name == name


HOSTILE: list[tuple[Any, str]] = [
    (pb.CreateKeyRequest(associate="demo", allowed_networks=["10.0.0.1/8"]), "allowed_networks[0]"),
    (pb.CreateKeyRequest(associate="demo", allowed_networks=["::/0", "300.0.0.0"]), "allowed_networks[1]"),
    (pb.CreateKeyRequest(associate="demo", allowed_networks=["10.0.0.0/33"]), "allowed_networks[0]"),
    (pb.CreateKeyRequest(associate="demo", allowed_networks=["..::.."]), "allowed_networks[0]"),
    (pb.CreateKeyRequest(associate="demo", allowed_networks=["10.0.0.0/8"] * 2), "allowed_networks"),
    (pb.CreateKeyRequest(associate="demo", scopes=["mesh"]), "scopes[0]"),
    (pb.CreateKeyRequest(associate="demo", scopes=["prices.read"] * 2), "scopes"),
    (pb.CreateKeyRequest(associate="demo", lifetime=Duration()), "lifetime"),
    (pb.CreateKeyRequest(associate="demo", lifetime=Duration(seconds=-1)), "lifetime"),
    (pb.CreateKeyRequest(associate="demo", lifetime=Duration(seconds=315_360_001)), "lifetime"),
    (pb.CreateKeyRequest(associate="DEMO"), "associate"),
    (pb.RotateKeyRequest(key_id="' OR true --"), "key_id"),
    (pb.RotateKeyRequest(), "key_id"),
    (pb.RotateKeyRequest(key_id="0" * 12, grace=Duration(seconds=-1)), "grace"),
    (pb.RevokeKeyRequest(key_id="0" * 13), "key_id"),
    (pb.ListKeysRequest(page_size=1_001), "page_size"),
    (pb.ListKeysRequest(page_token="x" * 513), "page_token"),
    (pb.CreatePlanRequest(), "plan"),
    (pb.CreatePlanRequest(plan=pb.Plan(plan="gold", rate_per_s=1, burst=1, scopes=["mesh"])), "plan.scopes[0]"),
    (pb.CreatePlanRequest(plan=pb.Plan(plan="gold", rate_per_s=0, burst=1)), "plan.rate_per_s"),
    (
        pb.CreatePlanRequest(plan=pb.Plan(plan="gold", rate_per_s=1, burst=1, monthly_quota=1 << 63)),
        "plan.monthly_quota",
    ),
    (
        pb.CreatePlanRequest(plan=pb.Plan(plan="gold", rate_per_s=1, burst=1, transports=[0])),
        "plan.transports[0]",
    ),
    (
        pb.CreateAssociateRequest(associate=pb.Associate(associate="acme", plan="demo", email="x")),
        "associate.email",
    ),
    (
        pb.CreateAssociateRequest(associate=pb.Associate(associate="acme", plan="demo", email="a\0@b")),
        "associate.email",
    ),
    (pb.GetAssociateRequest(associate="../demo"), "associate"),
]


async def test_hostile_input_is_named_and_refused(account: SmallAccount) -> None:
    for request, field in HOSTILE:
        error = await error_of(account.caller()(request))
        assert error.reason is Reason.INVALID_FIELD, request
        assert error.violations[0].field == field, request


async def test_networks_have_one_form(account: SmallAccount) -> None:
    wanted = ["2001:DB8::/32", "2001:db8:0::/32", "::ffff:10.0.0.0/104", "10.0.0.0/8", "127.0.0.1"]
    made = (await account.key("demo", allowed_networks=wanted)).key
    assert list(made.allowed_networks) == ["2001:db8::/32", "10.0.0.0/8", "127.0.0.1/32"]


def test_every_rpc_says_whom_it_is_for() -> None:
    from trinity_account.servicer import _SCOPES

    # A session may be opened with any key: its datagrams are judged by the key's scopes.
    assert {method.name for method in DESCRIPTOR.methods if not _SCOPES[method.name]} == {"CreateUdpSession"}
