"""Nobody reads or changes what is another's, by any RPC, in any way to call it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from account.databases import Databases
from account.tenant_furnishing import CUSTOMERS_SCOPES
from account.tenant_matrix import ROWS
from account.tenant_questions import (
    METHODS,
    assert_shows_nothing_of,
    holder_of,
    in_the_words_of,
    method_of,
    names_of,
    reached,
    refused,
    request_of,
)
from account.tenant_stage import NOBODY, WAYS, World, a_world
from account.tenant_things import NAMING, Admins, Commons, Meshs, Own, Publics
from account.tenant_ways import GrpcWay, Way
from account.tenant_webhooks import a_rule
from trinity.account.v1 import account_pb2
from trinity.report.v1 import report_pb2
from trinity.webhook.v1 import webhook_pb2
from trinity_admission.principal import METADATA_KEY, Principal
from trinity_mesh.wire import stamp

ANY_KEYS = {"AccountService.CreateUdpSession"}
"""RPCs that need a key and no scope."""
NOT_LET_IN = {"MISSING_KEY", "INVALID_KEY", "MISSING_SCOPE"}
_KINDS = ("ASSOCIATE", "PLAN", "KEY", "ENDPOINT", "SUBSCRIPTION", "DELIVERY")
NOT_THERE = {"INVALID_PAGE_TOKEN", *(f"UNKNOWN_{kind}" for kind in _KINDS)}
LISTS = (
    "AccountService.ListKeys",
    "ReportService.ListUsage",
    "WebhookService.ListEndpoints",
    "WebhookService.ListSubscriptions",
    "WebhookService.ListDeliveries",
    "WebhookService.ListNotices",
)


@pytest.fixture(params=WAYS)
async def world(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """For a test that changes what there is."""
    async with a_world(request.param, database_url, tmp_path) as running:
        yield running


@pytest_asyncio.fixture(params=WAYS, scope="module", loop_scope="module")
async def steady(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """For all tests that change nothing."""
    async with (
        databases.fresh() as url,
        a_world(request.param, url, tmp_path_factory.mktemp("steady")) as running,
    ):
        yield running


def test_the_matrix_has_a_row_for_every_rpc_of_every_service() -> None:
    assert set(ROWS) == set(METHODS), "an RPC has no row in tests/account/tenant_matrix.py, or a row has no RPC"


def test_every_row_is_of_the_kind_that_its_contract_says() -> None:
    for name, row in ROWS.items():
        scopes = METHODS[name].scopes
        assert METHODS[name].anonymous == isinstance(row, Publics), name
        assert bool(scopes) != (name in ANY_KEYS or isinstance(row, Publics)), name
        assert isinstance(row, Meshs) == ("mesh" in scopes), name
        assert isinstance(row, Admins) == ("admin" in scopes), name


def test_every_field_that_names_somebodys_thing_is_asked_about() -> None:
    for name, row in ROWS.items():
        naming = {field.name for field in METHODS[name].input.fields} & NAMING
        if isinstance(row, Own):
            assert names_of(row, NOBODY) == naming, name
        elif isinstance(row, Commons):
            # A list of what is everybody's has pages too; a rule to try is said in full, not named.
            naming -= {field.name for field in METHODS[name].input.fields if field.message_type is not None}
            assert naming <= {"page_token"}, f"{name} is about somebody's things"


async def test_what_is_ones_own_is_at_hand_with_the_scope_of_the_contract_and_shows_nothing_of_another(
    world: World,
) -> None:
    asked = 0
    for method, row in reached(world, Own):
        who, own = holder_of(method, world.acme), world.acme.things
        for label, ask in row.asks.items():
            seen = await world.way.ask(method, ask(own, own), who)
            asked += 1
            if label in row.own_reason:
                assert refused(seen, method.name).reason == row.own_reason[label], (method.name, label)
                continue
            assert seen.told is None, (method.name, label, seen.told)
            names_own = any(name.encode() in seen.shown for name in own.names())
            assert names_own != row.is_mute, (method.name, label)
            assert_shows_nothing_of(world.globex, seen, method.name)
        for request in row.unnamed:
            seen = await world.way.ask(method, request, who)
            assert seen.told is None, (method.name, seen.told)
            assert_shows_nothing_of(world.globex, seen, method.name)
            asked += 1
    assert asked > 20


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_anothers_is_answered_exactly_like_what_never_existed(steady: World) -> None:
    own, other = steady.acme.things, steady.globex.things
    before, used = await steady.accounts(), await steady.usage_of(other.key_id)
    asked = 0
    for method, row in reached(steady, Own):
        for who in (steady.acme.whole, holder_of(method, steady.acme)):
            for label, ask in row.asks.items():
                theirs = await steady.way.ask(method, ask(own, other), who)
                nobodys = await steady.way.ask(method, ask(own, NOBODY), who)
                told, never = refused(theirs, method.name), refused(nobodys, method.name)
                assert in_the_words_of(told, NOBODY, other) == never, (method.name, label)
                assert never.reason in NOT_THERE, (method.name, label)
                asked += 1
    assert asked > 40
    assert await steady.accounts() == before
    assert await steady.usage_of(other.key_id) == used


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_token_leads_nobody_into_anothers_list_whoever_had_it(steady: World) -> None:
    everybodys = await steady.tokens_of(steady.admin)
    others = await steady.tokens_of(steady.admin, associate="globex")
    own = await steady.tokens_of(steady.admin, associate="acmeco")
    assert all([*everybodys.values(), *others.values(), *own.values()])
    for name in LISTS:
        method, row = METHODS[name], ROWS[name]
        assert isinstance(row, Own)
        things = steady.acme.things
        for tokens in (
            everybodys,
            others,
            steady.globex.things.tokens,
            dict.fromkeys(own, own["ListKeys"][:-2] + "AA"),
        ):
            request = row.asks["token"](things, replace(things, tokens=tokens))
            told = refused(await steady.way.ask(method, request, steady.acme.whole), name)
            assert told.reason == "INVALID_PAGE_TOKEN", name
        # A token says where a list goes on, not whose it is.
        request = row.asks["token"](things, replace(things, tokens=own))
        seen = await steady.way.ask(method, request, steady.acme.whole)
        assert seen.told is None
        assert_shows_nothing_of(steady.globex, seen, name)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_public_is_the_same_for_everybody_and_shows_no_more_than_that(steady: World) -> None:
    own, asked = steady.acme.things, 0
    for method, row in reached(steady, Publics):
        for who in (steady.acme.whole, steady.globex.whole, steady.admin, steady.bare, None):
            seen = await steady.way.ask(method, row.ask(own), who)
            assert seen.told is None, method.name
            assert seen == await steady.way.ask(method, row.ask(own), steady.acme.whole), method.name
            assert_shows_nothing_of(steady.acme, seen, method.name)
            assert b"whsec_" not in seen.shown, "that would be the shared secret"
            nothing = refused(await steady.way.ask(method, row.ask(NOBODY), who), method.name)
            assert nothing.reason in NOT_THERE, method.name
        for way in (steady.way, steady.plain_tcp):
            for claims in (steady.admin.principal, steady.acme.whole.principal):
                seen, plain = [await way.ask(method, row.ask(own), None, claims=each) for each in (claims, None)]
                assert seen.told is None, method.name
                assert seen == plain, method.name
        asked += 1
    assert asked == 1


async def test_anothers_names_in_fields_that_are_the_services_to_set_lead_nowhere(world: World) -> None:
    own, other = world.acme.things, world.globex.things
    before = await world.webhooks_of("globex")
    strange = {"subscription": other.subscription, "endpoint": other.endpoint, "associate": "globex"}
    moved = {"subscription": own.subscription, "endpoint": other.endpoint, "associate": "globex", "name": "moved"}
    name = FieldMask(paths=["name"])
    requests: list[Message] = [
        webhook_pb2.EvaluateRuleRequest(
            subscription=a_rule(**strange), samples=[webhook_pb2.PriceSample(asset="BTC", time=stamp(1), price="1")]
        ),
        webhook_pb2.CreateSubscriptionRequest(endpoint=own.endpoint, subscription=a_rule(**strange)),
        webhook_pb2.UpdateSubscriptionRequest(subscription=webhook_pb2.Subscription(**moved), update_mask=name),
        webhook_pb2.UpdateEndpointRequest(
            endpoint=webhook_pb2.Endpoint(endpoint=own.pending, associate="globex", name="moved"), update_mask=name
        ),
        webhook_pb2.CreateEndpointRequest(
            endpoint=webhook_pb2.Endpoint(endpoint=other.endpoint, associate="globex", url="https://a.acme.example/")
        ),
    ]
    for request in requests:
        method = method_of("WebhookService", request)
        seen = await world.way.ask(method, request, world.acme.whole)
        assert seen.told is None, (method.name, seen.told)
        assert_shows_nothing_of(world.globex, seen, method.name)
    assert await world.webhooks_of("globex") == before


@pytest.mark.asyncio(loop_scope="module")
async def test_every_rpc_opens_to_the_scopes_of_its_contract_and_to_no_other(steady: World) -> None:
    before = await steady.accounts()
    callers = {scope: (who, {scope}) for scope, who in steady.acme.by_scope.items()}
    callers["whole"] = (steady.acme.whole, set(CUSTOMERS_SCOPES))
    callers["bare"] = (steady.bare, set())
    for method, row in reached(steady, Own, Admins, Meshs, Commons):
        for label, (who, held) in callers.items():
            request = request_of(row, NOBODY if isinstance(row, Own) else steady.acme.things)
            if isinstance(row, Own) and not row.asks and held >= set(method.scopes):
                continue
            seen = await steady.way.ask(method, request, who)
            reason = seen.told.reason if seen.told is not None else ""
            if held >= set(method.scopes):
                assert reason not in NOT_LET_IN, (method.name, label)
            else:
                assert reason == "MISSING_SCOPE", (method.name, label)
                assert seen.told is not None
                assert seen.told.metadata["scope"] in method.scopes
    assert await steady.accounts() == before
    assert (await steady.usage_of(steady.acme.things.key_id))[-1] == (0,), "nobody had a quota leased"


async def test_an_admin_may_do_everything_for_everybody_but_what_is_the_meshs(world: World) -> None:
    own = world.globex.things
    for method, row in reached(world, Own, Admins, Meshs, Commons):
        if isinstance(row, Meshs):
            told = refused(await world.way.ask(method, row.ask(own), world.admin), method.name)
            assert told.reason == "MISSING_SCOPE", method.name
        elif isinstance(row, Admins):
            assert (await world.way.ask(method, row.ask(own), world.admin)).told is None, method.name
        elif isinstance(row, Own):
            for label, ask in row.asks.items():
                if "token" in label:
                    # Tokens are good for the list that they were made for; an admin's own list is of everybody.
                    continue
                seen = await world.way.ask(method, ask(own, own), world.admin)
                reason = seen.told.reason if seen.told is not None else ""
                assert reason == row.own_reason.get(label, ""), (method.name, label, seen.told)
        else:
            seen = await world.way.ask(method, row.ask, world.admin)
            assert seen.told is None or seen.told.reason not in NOT_LET_IN, method.name
    everything = report_pb2.ExportUsageRequest(format=report_pb2.FORMAT_CSV)
    found = await world.way.ask(METHODS["ReportService.ExportUsage"], everything, world.admin)
    assert all(customer.things.key_id.encode() in found.shown for customer in (world.acme, world.globex))


@pytest.mark.asyncio(loop_scope="module")
async def test_without_a_key_nobody_is_anybody_whatever_they_claim(steady: World) -> None:
    before = await steady.accounts()
    claims = (None, steady.admin.principal, steady.globex.whole.principal, Principal("0" * 12, "acmeco", frozenset()))
    ways: list[tuple[Way, tuple[type, ...]]] = [(steady.plain_tcp, (Own, Admins, Meshs))]
    if steady.way.judges_keys:
        ways.append((steady.way, (Own, Admins, Meshs, Commons)))
    for way, kinds in ways:
        for name, row in ROWS.items():
            if not isinstance(row, kinds) or not way.reaches(METHODS[name]):
                continue
            for claim in claims:
                request = request_of(row, steady.acme.things)
                told = refused(await way.ask(METHODS[name], request, None, claims=claim), name)
                assert told.reason == "MISSING_KEY", name
    assert await steady.accounts() == before


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_is_whose_it_is_whatever_its_holder_claims(steady: World) -> None:
    if not steady.way.judges_keys:
        # Behind a gateway a caller is named once; a second name, or one that cannot be read, is nobody's.
        assert isinstance(steady.way, GrpcWay)
        for method, row in reached(steady, Own, Admins, Meshs):
            request = request_of(row, steady.acme.things)
            twice = await steady.way.ask(method, request, steady.acme.whole, claims=steady.admin.principal)
            broken = await steady.way.send(method, request, [(METADATA_KEY, "e30=")])
            for seen in (twice, broken):
                assert refused(seen, method.name).reason == "INVALID_KEY", method.name
        return
    before = await steady.accounts()
    own, other = steady.acme.things, steady.globex.things
    for claims in (steady.admin.principal, steady.globex.whole.principal):
        for method, row in reached(steady, Own):
            for label, ask in row.asks.items():
                seen = await steady.way.ask(method, ask(own, other), steady.acme.whole, claims=claims)
                plain = await steady.way.ask(method, ask(own, other), steady.acme.whole)
                assert refused(seen, method.name) == plain.told, (method.name, label)
        for method, row in reached(steady, Admins, Meshs):
            seen = await steady.way.ask(method, row.ask(own), steady.acme.whole, claims=claims)
            assert refused(seen, method.name).reason == "MISSING_SCOPE", method.name
    assert await steady.accounts() == before


async def test_what_ends_for_one_goes_on_for_the_other(world: World) -> None:
    method, row = METHODS["AccountService.RevokeKey"], ROWS["AccountService.RevokeKey"]
    assert isinstance(row, Own)
    for key_id in (world.acme.things.to_revoke, world.acme.things.to_rotate):
        things = replace(world.acme.things, to_revoke=key_id)
        assert (await world.way.ask(method, row.asks["id"](things, things), world.acme.whole)).told is None
    states = "SELECT associate, count(*) FROM trinity.api_keys WHERE revoke_time IS NOT NULL GROUP BY 1"
    assert dict(await world.postgres.fetch(states)) == {"acmeco": 3, "globex": 1}
    drop, row = METHODS["WebhookService.DeleteEndpoint"], ROWS["WebhookService.DeleteEndpoint"]
    assert isinstance(row, Own)
    for endpoint in (world.acme.things.to_drop, world.acme.things.endpoint):
        things = replace(world.acme.things, to_drop=endpoint)
        assert (await world.way.ask(drop, row.asks["to_drop"](things, things), world.acme.whole)).told is None
    counts = "SELECT associate, count(*) FROM trinity.webhook_{} GROUP BY 1"
    assert dict(await world.postgres.fetch(counts.format("endpoints"))) == {"acmeco": 2, "globex": 4}
    assert dict(await world.postgres.fetch(counts.format("deliveries"))) == {"acmeco": 2, "globex": 6}
    for method, request in (
        (METHODS["AccountService.GetAssociate"], account_pb2.GetAssociateRequest(associate="globex")),
        (
            METHODS["WebhookService.GetSubscription"],
            webhook_pb2.GetSubscriptionRequest(subscription=world.globex.things.subscription),
        ),
    ):
        assert (await world.way.ask(method, request, world.globex.whole)).told is None, method.name
