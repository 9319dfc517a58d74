"""Secrets are nowhere: not in the database, not in the cache, not in logs, errors or reprs."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import pytest

from account.small_account import SECRETS, SmallAccount
from price.valkey import ValkeyServer
from processes import until
from trinity.account.v1 import account_pb2 as pb
from trinity_account.issuing import Issuer, Wish
from trinity_account.shared import SharedSettings
from trinity_admission.principal import MESH_PEER
from trinity_core.errors import TrinityError
from trinity_core.keys import mint
from trinity_mesh.clock import SystemClock
from trinity_storage.valkey import Valkey, ValkeyConfig


def forms(secret: bytes) -> list[bytes]:
    """What a secret could look like where it must not be."""
    return [secret, secret.hex().encode(), base64.b64encode(secret), repr(secret).encode()]


async def database_text(account: SmallAccount) -> bytes:
    """Every row of every table of ours, as text."""
    tables = await account.part.postgres.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'trinity' AND c.relkind IN ('r', 'v', 'm', 'p')"
    )
    names = {row["relname"] for row in tables}
    assert {"plans", "associates", "api_keys", "app_config"} <= names
    found = b""
    for name in names:
        rows = await account.part.postgres.fetch(f"SELECT t::text AS line FROM trinity.{name} t")
        found += "\n".join(row["line"] for row in rows).encode()
    return found


async def cache_text(valkey: Valkey) -> bytes:
    names: list[bytes] = await valkey.call("KEYS", "*")
    return b"\n".join([name + b"=" + await valkey.call("GET", name) for name in names])


async def test_a_key_can_be_found_nowhere_by_its_secret(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ValkeyServer() as server:
        async with (
            SmallAccount(tmp_path, database_url, valkey_url=server.url).running() as account,
            Valkey(ValkeyConfig(timeout_ms=5_000), url=server.url, clock=SystemClock()) as valkey,
        ):
            principal, acme = await account.tenant("acme")
            texts = [(await account.key("acme", name=f"key {number}")).secret for number in range(3)]
            texts.append((await acme(pb.RotateKeyRequest(key_id=principal.key_id))).secret)
            session = await acme(pb.CreateUdpSessionRequest())
            await account.caller()(pb.RevokeKeyRequest(key_id=texts[0].split("_")[2]))
            said = []
            for request in (
                pb.CreateKeyRequest(scopes=["admin"]),
                pb.RotateKeyRequest(key_id=principal.key_id),
                pb.ListKeysRequest(page_token=texts[1]),
                pb.RevokeKeyRequest(key_id=texts[1][:12]),
                pb.GetAssociateRequest(associate=texts[1]),
            ):
                with pytest.raises(TrinityError) as caught:
                    await acme(request)
                said.append(f"{caught.value!r} {caught.value.metadata} {caught.value.violations}")
            caching = account.part.caching
            assert caching is not None
            await until(lambda: caching.stored >= 5 and caching.waiting == 0, "everything is copied")
            stored = await database_text(account)
            cached = await cache_text(valkey)
    everywhere = stored + cached + caplog.text.encode() + "\n".join(said).encode()
    assert principal.key_id.encode() in stored, "the scan sees what is there"
    assert principal.key_id.encode() in cached
    for text in texts:
        secret = text.rsplit("_", 1)[1]
        assert secret.encode() not in everywhere
        assert secret[:20].encode() not in everywhere
    for value in (SECRETS.pepper, SECRETS.udp_master, SECRETS.cursor, session.session_key):
        for form in forms(value):
            assert form not in everywhere


def test_what_holds_a_key_in_the_clear_does_not_show_it() -> None:
    issuer = Issuer(env="test", pepper=b"p" * 32, random_bytes=lambda count: b"\7" * count, settings=SharedSettings)
    issue = issuer.issue(Wish("", (), (), None), MESH_PEER, now_ns=0)
    succession = issuer.succeed(MESH_PEER, grace_ns=0, now_ns=0)
    secret = mint(env="test", random_bytes=lambda count: b"\7" * count).text[-49:]
    for each in (issue, succession, issue.text):
        shown: Any = f"{each!r} {each}"
        assert secret not in shown


async def test_an_unforeseen_fault_shows_nothing_to_its_caller(
    account: SmallAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "tbk_test_" + "s" * 40

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(account.part.servicer._repo, "list_keys", broken)
    with pytest.raises(TrinityError) as caught:
        await account.caller()(pb.ListKeysRequest())
    assert "s" * 10 not in str(caught.value) + str(caught.value.metadata)
