"""A mesh of real processes that are killed, starved and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from processes import descendants, is_running
from system.meshrun import Mesh, running_mesh, wait_until

pytestmark = pytest.mark.timeout(180)

SHORT = {
    "TRINITY_PRICE_BOOK_FRESH_MS": "1500",
    "TRINITY_PRICE_BOOK_QUIET_MS": "3000",
    "TRINITY_PRICE_BOOK_STALE_MS": "4000",
    "TRINITY_PRICE_BOOK_CONFIRM_MS": "500",
}
"""Bounds that a test can wait for; quiet markets of the sandbox are then not always fresh, BTC is."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("faults"), environ=SHORT) as running:
        wait_until(lambda: state_of(running) == "STATE_FRESH")
        yield running


def state_of(mesh: Mesh) -> str:
    """State of BTC over HTTP; the reason where there is no price, "" while nobody answers."""
    try:
        with mesh.http() as client:
            answer = client.get("/price?asset=BTC")
    except httpx.TransportError:
        return ""
    body = answer.json()
    return str(body["state"] if answer.status_code == 200 else body["details"][0]["reason"])


@pytest.mark.parametrize("name", ["valkey", "postgres", "sandbox", "feeds", "price", "account", "usage", "gateway-1"])
def test_a_killed_part_comes_back_and_prices_are_fresh_again(mesh: Mesh, name: str) -> None:
    before = mesh.refresh()["pids"][name]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: mesh.refresh()["pids"].get(name) not in (None, before))
    wait_until(lambda: state_of(mesh) == "STATE_FRESH")
    assert not is_running(before)


def test_when_every_venue_falls_silent_no_price_stays_fresh_and_all_come_back(mesh: Mesh) -> None:
    sandbox = mesh.refresh()["pids"]["sandbox"]
    os.kill(sandbox, signal.SIGSTOP)
    try:
        wait_until(lambda: state_of(mesh) not in ("STATE_FRESH", "STATE_DIVERGENT"))
        wait_until(lambda: state_of(mesh) == "STALE_PRICE")
        with mesh.http() as client:
            answer = client.get("/price?asset=BTC")
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            old = client.get("/price?asset=BTC&max_age=3600s")
            assert old.status_code in (200, 503)
            if old.status_code == 200:
                assert old.json()["state"] == "STATE_STALE"
    finally:
        os.kill(sandbox, signal.SIGCONT)
    wait_until(lambda: state_of(mesh) == "STATE_FRESH")


