"""The account service as a process: settings by environment, readiness, health, an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from account.databases import Databases
from account.small_account import Caller, Replica, SmallAccount, Switch
from processes import GENEROUS_S, until
from trinity.account.v1 import account_pb2 as pb
from trinity_account.config import AccountConfig, CacheConfig
from trinity_account.main import SECTION, run
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.process import EXIT_CONFIG, EXIT_OK
from trinity_mesh.secrets_file import make_secrets
from trinity_storage.postgres import PostgresConfig


class Process:
    """`python -m trinity_account` with some environment."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.ready_file = folder / "ready.json"
        self._asked = False
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TRINITY_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trinity_account", str(self.ready_file)],
            env={**plain, **environ},
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict[str, Any] | None:
        assert self.process.poll() is None, "it has ended"
        return json.loads(self.ready_file.read_text()) if self.ready_file.exists() else None

    def stop(self) -> None:
        """Ask it to end, once: a second signal would meet a process that is on its way out."""
        if not self._asked and self.process.poll() is None:
            self._asked = True
            self.process.send_signal(signal.SIGTERM)

    def end(self) -> tuple[int, str]:
        self.stop()
        _, said = self.process.communicate(timeout=GENEROUS_S)
        return self.process.returncode, said


def mode_of(path: str) -> int:
    return Path(path).stat().st_mode & 0o777


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_secrets(tmp_path / "secrets.json")
    return tmp_path


async def test_a_process_serves_what_the_environment_says_and_ends_in_order(folder: Path, database_url: str) -> None:
    process = Process(
        folder,
        TRINITY_ACCOUNT_LISTEN=f"unix:{folder.parent}/p.sock",
        TRINITY_ACCOUNT_POSTGRES_URL=database_url,
        TRINITY_ACCOUNT_SECRETS_FILE=str(folder / "secrets.json"),
        TRINITY_ACCOUNT_ENV="prod",
    )
    try:
        await until(lambda: process.ready() is not None, "it is ready")
        address = (process.ready() or {})["address"]
        assert mode_of(address.removeprefix("unix:")) == 0o600
        async with open_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", "trinity.account.v1.AccountService"):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            mesh = Caller(channel, ())
            made = await mesh(pb.CreateKeyRequest(associate="demo"))
            assert made.secret.startswith("tbk_prod_")
            async with Replica().following(mesh) as replica:
                await replica.until(lambda: replica.knows(made.key.key_id))
                process.stop()
                await replica.until(lambda: replica.ended is not None)
                assert isinstance(replica.ended, TrinityError)
                assert replica.ended.reason is Reason.STOPPING
    finally:
        code, said = await asyncio.to_thread(process.end)
    assert code == EXIT_OK, said
    assert made.secret not in said


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"TRINITY_ACCOUNT_POSTGRES_URL": ""}, "postgres.url"),
        ({"TRINITY_ACCOUNT_SECRETS_FILE": "nowhere.json"}, "nowhere.json"),
        ({"TRINITY_ACCOUNT_POLL_MS": "1"}, "poll_ms"),
        ({"TRINITY_ACCOUNT_ENV": "Live"}, "env"),
    ],
)
async def test_a_wrong_setting_ends_the_process_with_a_line_that_names_it(
    folder: Path, environ: dict[str, str], word: str
) -> None:
    right = {
        "TRINITY_ACCOUNT_LISTEN": f"unix:{folder}/p.sock",
        "TRINITY_ACCOUNT_POSTGRES_URL": "postgresql:///nowhere",
        "TRINITY_ACCOUNT_SECRETS_FILE": str(folder / "secrets.json"),
    }
    process = Process(folder, **{**right, **environ})
    code, said = await asyncio.to_thread(lambda: (process.process.wait(GENEROUS_S), process.end()[1]))
    assert code == EXIT_CONFIG
    assert word in said
    assert "Traceback" not in said


async def test_a_service_without_its_database_serves_in_the_end_and_recovers(
    databases: Databases, database_url: str, folder: Path
) -> None:
    with Switch(database_url, databases.stores.admin_url) as switch:
        await switch.off()
        config = AccountConfig(
            listen=f"unix:{folder.parent}/r.sock",
            secrets_file=str(folder / "secrets.json"),
            postgres=PostgresConfig(url=switch.url, acquire_timeout_ms=100),
            ready_wait_ms=300,
            drain_ms=0,
        )
        stopping = asyncio.Event()
        ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            run(config, clock=SystemClock(), stopping=stopping, ready=lambda facts: ready.set_result(facts))
        )
        address = (await ready)["address"]
        async with open_channel(address) as channel:
            mesh = Caller(channel, ())
            with pytest.raises(TrinityError) as caught:
                await mesh(pb.ListPlansRequest())
            assert caught.value.reason is Reason.STORE_UNAVAILABLE
            switch.on()
            replica = Replica()
            async with asyncio.timeout(GENEROUS_S):
                while not replica.complete.is_set():
                    async with replica.following(mesh):
                        await replica.until(lambda: replica.ended is not None or replica.complete.is_set())
                        replica.ended = None
            assert (await mesh(pb.ListPlansRequest())).plans
        stopping.set()
        await task


async def test_an_address_that_is_taken_is_told_as_it_is(database_url: str, tmp_path: Path) -> None:
    async with SmallAccount(tmp_path, database_url, listen="127.0.0.1:0").running() as first:
        with pytest.raises(TrinityError, match="cannot listen"):
            async with SmallAccount(tmp_path, database_url, listen=first.address).running():
                pass


def test_settings_have_bounds_and_say_which_is_broken() -> None:
    assert load(AccountConfig, section=SECTION, values={}, environ={}) == AccountConfig()
    values = {"postgres": {"url": "postgresql:///x"}, "cache": {"flush_ms": 50}}
    environ = {"TRINITY_ACCOUNT_HEARTBEAT_MS": "250", "TRINITY_ACCOUNT_VALKEY_URL": "unix:///v"}
    config = load(AccountConfig, section=SECTION, values=values, environ=environ)
    assert (config.postgres.url, config.valkey.url) == ("postgresql:///x", "unix:///v")
    assert (config.cache, config.heartbeat_ms) == (CacheConfig(flush_ms=50), 250)
    for wrong in (
        {"listen": ""},
        {"heartbeat_ms": 1_001},
        {"silence_ms": 999},
        {"batch_keys_max": 0},
        {"cache": {"renew_ms": 999}},
        {"env": "x"},
        {"postgres": {"url": "mysql://"}},
        {"nothing": 1},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            load(AccountConfig, section=SECTION, values=wrong, environ={})


def test_addresses_of_stores_are_not_shown() -> None:
    config = AccountConfig(postgres=PostgresConfig(url="postgresql://u:hidden@h/d"))
    assert "hidden" not in repr(config)
