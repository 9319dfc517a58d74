"""Settings of the usage service, the ledger and the collector: what makes no sense never starts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trinity_admission.ledger_config import CollectorConfig, Durability, LedgerConfig
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_usage.config import UsageConfig
from trinity_usage.main import run


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (UsageConfig, {"listen": ""}, "listen"),
        (UsageConfig, {"final_after_days": 7}, "final_after_days"),
        (UsageConfig, {"close_after_h": 0}, "close_after_h"),
        (UsageConfig, {"lease": {"ttl_s": 0}}, "lease.ttl_s"),
        (UsageConfig, {"lease": {"share": 0}}, "lease.share"),
        (LedgerConfig, {"durability": "often"}, "durability"),
        (LedgerConfig, {"slots_per_file": 0}, "slots_per_file"),
        (LedgerConfig, {"sync_ms": 0}, "sync_ms"),
        (CollectorConfig, {"batch_max": 5_001}, "batch_max"),
        (CollectorConfig, {"flush_ms": 1}, "flush_ms"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(kind: type[Any], values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(kind, section="usage", values=values, environ={})


def test_the_environment_sets_the_durability() -> None:
    environ = {"TRINITY_GATEWAY_DURABILITY": "strict"}
    assert load(LedgerConfig, section="gateway", values={}, environ=environ).durability is Durability.STRICT


def test_the_defaults_are_what_the_documents_promise() -> None:
    assert (LedgerConfig().durability, LedgerConfig().sync_ms) == (Durability.INTERVAL, 100)
    assert (CollectorConfig().flush_ms, CollectorConfig().keep_days) == (200, 7)


async def test_without_a_database_there_is_no_service() -> None:
    with pytest.raises(ConfigError, match=r"postgres\.url"):
        await run(UsageConfig(), clock=SystemClock(), stopping=asyncio.Event(), ready=lambda facts: None)