def control(mesh: Mesh, path: str, **query: str | float) -> Any:
    """Ask the sandbox's control endpoint."""
    answer = httpx.get(f"{mesh.facts['sandbox_control']}{path}", params=query, trust_env=False, verify=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def explain(mesh: Mesh, asset: str) -> dict[str, Any]:
    with mesh.http() as client:
        body: dict[str, Any] = client.get(f"/v1/prices/{asset}:explain").json()
    return body


def test_two_lying_venues_of_six_are_set_aside_and_come_back_by_themselves(mesh: Mesh) -> None:
    for venue, factor in (("kraken", 1.5), ("gemini", 1.5)):
        control(mesh, "/fault", venue=venue, kind="spike", factor=factor, asset="BTC", for_s=120)
    try:
        wait_until(lambda: exclusions(mesh) == {"kraken": "EXCLUSION_OUTLIER", "gemini": "EXCLUSION_OUTLIER"})
        body = explain(mesh, "BTC")
        honest = [Decimal(entry["valueUsd"]) for entry in body["inputs"] if entry["kept"]]
        assert len(honest) == 4
        assert min(honest) <= Decimal(body["price"]["price"]) <= max(honest)
        truth = Decimal(str(control(mesh, "/truth", asset="BTC")["price"]))
        assert abs(Decimal(body["price"]["price"]) / truth - 1) < Decimal("0.01")
    finally:
        control(mesh, "/clear")
    wait_until(lambda: not exclusions(mesh))


def exclusions(mesh: Mesh) -> dict[str, str]:
    """Why venues do not count in BTC, without those that merely pass through a change."""
    return {
        entry["venue"]: entry["exclusion"]
        for entry in explain(mesh, "BTC")["inputs"]
        if entry["fresh"] and not entry["kept"]
    }


@pytest.mark.parametrize("kind", ["crossed", "zero", "negative", "null", "garbage", "out_of_order", "duplicate", "gap"])
def test_dirty_data_of_one_venue_costs_no_price(mesh: Mesh, kind: str) -> None:
    control(mesh, "/fault", venue="okx", kind=kind, for_s=2)
    for _ in range(20):
        assert state_of(mesh) == "STATE_FRESH"
    control(mesh, "/clear")
    truth = Decimal(str(control(mesh, "/truth", asset="BTC")["price"]))
    with mesh.http() as client:
        price = Decimal(client.get("/price?asset=BTC").json()["price"])
    assert abs(price / truth - 1) < Decimal("0.01")


def test_when_the_price_service_hangs_the_replica_ages_instead_of_lying(mesh: Mesh) -> None:
    price = mesh.refresh()["pids"]["price"]
    os.kill(price, signal.SIGSTOP)
    try:
        wait_until(lambda: state_of(mesh) not in ("STATE_FRESH", "STATE_DIVERGENT"))
    finally:
        os.kill(price, signal.SIGCONT)
    wait_until(lambda: state_of(mesh) == "STATE_FRESH")


def test_prices_go_on_without_either_store(mesh: Mesh) -> None:
    pids = mesh.refresh()["pids"]
    for name in ("valkey", "postgres"):
        os.kill(pids[name], signal.SIGSTOP)
    try:
        with mesh.http() as client:
            for _ in range(200):
                assert client.get("/price?asset=BTC").status_code == 200
    finally:
        for name in ("valkey", "postgres"):
            os.kill(pids[name], signal.SIGCONT)


def test_a_second_mesh_in_the_same_data_directory_is_refused(mesh: Mesh) -> None:
    done = mesh.cli("up", "--data-dir", str(mesh.data_dir), "--http-port", "0", "--udp-port", "0")
    assert done.returncode != 0
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert state_of(mesh) == "STATE_FRESH"


def test_a_taken_port_is_named_with_the_option_that_changes_it(mesh: Mesh, tmp_path: Path) -> None:
    port = mesh.facts["http"].rpartition(":")[2]
    done = mesh.cli("up", "--data-dir", str(tmp_path / "other"), "--http-port", port, "--udp-port", "0")
    assert done.returncode != 0
    assert "--http-port" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_mesh(tmp_path: Path, number: int) -> None:
    with running_mesh(tmp_path) as mesh:
        children = descendants(mesh.process.pid)
        assert len(children) >= 6
        port = int(mesh.facts["http"].rpartition(":")[2])
        mesh.process.send_signal(number)
        mesh.process.wait(30)
        wait_until(lambda: not any(is_running(pid) for pid in children), 10)
        assert mesh.process.returncode == (-number if number == signal.SIGKILL else 0)
        if number != signal.SIGKILL:
            assert not mesh.ready_path.exists(), "nobody should take a stopped mesh for a ready one"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_a_mesh_starts_again_on_what_a_killed_one_left(tmp_path: Path) -> None:
    with running_mesh(tmp_path) as first:
        key = first.key
        first.process.kill()
        first.process.wait(30)
    with running_mesh(tmp_path) as second:
        assert second.key == key, "a key that was pasted somewhere still works"
        wait_until(lambda: state_of(second) == "STATE_FRESH")


def test_up_prints_one_json_document_for_programs(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "trinity_cli.main", "up", "--json", "--data-dir", str(tmp_path / "data")),
        *("--http-port", "0", "--udp-port", "0", "--report-port", "0", "--udp-report-port", "0"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        text = ""
        while True:
            text += process.stdout.readline()
            try:
                facts = json.loads(text)
            except ValueError:
                assert process.poll() is None, text
                continue
            break
        assert {"http", "udp", "grpc", "key", "pids"} <= set(facts)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
