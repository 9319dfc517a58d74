"""Modes: one mesh of several machines, each a process tree of its own with the same stores and secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from stores import running_stores
from system.meshrun import Mesh, running_mesh, wait_until
from trinity.price.v1 import price_pb2, price_service_pb2_grpc

pytestmark = pytest.mark.timeout(240)


@dataclass
class Machines:
    """Three machines of one mesh, and a customer's key."""

    app: Mesh
    report: Mesh
    sync: Mesh
    key: str
    environ: dict[str, str]
    """Names their stores."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with running_stores("wheels") as stores, ExitStack() as running:
        environ = {
            "TRINITY_STORAGE_POSTGRES_URL": stores.postgres_url,
            "TRINITY_STORAGE_VALKEY_URL": stores.valkey_url,
        }

        def machine(mode: str, *options: str) -> Mesh:
            command = ("serve", "--mode", mode, *options)
            return running.enter_context(running_mesh(tmp_path_factory.mktemp(mode), environ=environ, command=command))

        app = machine("APP_SERVER", "--venues", "sandbox", "--grpc-port", "0")
        secrets = ("--secrets-file", str(app.data_dir / "secrets.json"))
        report, sync = machine("REPORT_SERVER", *secrets, "--logs", "stderr"), machine("SYNC", *secrets)
        scopes = ("--scope", "prices.read", "--scope", "reports.read")
        plan = ("plan", "create", "basic", "--rate", "1000", *scopes)
        for command in (plan, ("associate", "create", "acme", "--plan", "basic")):
            done = app.cli(*command)
            assert done.returncode == 0, done.stderr
        created = app.cli("key", "create", "--associate", "acme", "--json")
        assert created.returncode == 0, created.stderr
        yield Machines(app, report, sync, json.loads(created.stdout)["secret"], environ)


def ask(address: str, path: str, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"http://{address}{path}", headers=headers, timeout=10, trust_env=False)


def counted(machines: Machines, **wanted: str) -> int:
    """Billed answers of the customer, as the report machine tells them."""
    answer = ask(machines.report.facts["reports"], "/reports/summary?group_by=transport&group_by=method", machines.key)
    assert answer.status_code == 200, answer.text
    return sum(int(each["billed"]) for each in answer.json()["sums"] if each["group"] == list(wanted.values()))


def test_each_machine_runs_the_parts_of_its_mode_and_no_more(machines: Machines) -> None:
    names = {name: set(getattr(machines, name).facts["pids"]) - {"up"} for name in ("app", "report", "sync")}
    assert names["app"] == {"sandbox", "feeds", "price", "account", "usage", "webhook", "gateway-1"}
    assert names["report"] == {"account", "usage", "report", "gateway-1"}
    assert names["sync"] == {"sync"}
    assert "reports" not in machines.app.facts
    assert "http" not in machines.report.facts
    assert "key" not in machines.app.facts, "no demo key is made for machines that serve"


def test_every_machine_is_alive_and_the_one_that_should_passes_on_what_its_processes_print(machines: Machines) -> None:
    for machine in (machines.app, machines.report, machines.sync):
        done = machine.cli("check", "--alive")
        assert done.returncode == 0, done.stdout + done.stderr
    printed = sorted((machines.report.data_dir / "logs").glob("*.log"))
    assert printed
    lines = [json.loads(line) for line in machines.report.stderr().splitlines() if line.startswith('{"')]
    assert {path.stem.partition("-")[0] for path in printed} <= {line["part"] for line in lines}
    own = [json.loads(line) for line in machines.app.stderr().splitlines() if line.startswith('{"')]
    assert {line["part"] for line in own} == {"up"}, "the supervisor's own lines, and nobody else's"


def test_what_one_machine_answers_another_reports(machines: Machines) -> None:
    def priced() -> bool:
        return ask(machines.app.facts["http"], "/price?asset=BTC", machines.key).status_code == 200

    wait_until(priced)
    before = counted(machines, transport="http", method="GetPrice")
    for _ in range(25):
        assert priced()
    wait_until(lambda: counted(machines, transport="http", method="GetPrice") >= before + 25)


def test_a_key_revoked_on_one_machine_is_refused_on_the_others(machines: Machines) -> None:
    created = machines.report.cli("key", "create", "--associate", "acme", "--json")
    assert created.returncode == 0, created.stderr
    made = json.loads(created.stdout)
    wait_until(lambda: ask(machines.app.facts["http"], "/v1/assets", made["secret"]).status_code == 200)
    assert machines.report.cli("key", "revoke", made["key"]["keyId"]).returncode == 0
    wait_until(lambda: ask(machines.app.facts["http"], "/v1/assets", made["secret"]).status_code == 401)


async def test_a_grpc_caller_brings_its_key_and_is_counted(machines: Machines) -> None:
    async with grpc.aio.insecure_channel(machines.app.facts["grpc_public"]) as channel:
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        request = price_pb2.GetPriceRequest(asset="ETH")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetPrice(request)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        call = stub.GetPrice(request, metadata=(("authorization", f"Bearer {machines.key}"),))
        assert (await call).price.asset == "ETH"
        assert {"ratelimit", "ratelimit-policy"} <= set(dict(await call.trailing_metadata()))
    wait_until(lambda: counted(machines, transport="grpc", method="GetPrice") == 1)


def serve(folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "trinity_cli.main", "serve", "--data-dir", str(folder / "data"), *options]
    kept: dict[str, Any] = {name: value for name, value in os.environ.items() if not name.startswith("TRINITY_")}
    return subprocess.run(words, env=kept | environ, capture_output=True, text=True, timeout=60, check=False)


def test_a_mode_must_be_named_and_exist(tmp_path: Path) -> None:
    assert "APP_REPORT_SERVER" in serve(tmp_path).stderr
    assert serve(tmp_path, "--mode", "EVERYTHING").returncode == 2


def test_a_sync_between_stores_of_its_own_is_refused(tmp_path: Path) -> None:
    done = serve(tmp_path, TRINITY_MODE="SYNC")
    assert done.returncode == 2
    assert "TRINITY_STORAGE_POSTGRES_URL" in done.stderr


def test_webhook_workers_push_what_another_machines_price_service_says(machines: Machines, tmp_path: Path) -> None:
    command = ("serve", "--mode", "WEBHOOK_SERVER", "--secrets-file", str(machines.app.data_dir / "secrets.json"))
    price = machines.app.facts["grpc"]["price"]
    with running_mesh(tmp_path, environ=machines.environ, command=(*command, "--price", price)) as pushing:
        assert set(pushing.facts["pids"]) - {"up"} == {"account", "usage", "webhook", "webhook-worker"}
        assert "sandbox_control" not in pushing.facts
    done = serve(tmp_path, "--mode", "REPORT_SERVER", "--price", price)
    assert done.returncode == 2


def test_secrets_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    done = serve(tmp_path, "--mode", "APP_SERVER", "--secrets-file", str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "none.json" in done.stderr
    assert not (tmp_path / "none.json").exists()
