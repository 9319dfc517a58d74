"""The webhook service over a real socket and a real database: endpoints, subscriptions, challenges, secrets."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.wire import stamp, unstamp
from webhook.small_webhook import URL, SmallWebhook

S = 10**9


async def refused(call: Awaitable[object]) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value


async def field_of(call: Awaitable[object]) -> str:
    error = await refused(call)
    assert error.reason is Reason.INVALID_FIELD, error
    assert error.row.http_status == 400
    return f"{error.metadata['field']}: {error.message}"


async def test_an_endpoint_begins_pending_with_its_secret_shown_once(webhook: SmallWebhook) -> None:
    made = await webhook.endpoint(name="desk")
    assert made.secret.startswith("whsec_")
    assert made.endpoint.state == webhook_pb2.ENDPOINT_STATE_PENDING
    assert (made.endpoint.associate, made.endpoint.name, made.endpoint.url) == ("demo", "desk", URL)
    assert (made.endpoint.rate_per_s, made.endpoint.batch_max, made.endpoint.ttl.seconds) == (100, 50, 5)
    assert list(made.endpoint.schemes) == [webhook_pb2.SCHEME_V1]
    found = await webhook.demo(webhook_pb2.GetEndpointRequest(endpoint=made.endpoint.endpoint))
    assert found.endpoint == made.endpoint
    assert made.secret not in str(found)


async def test_a_secret_of_ones_own_is_taken_and_a_bad_one_says_why(webhook: SmallWebhook) -> None:
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert (await webhook.endpoint(secret=own)).secret == own
    for secret, why in (
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8I", "24 to 64"),
        ("whsec_" + "A" * 32, "by chance"),
        ("whsec_!!!!9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "base64"),
    ):
        text = await field_of(webhook.endpoint(secret=secret))
        assert text.startswith("secret: ")
        assert why in text
        assert secret.removeprefix("whsec_") not in text
    text = await field_of(webhook.endpoint(secret=own, schemes=[webhook_pb2.SCHEME_V1A]))
    assert "v1a" not in text
    assert "v1" in text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.acme.example/", "https"),
        ("https://10.1.2.3/", "private"),
        ("https://[fd00::1]/", "unique local"),
        ("https://[::ffff:10.0.0.1]/", "mapped"),
        ("https://0x7f.1/", "decimal"),
        ("https://2130706433/", "decimal"),
        ("https://localhost/", "this machine"),
        ("https://u:p@hooks.acme.example/", "user"),
        ("https://hooks.acme.example/#x", "fragment"),
        ("https://metadata.internal/", "network of its own"),
        ("udp://8.8.8.8:53", "port"),
        ("ftp://hooks.acme.example/", "scheme"),
    ],
)
async def test_a_url_that_must_not_be_called_is_refused_with_why(webhook: SmallWebhook, url: str, why: str) -> None:
    text = await field_of(webhook.endpoint(url=url))
    assert text.startswith("endpoint.url: ")
    assert why in text


async def test_datagrams_need_a_shared_secret(webhook: SmallWebhook) -> None:
    text = await field_of(webhook.endpoint(url="udp://8.8.8.8:4000", schemes=[webhook_pb2.SCHEME_V1A]))
    assert text.startswith("endpoint.schemes: ")


async def test_an_endpoint_on_this_machine_is_for_a_sandbox_that_says_so(database_url: str) -> None:
    async with SmallWebhook(database_url, loopback=True).running() as sandbox:
        made = await sandbox.endpoint(url="http://127.0.0.1:8099/hook")
        assert made.endpoint.url == "http://127.0.0.1:8099/hook"
        assert "private" in await field_of(sandbox.endpoint(url="http://192.168.0.1/"))


async def test_an_endpoint_is_changed_by_its_mask_alone(webhook: SmallWebhook) -> None:
    made = await webhook.active(name="a")
    changes = webhook_pb2.Endpoint(
        endpoint=made.endpoint, name="", paused=True, ttl=Duration(nanos=250_000_000), rate_per_s=7
    )
    mask = FieldMask(paths=["paused", "ttl", "name"])
    changed = (await webhook.demo(webhook_pb2.UpdateEndpointRequest(endpoint=changes, update_mask=mask))).endpoint
    assert (changed.name, changed.paused, changed.ttl.nanos, changed.rate_per_s) == ("", True, 250_000_000, 100)
    assert changed.state == webhook_pb2.ENDPOINT_STATE_ACTIVE
    unmasked = webhook_pb2.Endpoint(endpoint=made.endpoint, rate_per_s=7)
    changed = (await webhook.demo(webhook_pb2.UpdateEndpointRequest(endpoint=unmasked))).endpoint
    assert (changed.rate_per_s, changed.paused) == (7, True)
    wrong = webhook_pb2.UpdateEndpointRequest(endpoint=unmasked, update_mask=FieldMask(paths=["state"]))
    assert "update_mask" in await field_of(webhook.demo(wrong))


async def test_a_new_url_asks_for_a_new_proof(webhook: SmallWebhook) -> None:
    made = await webhook.active()
    wanted = webhook_pb2.Endpoint(endpoint=made.endpoint, url="https://other.acme.example/")
    changed = (await webhook.demo(webhook_pb2.UpdateEndpointRequest(endpoint=wanted))).endpoint
    assert changed.state == webhook_pb2.ENDPOINT_STATE_PENDING
    assert not changed.HasField("verify_time")
    challenge = await webhook.challenge(made.endpoint)
    verify = webhook_pb2.VerifyEndpointRequest(endpoint=made.endpoint, challenge=challenge)
    assert (await webhook.demo(verify)).endpoint.state == webhook_pb2.ENDPOINT_STATE_ACTIVE


async def test_only_the_newest_challenge_counts_and_it_counts_once(webhook: SmallWebhook) -> None:
    made = (await webhook.endpoint()).endpoint

    def answer(challenge: str) -> Awaitable[Any]:
        return webhook.demo(webhook_pb2.VerifyEndpointRequest(endpoint=made.endpoint, challenge=challenge))

    first = await webhook.challenge(made.endpoint)
    again = await webhook.demo(webhook_pb2.VerifyEndpointRequest(endpoint=made.endpoint))
    assert again.HasField("challenge_expire_time")
    second = await webhook.challenge(made.endpoint)
    assert second != first
    assert (await refused(answer(first))).reason is Reason.WRONG_CHALLENGE
    assert (await answer(second)).endpoint.state == webhook_pb2.ENDPOINT_STATE_ACTIVE
    assert (await refused(answer(second))).reason is Reason.WRONG_CHALLENGE


async def test_guessing_ends_a_challenge(webhook: SmallWebhook) -> None:
    made = (await webhook.endpoint()).endpoint
    right = await webhook.challenge(made.endpoint)
    for challenge in ["guess"] * 10 + [right]:
        verify = webhook_pb2.VerifyEndpointRequest(endpoint=made.endpoint, challenge=challenge)
        assert (await refused(webhook.demo(verify))).reason is Reason.WRONG_CHALLENGE


async def test_no_call_shows_a_challenge(webhook: SmallWebhook) -> None:
    made = (await webhook.endpoint()).endpoint
    challenge = await webhook.challenge(made.endpoint)
    listed = await webhook.demo(webhook_pb2.ListDeliveriesRequest(endpoint=made.endpoint))
    (sent,) = listed.deliveries
    assert (sent.delivery_class, sent.type) == (webhook_pb2.DELIVERY_CLASS_CHALLENGE, "webhook.challenge")
    assert challenge not in str(listed)
    shown = await webhook.demo(webhook_pb2.GetEndpointRequest(endpoint=made.endpoint))
    assert challenge not in str(shown)


async def test_challenges_and_tests_to_one_address_are_few(database_url: str) -> None:
    async with SmallWebhook(database_url, asked_per_minute_max=2).running() as webhook:
        made = await webhook.active()
        verify = webhook_pb2.VerifyEndpointRequest(endpoint=made.endpoint)
        test = webhook_pb2.SendTestRequest(endpoint=made.endpoint)
        await webhook.demo(verify)  # the second: the first came when the endpoint was made
        await webhook.demo(test)
        await webhook.demo(test)
        for request in (verify, test):
            error = await refused(webhook.demo(request))
            assert (error.reason, error.retry_after_ms) == (Reason.RATE_LIMITED, 60_000)


async def test_a_test_goes_to_an_active_endpoint_alone(webhook: SmallWebhook) -> None:
    pending = (await webhook.endpoint()).endpoint
    error = await refused(webhook.demo(webhook_pb2.SendTestRequest(endpoint=pending.endpoint)))
    assert (error.reason, error.row.http_status) == (Reason.ENDPOINT_NOT_ACTIVE, 400)
    active = await webhook.active()
    sent = (await webhook.demo(webhook_pb2.SendTestRequest(endpoint=active.endpoint))).delivery
    assert (sent.type, sent.state) == ("webhook.test", webhook_pb2.DELIVERY_STATE_PENDING)
    listed = await webhook.demo(webhook_pb2.ListDeliveriesRequest(classes=[webhook_pb2.DELIVERY_CLASS_TEST]))
    assert [each.delivery for each in listed.deliveries] == [sent.delivery]
    again = (await webhook.demo(webhook_pb2.RedeliverRequest(delivery=sent.delivery))).delivery
    assert (again.delivery, again.state) == (sent.delivery, webhook_pb2.DELIVERY_STATE_PENDING)


async def test_a_rotation_overlaps_as_long_as_asked(webhook: SmallWebhook) -> None:
    made = await webhook.endpoint(schemes=[webhook_pb2.SCHEME_V1, webhook_pb2.SCHEME_V1A])
    name = made.endpoint.endpoint
    rotated = await webhook.demo(webhook_pb2.RotateSecretRequest(endpoint=name, overlap=Duration(seconds=3600)))
    assert rotated.secret.startswith("whsec_")
    assert rotated.secret != made.secret
    secrets = rotated.endpoint.secrets
    assert [each.HasField("expire_time") for each in secrets] == [False, False, True, True]
    made_at = unstamp(secrets[0].create_time)
    assert {unstamp(each.expire_time) - made_at for each in secrets[2:]} == {3600 * S}
    keys = await webhook.other(webhook_pb2.GetKeySetRequest(endpoint=name))
    assert [each.public_key for each in keys.keys] == [each.public_key for each in secrets if each.public_key]
    assert len(keys.keys) == 2
    ended = await webhook.demo(
        webhook_pb2.RotateSecretRequest(endpoint=name, scheme=webhook_pb2.SCHEME_V1A, overlap=Duration())
    )
    assert ended.secret == ""
    assert [each.scheme for each in ended.endpoint.secrets].count(webhook_pb2.SCHEME_V1A) == 1


async def test_an_impossible_rotation_says_why(webhook: SmallWebhook) -> None:
    made = (await webhook.endpoint()).endpoint
    wrong = webhook_pb2.RotateSecretRequest(endpoint=made.endpoint, scheme=webhook_pb2.SCHEME_V1A)
    assert "does not use it" in await field_of(webhook.demo(wrong))
    bad = webhook_pb2.RotateSecretRequest(endpoint=made.endpoint, secret="whsec_short")
    assert (await field_of(webhook.demo(bad))).startswith("secret: ")


async def test_overlapping_secrets_are_bounded(webhook: SmallWebhook) -> None:
    made = (await webhook.endpoint()).endpoint
    for _ in range(7):
        await webhook.demo(webhook_pb2.RotateSecretRequest(endpoint=made.endpoint))
    error = await refused(webhook.demo(webhook_pb2.RotateSecretRequest(endpoint=made.endpoint)))
    assert error.reason is Reason.RATE_LIMITED


async def test_a_subscription_comes_back_as_it_was_made(webhook: SmallWebhook) -> None:
    owner = (await webhook.endpoint()).endpoint
    rules = [
        {"every_change": webhook_pb2.EveryChange(), "assets": ["BTC"]},
        {"interval": webhook_pb2.Interval(interval=Duration(seconds=1)), "assets": ["ETH"]},
        {"moved": webhook_pb2.Moved(bps="2.5"), "assets": ["SOL"]},
        {
            "crossing": webhook_pb2.Crossing(
                direction=webhook_pb2.DIRECTION_UP, threshold="65000.50", hysteresis="100", cooldown=Duration(seconds=9)
            )
        },
        {
            "percent_move": webhook_pb2.PercentMove(
                direction=webhook_pb2.DIRECTION_EITHER, percent="2.5", window=Duration(seconds=300), cooldown=Duration()
            )
        },
        {"divergence": webhook_pb2.Divergence(bps="50", hysteresis_bps="10", cooldown=Duration())},
        {"staleness": webhook_pb2.Staleness(after=Duration(seconds=30), cooldown=Duration())},
        {"recovery": webhook_pb2.Recovery(after=Duration(), cooldown=Duration(seconds=1))},
    ]
    for fields in rules:
        made = await webhook.subscription(owner.endpoint, name="x", **fields)
        found = (await webhook.demo(webhook_pb2.GetSubscriptionRequest(subscription=made.subscription))).subscription
        assert found == made
        name = made.WhichOneof("rule")
        assert getattr(made, name) == fields[name]
    first = await webhook.demo(webhook_pb2.ListSubscriptionsRequest(endpoint=owner.endpoint, page_size=5))
    rest = await webhook.demo(
        webhook_pb2.ListSubscriptionsRequest(endpoint=owner.endpoint, page_size=5, page_token=first.next_page_token)
    )
    assert [len(first.subscriptions), len(rest.subscriptions), rest.next_page_token] == [5, 3, ""]
    other = webhook_pb2.ListSubscriptionsRequest(page_size=5, page_token=first.next_page_token)
    assert (await refused(webhook.demo(other))).reason is Reason.INVALID_PAGE_TOKEN


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({}, "subscription.rule", "needed"),
        ({"every_change": webhook_pb2.EveryChange(), "assets": ["BTCC"]}, "subscription.assets[0]", "BTC"),
        (
            {"crossing": webhook_pb2.Crossing(direction=1, threshold="0")},
            "subscription.crossing.threshold",
            "no price can cross",
        ),
        (
            {"crossing": webhook_pb2.Crossing(direction=1, threshold="5", hysteresis="5")},
            "subscription.crossing.hysteresis",
            "arm the alert again",
        ),
        (
            {"percent_move": webhook_pb2.PercentMove(direction=2, percent="100", window=Duration(seconds=9))},
            "subscription.percent_move.percent",
            "cannot fall",
        ),
        (
            {"divergence": webhook_pb2.Divergence(bps="5", hysteresis_bps="6")},
            "subscription.divergence.hysteresis_bps",
            "less than bps",
        ),
        (
            {"interval": webhook_pb2.Interval(interval=Duration(nanos=200_000_001))},
            "subscription.interval.interval",
            "whole milliseconds",
        ),
        ({"moved": webhook_pb2.Moved(bps="1e5")}, "subscription.moved.bps", "decimal"),
        ({"moved": webhook_pb2.Moved(bps="0")}, "subscription.moved.bps", "above 0"),
        ({"every_change": webhook_pb2.EveryChange(), "name": "a\u202eb"}, "subscription.name", "U+202E"),
    ],
)
async def test_an_impossible_rule_is_refused_with_why(
    webhook: SmallWebhook, fields: dict[str, Any], field: str, why: str
) -> None:
    owner = (await webhook.endpoint()).endpoint
    request = webhook_pb2.CreateSubscriptionRequest(
        endpoint=owner.endpoint, subscription=webhook_pb2.Subscription(**{"name": "x", **fields})
    )
    text = await field_of(webhook.demo(request))
    assert text.startswith(f"{field}: ")
    assert why in text


async def test_an_endpoint_has_one_tick_rule_an_asset(webhook: SmallWebhook) -> None:
    owner = (await webhook.endpoint()).endpoint
    first = await webhook.subscription(owner.endpoint, assets=["BTC"], every_change=webhook_pb2.EveryChange())
    for assets in (["BTC", "ETH"], []):
        error = await refused(webhook.subscription(owner.endpoint, assets=assets, moved=webhook_pb2.Moved(bps="5")))
        assert error.reason is Reason.ALREADY_EXISTS
        assert error.metadata["subscription"] == first.subscription
    second = await webhook.subscription(owner.endpoint, assets=["ETH"], moved=webhook_pb2.Moved(bps="5"))
    both = webhook_pb2.Subscription(subscription=second.subscription, assets=["BTC"])
    error = await refused(webhook.demo(webhook_pb2.UpdateSubscriptionRequest(subscription=both)))
    assert error.reason is Reason.ALREADY_EXISTS


async def test_a_subscription_is_changed_by_its_mask_alone(webhook: SmallWebhook) -> None:
    owner = (await webhook.endpoint()).endpoint
    made = await webhook.subscription(owner.endpoint, name="a", assets=["BTC"], every_change=webhook_pb2.EveryChange())
    wanted = webhook_pb2.Subscription(
        subscription=made.subscription,
        name="ignored",
        crossing=webhook_pb2.Crossing(direction=webhook_pb2.DIRECTION_DOWN, threshold="5"),
    )
    request = webhook_pb2.UpdateSubscriptionRequest(
        subscription=wanted, update_mask=FieldMask(paths=["crossing.direction", "crossing.threshold"])
    )
    changed = (await webhook.demo(request)).subscription
    assert (changed.name, list(changed.assets), changed.WhichOneof("rule")) == ("a", ["BTC"], "crossing")
    await webhook.demo(webhook_pb2.DeleteSubscriptionRequest(subscription=made.subscription))
    gone = webhook_pb2.GetSubscriptionRequest(subscription=made.subscription)
    assert (await refused(webhook.demo(gone))).reason is Reason.UNKNOWN_SUBSCRIPTION


async def test_bounds_on_endpoints_and_subscriptions_are_kept(database_url: str) -> None:
    few = {"endpoints_per_associate_max": 2, "subscriptions_per_endpoint_max": 1}
    async with SmallWebhook(database_url, **few).running() as webhook:
        made = (await webhook.endpoint()).endpoint
        await webhook.endpoint()
        assert (await refused(webhook.endpoint())).reason is Reason.TOO_MANY_ENDPOINTS
        await webhook.endpoint(webhook.other)
        await webhook.subscription(made.endpoint)
        error = await refused(webhook.subscription(made.endpoint, moved=webhook_pb2.Moved(bps="5"), assets=["BTC"]))
        assert error.reason is Reason.TOO_MANY_SUBSCRIPTIONS


async def test_assets_beyond_the_plan_are_refused(webhook: SmallWebhook) -> None:
    owner = (await webhook.endpoint()).endpoint
    await webhook.part.postgres.execute("UPDATE trinity.plans SET assets = '{ETH}' WHERE plan = 'demo'")
    error = await refused(webhook.subscription(owner.endpoint, assets=["BTC"], every_change=webhook_pb2.EveryChange()))
    assert error.reason is Reason.ASSET_NOT_ALLOWED


async def test_a_replay_has_an_order_of_times_and_an_active_endpoint(webhook: SmallWebhook) -> None:
    made = await webhook.active()

    def replay(start_s: int, end_s: int) -> webhook_pb2.ReplayRangeRequest:
        return webhook_pb2.ReplayRangeRequest(
            endpoint=made.endpoint, start_time=stamp(start_s * S), end_time=stamp(end_s * S)
        )

    assert (await webhook.demo(replay(1, 2))).count == 0
    assert "end_time" in await field_of(webhook.demo(replay(2, 2)))
    pending = (await webhook.endpoint()).endpoint
    request = replay(1, 2)
    request.endpoint = pending.endpoint
    assert (await refused(webhook.demo(request))).reason is Reason.ENDPOINT_NOT_ACTIVE


async def test_endpoints_come_in_pages(webhook: SmallWebhook) -> None:
    made = [(await webhook.endpoint()).endpoint.endpoint for _ in range(3)]
    first = await webhook.demo(webhook_pb2.ListEndpointsRequest(page_size=2))
    rest = await webhook.demo(webhook_pb2.ListEndpointsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.endpoint for each in (*first.endpoints, *rest.endpoints)] == made[::-1]
    error = await refused(
        webhook.admin(webhook_pb2.ListEndpointsRequest(page_size=2, page_token=first.next_page_token))
    )
    assert error.reason is Reason.INVALID_PAGE_TOKEN


async def test_a_deleted_endpoint_is_gone(webhook: SmallWebhook) -> None:
    made = (await webhook.endpoint()).endpoint
    await webhook.demo(webhook_pb2.DeleteEndpointRequest(endpoint=made.endpoint))
    for request in (
        webhook_pb2.GetEndpointRequest(endpoint=made.endpoint),
        webhook_pb2.GetKeySetRequest(endpoint=made.endpoint),
        webhook_pb2.DeleteEndpointRequest(endpoint=made.endpoint),
    ):
        assert (await refused(webhook.demo(request))).reason is Reason.UNKNOWN_ENDPOINT
