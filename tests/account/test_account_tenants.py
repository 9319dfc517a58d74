"""Two tenants, every RPC: nobody reads, changes or notices what is another's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from account.small_account import Caller, SmallAccount
from trinity.account.v1 import account_pb2 as pb
from trinity_account.servicer import DESCRIPTOR
from trinity_admission.principal import METADATA_KEY, Principal
from trinity_core.errors import Reason, TrinityError

ALL_BUT_ADMIN = ("prices.read", "feed.read", "reports.read", "keys.manage", "webhooks.manage")


@dataclass(frozen=True)
class Stage:
    """Acme asks; globex has what acme must not touch."""

    account: SmallAccount
    acme: Caller
    own: Principal
    other: Principal


async def staged(account: SmallAccount) -> Stage:
    await account.plan("acme-plan", scopes=list(ALL_BUT_ADMIN))
    await account.plan("globex-plan", scopes=list(ALL_BUT_ADMIN))
    own, acme = await account.tenant("acme", plan="acme-plan")
    other, _ = await account.tenant("globex", plan="globex-plan")
    return Stage(account, acme, own, other)


Request = Callable[[Stage], Any]

OTHERS: dict[str, tuple[Request, Reason]] = {
    "GetAssociate": (lambda _: pb.GetAssociateRequest(associate="globex"), Reason.UNKNOWN_ASSOCIATE),
    "GetPlan": (lambda _: pb.GetPlanRequest(plan="globex-plan"), Reason.UNKNOWN_PLAN),
    "CreateKey": (lambda _: pb.CreateKeyRequest(associate="globex"), Reason.UNKNOWN_ASSOCIATE),
    "ListKeys": (lambda _: pb.ListKeysRequest(associate="globex"), Reason.UNKNOWN_ASSOCIATE),
    "RotateKey": (lambda stage: pb.RotateKeyRequest(key_id=stage.other.key_id), Reason.UNKNOWN_KEY),
    "RevokeKey": (lambda stage: pb.RevokeKeyRequest(key_id=stage.other.key_id), Reason.UNKNOWN_KEY),
}
"""What names another's thing, and what is said of it."""

NOBODYS: dict[str, Request] = {
    "GetAssociate": lambda _: pb.GetAssociateRequest(associate="nobody"),
    "GetPlan": lambda _: pb.GetPlanRequest(plan="nobody-plan"),
    "CreateKey": lambda _: pb.CreateKeyRequest(associate="nobody"),
    "ListKeys": lambda _: pb.ListKeysRequest(associate="nobody"),
    "RotateKey": lambda _: pb.RotateKeyRequest(key_id="999999999999"),
    "RevokeKey": lambda _: pb.RevokeKeyRequest(key_id="999999999999"),
}
"""The same of a thing that does not exist."""

ADMINS: dict[str, Request] = {
    "CreateAssociate": lambda _: pb.CreateAssociateRequest(associate=pb.Associate(associate="new", plan="acme-plan")),
    "ListAssociates": lambda _: pb.ListAssociatesRequest(),
    "UpdateAssociate": lambda _: pb.UpdateAssociateRequest(
        associate=pb.Associate(associate="acme", plan="globex-plan"), update_mask=FieldMask(paths=["plan"])
    ),
    "CreatePlan": lambda _: pb.CreatePlanRequest(plan=pb.Plan(plan="new", rate_per_s=1, burst=1)),
    "ListPlans": lambda _: pb.ListPlansRequest(),
    "UpdatePlan": lambda _: pb.UpdatePlanRequest(plan=pb.Plan(plan="acme-plan", rate_per_s=10_000_000)),
}
"""What is for admins only, even of the caller's own."""

MESHS: dict[str, Request] = {"WatchKeys": lambda _: pb.WatchKeysRequest()}
"""What is for parts of the mesh only."""

OWN: dict[str, Request] = {
    "GetAssociate": lambda _: pb.GetAssociateRequest(associate="acme"),
    "GetPlan": lambda _: pb.GetPlanRequest(plan="acme-plan"),
    "CreateKey": lambda _: pb.CreateKeyRequest(),
    "ListKeys": lambda _: pb.ListKeysRequest(),
    "RotateKey": lambda stage: pb.RotateKeyRequest(key_id=stage.own.key_id),
    "RevokeKey": lambda stage: pb.RevokeKeyRequest(key_id=stage.own.key_id),
    "CreateUdpSession": lambda _: pb.CreateUdpSessionRequest(),
}
"""What is the caller's own."""


def test_the_matrix_has_every_rpc() -> None:
    methods = {method.name for method in DESCRIPTOR.methods}
    assert {*OTHERS, *ADMINS, *MESHS, *OWN} == methods
    assert set(OTHERS) == set(NOBODYS) == set(OWN) - {"CreateUdpSession"}


async def error_of(call: Awaitable[object]) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value


async def ask(caller: Caller, request: Any) -> Any:
    if isinstance(request, pb.WatchKeysRequest):
        return await anext(caller.watch())
    return await caller(request)


