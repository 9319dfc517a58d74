"""`trinity plan`, `trinity associate` and `trinity key` on a real account service."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from account.databases import Databases
from account.small_account import Replica, SmallAccount
from cli.processes import Shown, Trinity, finish, start
from trinity.account.v1 import account_pb2 as pb
from trinity.account.v1 import account_service_pb2_grpc
from trinity_account.servicer import DESCRIPTOR
from trinity_cli.main import run
from trinity_core.keys import parse
from trinity_mesh.server import MeshServer, Service


@pytest.fixture
async def account(databases: Databases, tmp_path: Path) -> AsyncIterator[SmallAccount]:
    async with databases.fresh() as url, SmallAccount(tmp_path, url).running() as running:
        (tmp_path / "ready.json").write_text(json.dumps({"grpc": {"account": running.address}}))
        yield running


@pytest.fixture
def trinity(account: SmallAccount, tmp_path: Path) -> Trinity:
    async def call(*arguments: str) -> Shown:
        done = await finish(await start(*arguments, env={"TRINITY_READY_FILE": str(tmp_path / "ready.json")}))
        return Shown(done.code, done.out.decode(), done.err.decode())

    return call


async def document(trinity: Trinity, *arguments: str) -> Any:
    done = await trinity(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


async def test_a_plan_is_made_shown_changed_and_listed(trinity: Trinity) -> None:
    made = await document(
        trinity, "plan", "create", "gold", "--rate", "100", "--quota", "1000000", "--name", "Gold",
        "--scope", "prices.read", "--scope", "keys.manage", "--asset", "btc", "--transport", "http",
    )  # fmt: skip
    assert (made["plan"], made["ratePerS"], made["burst"], made["monthlyQuota"]) == ("gold", 100, 200, "1000000")
    assert (made["scopes"], made["assets"], made["transports"]) == (
        ["prices.read", "keys.manage"],
        ["BTC"],
        ["TRANSPORT_HTTP"],
    )
    changed = await document(trinity, "plan", "update", "gold", "--quota", "0", "--all-assets")
    assert {**changed, "updateTime": ""} == {**made, "monthlyQuota": "0", "assets": [], "updateTime": ""}
    assert await document(trinity, "plan", "get", "gold") == changed
    assert [each["plan"] for each in (await document(trinity, "plan", "list"))["plans"]] == ["admin", "demo", "gold"]
    shown = await trinity("plan", "list")
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert rows[0][0] == "PLAN"
    assert rows[3] == ["gold", "Gold", "100", "200", "no", "bound", "prices.read,keys.manage", "all", "http"]


async def test_a_customer_is_made_changed_suspended_and_resumed(trinity: Trinity, account: SmallAccount) -> None:
    made = await document(
        trinity, "associate", "create", "acme", "--plan", "demo", "--name", "Acme", "--email", "a@b.example"
    )
    assert (made["associate"], made["plan"], made["suspended"]) == ("acme", "demo", False)
    key_id = (await account.key("acme")).key.key_id
    async with Replica().following(account.caller()) as replica:
        await replica.until(lambda: replica.knows(key_id))
        assert (await document(trinity, "associate", "suspend", "acme"))["suspended"] is True
        await replica.until(lambda: not replica.knows(key_id))
        assert (await document(trinity, "associate", "resume", "acme"))["suspended"] is False
        await replica.until(lambda: replica.knows(key_id))
    changed = await document(trinity, "associate", "update", "acme", "--email", "", "--plan", "admin")
    assert (changed["email"], changed["plan"], changed["name"]) == ("", "admin", "Acme")
    assert await document(trinity, "associate", "get", "acme") == changed
    listed = (await document(trinity, "associate", "list"))["associates"]
    assert [each["associate"] for each in listed] == ["acme", "demo", "operator"]
    shown = await trinity("associate", "get", "acme")
    assert shown.stdout.splitlines()[1].split()[:4] == ["acme", "admin", "active", "Acme"]


async def test_a_new_key_stands_alone_on_stdout(trinity: Trinity) -> None:
    done = await trinity(
        "key", "create", "--associate", "demo", "--name", "desk", "--scope", "prices.read", "--network", "10.0.0.0/8",
        "--lifetime", "30d",
    )  # fmt: skip
    assert done.exit_code == 0
    (line,) = done.stdout.splitlines()
    key_id = parse(line).key_id
    assert f"key {key_id} of demo: prices.read, until " in done.stderr
    assert "only time" in done.stderr
    (listed,) = (await document(trinity, "key", "list", "--associate", "demo"))["keys"]
    assert (listed["keyId"], listed["name"], listed["allowedNetworks"]) == (key_id, "desk", ["10.0.0.0/8"])
    assert line not in json.dumps(listed)
    shown = await trinity("key", "list")
    assert shown.stdout.splitlines()[1].split()[:4] == [key_id, "demo", "active", "desk"]
    assert line[-40:] not in shown.stdout


async def test_a_key_is_rotated_and_revoked(trinity: Trinity) -> None:
    made = await document(trinity, "key", "create", "--associate", "demo")
    key_id = made["key"]["keyId"]
    assert parse(made["secret"]).key_id == key_id
    rotated = await trinity("key", "rotate", key_id, "--grace", "1h")
    assert rotated.exit_code == 0
    new_id = parse(rotated.stdout.strip()).key_id
    assert f"the key {key_id} ends " in rotated.stderr
    states = {each["keyId"]: each["state"] for each in (await document(trinity, "key", "list"))["keys"]}
    assert states == {key_id: "KEY_STATE_ROTATED", new_id: "KEY_STATE_ACTIVE"}
    again = await trinity("key", "rotate", key_id)
    assert (again.exit_code, again.stdout) == (3, "")
    assert "only an active key" in again.stderr
    assert (await document(trinity, "key", "revoke", new_id))["state"] == "KEY_STATE_REVOKED"
    shown = await trinity("key", "revoke", new_id)
    assert shown.stdout.splitlines()[1].split()[2] == "revoked"
    newest = await document(
        trinity, "key", "rotate", (await document(trinity, "key", "create", "--associate", "demo"))["key"]["keyId"]
    )
    assert set(newest) == {"key", "secret", "previous"}


async def test_long_lists_come_whole_or_as_far_as_wanted(trinity: Trinity, account: SmallAccount) -> None:
    await account.part.postgres.execute(
        "INSERT INTO trinity.api_keys "
        "(key_id, associate, name, digest, scopes, allowed_networks, create_time, version) "
        "SELECT lpad(n::text, 12, '0'), 'demo', '', sha256(n::text::bytea), '{}', '{}', now(), 1 "
        "FROM generate_series(1, 1500) n"
    )
    assert len((await document(trinity, "key", "list"))["keys"]) == 1_500
    done = await trinity("key", "list", "--limit", "3", "--json")
    assert len(json.loads(done.stdout)["keys"]) == 3
    assert "more than 3" in done.stderr


async def test_what_the_service_refuses_is_said_with_its_exit_code(trinity: Trinity) -> None:
    refused = {
        ("plan", "get", "nothing"): "no plan",
        ("plan", "create", "demo", "--rate", "1"): "exists already",
        ("associate", "create", "acme", "--plan", "nothing"): "no plan",
        ("associate", "suspend", "ghost"): "no associate",
        ("key", "create"): "associate",
        ("key", "create", "--associate", "demo", "--network", "10.0.0.1/8"): "bits after the prefix",
        ("key", "revoke", "no-key"): "key_id",
    }
    for (arguments, word), done in zip(
        refused.items(), await asyncio.gather(*(trinity(*arguments) for arguments in refused)), strict=True
    ):
        assert (done.exit_code, done.stdout) == (3, ""), arguments
        assert word in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("plan", "create", "gold"), "--rate"),
        (("plan", "create", "gold", "--rate", "99999999999"), "too large"),
        (("plan", "update", "demo"), "what to change"),
        (("plan", "update", "demo", "--asset", "BTC", "--all-assets"), "exclude"),
        (("associate", "update", "demo"), "what to change"),
        (("key", "create", "--associate", "demo", "--lifetime", "soon"), "no duration"),
        (("key", "create", "--associate", "demo", "--scope", "mesh"), "mesh"),
        (("key", "rotate"), "KEY"),
    ],
)
def test_wrong_usage_is_said_before_anybody_is_asked(
    arguments: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--address", "unix:/nowhere"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert word in said.err


async def test_a_mesh_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    nowhere = await finish(await start("key", "list", "--address", f"unix:{tmp_path}/none.sock"))
    assert (nowhere.code, nowhere.out) == (5, b"")
    assert b"the account service at" in nowhere.err
    (tmp_path / "old.json").write_text(json.dumps({"grpc": {"price": "unix:/p"}}))
    old = await finish(await start("key", "list", "--ready-file", str(tmp_path / "old.json")))
    assert old.code == 5
    assert b"no address for account" in old.err


class Heard(account_service_pb2_grpc.AccountServiceServicer):
    """Says what it was sent."""

    async def ListPlans(self, request: Any, context: Any) -> pb.ListPlansResponse:
        sent = dict(context.invocation_metadata()).get("authorization", "nothing")
        return pb.ListPlansResponse(plans=[pb.Plan(plan=sent)])


async def test_a_key_goes_to_who_is_elsewhere_and_never_to_the_meshs_own_socket() -> None:
    def add(server: Any) -> None:
        account_service_pb2_grpc.add_AccountServiceServicer_to_server(Heard(), server)

    with tempfile.TemporaryDirectory(prefix="tb-") as folder:
        async with AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(MeshServer(address=address, services=[Service(DESCRIPTOR, add)]))
                for address in ("127.0.0.1:0", f"unix:{folder}/a.sock")
            ]
            said = [
                await finish(
                    await start("plan", "list", "--json", "--address", server.address, env={"TRINITY_KEY": "tbk_x"})
                )
                for server in servers
            ]
    assert [json.loads(done.out)["plans"][0]["plan"] for done in said] == ["Bearer tbk_x", "nothing"]
