"""Settings of the webhook service: a wrong one is named."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from trinity_webhook.config import WebhookConfig
from trinity_webhook.main import policy_of


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", ""),
        ("secrets_file", ""),
        ("refused_networks", ("10.0.0.1/8",)),
        ("refused_networks", ("here",)),
        ("endpoints_per_associate_max", 0),
        ("subscriptions_per_endpoint_max", 1_001),
        ("asked_per_minute_max", 0),
        ("drain_ms", -1),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        WebhookConfig(**{name: value})


def test_the_settings_decide_which_addresses_are_called() -> None:
    usual = policy_of(WebhookConfig())
    assert usual.why_refused(ipaddress.ip_address("127.0.0.1")) is not None
    own = policy_of(WebhookConfig(loopback=True, refused_networks=("9.9.9.0/24",)))
    assert own.why_refused(ipaddress.ip_address("127.0.0.1")) is None
    assert own.why_refused(ipaddress.ip_address("9.9.9.9")) is not None