async def everything(account: SmallAccount) -> list[bytes]:
    """All that is stored, as an operator sees it."""
    mesh = account.caller()
    found = [
        *(await mesh(pb.ListPlansRequest())).plans,
        *(await mesh(pb.ListAssociatesRequest())).associates,
        *(await mesh(pb.ListKeysRequest())).keys,
    ]
    return [message.SerializeToString(deterministic=True) for message in found]


async def test_what_is_anothers_is_said_not_to_exist(account: SmallAccount) -> None:
    stage = await staged(account)
    before = await everything(account)
    for method, (make, reason) in OTHERS.items():
        request, absent = make(stage), NOBODYS[method](stage)
        error, nobodys = await error_of(stage.acme(request)), await error_of(stage.acme(absent))
        assert error.reason is nobodys.reason is reason, method
        # The two differ by the name that the caller gave, and by nothing else.
        names = [("globex-plan", "nobody-plan"), ("globex", "nobody"), (stage.other.key_id, "999999999999")]
        message, metadata = error.message, str(error.metadata)
        for theirs, nobody in names:
            message, metadata = message.replace(theirs, nobody), metadata.replace(theirs, nobody)
        assert message == nobodys.message, method
        assert metadata == str(nobodys.metadata), method
        assert error.retry_after_ms == nobodys.retry_after_ms
    assert await everything(account) == before


async def test_what_is_for_admins_or_the_mesh_is_refused_and_changes_nothing(account: SmallAccount) -> None:
    stage = await staged(account)
    before = await everything(account)
    for method, make in {**ADMINS, **MESHS}.items():
        error = await error_of(ask(stage.acme, make(stage)))
        assert error.reason is Reason.MISSING_SCOPE, method
        assert error.metadata["scope"] == ("mesh" if method in MESHS else "admin")
    assert await everything(account) == before


async def test_what_is_ones_own_is_at_ones_hand(account: SmallAccount) -> None:
    stage = await staged(account)
    for method, make in OWN.items():
        answer = await stage.acme(make(stage))
        assert "globex" not in str(answer), method
        assert stage.other.key_id not in str(answer), method
        if method == "RevokeKey":
            assert answer.key.state == pb.KEY_STATE_REVOKED
            break


async def test_a_list_of_keys_never_holds_anothers_however_its_token_was_had(account: SmallAccount) -> None:
    stage = await staged(account)
    for _ in range(3):
        await account.key("acme")
        await account.key("globex")
    mesh, globex = account.caller(), account.caller(stage.other)
    for token in (
        (await mesh(pb.ListKeysRequest(page_size=1))).next_page_token,
        (await mesh(pb.ListKeysRequest(page_size=1, associate="globex"))).next_page_token,
        (await globex(pb.ListKeysRequest(page_size=1))).next_page_token,
    ):
        assert token
        error = await error_of(stage.acme(pb.ListKeysRequest(page_token=token)))
        assert error.reason is Reason.INVALID_PAGE_TOKEN
    own = await stage.acme(pb.ListKeysRequest())
    assert {key.associate for key in own.keys} == {"acme"}


async def test_no_scope_but_those_of_the_contract_opens_anything(account: SmallAccount) -> None:
    stage = await staged(account)
    poor = account.caller(Principal(stage.own.key_id, "acme", frozenset({"feed.read", "reports.read"})))
    before = await everything(account)
    for method, make in {**OWN, **ADMINS, **MESHS}.items():
        assert (await error_of(ask(poor, make(stage)))).reason is Reason.MISSING_SCOPE, method
    assert await everything(account) == before


async def test_an_admin_may_do_everything_but_what_is_the_meshs(account: SmallAccount) -> None:
    stage = await staged(account)
    made = (await account.key("operator", scopes=["admin"])).key
    admin = account.caller(Principal(made.key_id, "operator", frozenset({"admin"})))
    for method, make in ADMINS.items():
        await admin(make(stage))
        assert method
    for method, (make, _) in OTHERS.items():
        if method != "RevokeKey":
            await admin(make(stage))
    assert (await error_of(ask(admin, pb.WatchKeysRequest()))).reason is Reason.MISSING_SCOPE
    assert (await admin(pb.RevokeKeyRequest(key_id=stage.own.key_id))).key.state == pb.KEY_STATE_REVOKED
    assert (await admin(pb.CreateKeyRequest())).key.associate == "operator"


async def test_a_caller_that_names_nobody_readable_is_nobody(account: SmallAccount) -> None:
    stage = await staged(account)
    broken = Caller(account._channel, ((METADATA_KEY, "e30="),))
    for make in {**OWN, **ADMINS, **MESHS}.values():
        assert (await error_of(ask(broken, make(stage)))).reason is Reason.INVALID_KEY


async def test_over_tcp_nobody_is_anybody_without_a_judged_key(database_url: str, tmp_path: Any) -> None:
    from trinity_admission.principal import metadata_of

    async with SmallAccount(tmp_path, database_url, listen="127.0.0.1:0").running() as account:
        claimed = metadata_of(Principal("0" * 12, "operator", frozenset({"admin"})))
        for metadata in ((), claimed):
            caller = Caller(account._channel, metadata)
            for request in (pb.ListPlansRequest(), pb.ListKeysRequest(), pb.WatchKeysRequest()):
                assert (await error_of(ask(caller, request))).reason is Reason.MISSING_KEY
