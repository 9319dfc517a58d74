"""Who asks: the codec, and what a servicer is told over real sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from trinity_admission.principal import (
    MESH_PEER,
    METADATA_KEY,
    Principal,
    decode,
    encode,
    judged,
    metadata_of,
    principal_of,
    require,
)
from trinity_core.errors import Reason, TrinityError

ACME = Principal("0c7bgy9rbydg", "acme", frozenset({"prices.read", "keys.manage"}))


def test_a_principal_comes_back_as_it_was_sent() -> None:
    assert decode(encode(ACME)) == ACME


def test_the_value_is_what_any_language_would_write() -> None:
    document = {"key_id": "k", "associate": "a", "scopes": ["admin"]}
    value = base64.b64encode(json.dumps(document).encode()).decode()
    assert decode(value) == Principal("k", "a", frozenset({"admin"}))


def test_no_value_gives_the_scope_of_the_mesh() -> None:
    document = {"key_id": "k", "associate": "a", "scopes": ["mesh", "prices.read"]}
    value = base64.b64encode(json.dumps(document).encode()).decode()
    assert decode(value).scopes == {"prices.read"}
    assert decode(encode(Principal("k", "a", frozenset({"mesh"})))).scopes == set()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "?",
        "e30=",
        base64.b64encode(b'{"key_id":"","associate":"a","scopes":[]}').decode(),
        base64.b64encode(b'{"key_id":"k","associate":"","scopes":[]}').decode(),
        base64.b64encode(b'{"key_id":"k","associate":"a","scopes":"admin"}').decode(),
        base64.b64encode(b'{"key_id":1,"associate":"a","scopes":[]}').decode(),
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"[" * 2_000).decode(),
        "A" * 5_000,
    ],
)
def test_what_nobody_would_write_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(value)


def test_admin_implies_every_scope_but_that_of_the_mesh() -> None:
    admin = Principal("k", "operator", frozenset({"admin"}))
    assert admin.holds("keys.manage")
    assert not admin.holds("mesh")
    assert not ACME.holds("admin")
    assert MESH_PEER.holds("mesh")
    assert MESH_PEER.holds("reports.read")


def test_a_missing_scope_is_named() -> None:
    require(ACME, "prices.read")
    with pytest.raises(TrinityError) as caught:
        require(ACME, "reports.read")
    assert caught.value.reason is Reason.MISSING_SCOPE
    assert caught.value.metadata == {"scope": "reports.read"}


class Server:
    """Tells each caller who it is taken for, over a Unix socket and over TCP."""

    def __init__(self, unix: str) -> None:
        self.unix = unix
        self.tcp = ""
        self.key_was_judged: Principal | None = None

    async def who(self, _: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        judged.set(self.key_was_judged)
        try:
            found = principal_of(context)
        except TrinityError as error:
            return error.reason.encode()
        return b"mesh" if found is MESH_PEER else f"{found.associate} {' '.join(sorted(found.scopes))}".encode()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(f"unix:{tmp_path}/s.sock")
    grpc_server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(made.who)
    grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.S", {"Who": handler}),))
    grpc_server.add_insecure_port(made.unix)
    made.tcp = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
    await grpc_server.start()
    yield made
    await grpc_server.stop(None)


async def _who(address: str, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        answer: bytes = await channel.unary_unary("/t.S/Who")(b"", metadata=metadata)
    return answer.decode()


async def test_a_peer_on_the_unix_socket_speaks_for_the_mesh_or_for_whom_it_names(server: Server) -> None:
    assert await _who(server.unix) == "mesh"
    assert await _who(server.unix, metadata_of(ACME)) == "acme keys.manage prices.read"


async def test_a_name_that_cannot_be_read_never_falls_back_to_the_rights_of_the_mesh(server: Server) -> None:
    assert await _who(server.unix, ((METADATA_KEY, "%%%"),)) == "INVALID_KEY"
    assert await _who(server.unix, ((METADATA_KEY, ""),)) == "INVALID_KEY"
    assert await _who(server.unix, metadata_of(ACME) * 2) == "INVALID_KEY"


async def test_the_metadata_means_nothing_from_a_peer_on_tcp(server: Server) -> None:
    admin = metadata_of(Principal("k", "operator", frozenset({"admin"})))
    assert await _who(server.tcp) == "MISSING_KEY"
    assert await _who(server.tcp, admin) == "MISSING_KEY"


async def test_a_key_that_was_judged_wins_over_whatever_the_metadata_says(server: Server) -> None:
    server.key_was_judged = ACME
    admin = metadata_of(Principal("k", "operator", frozenset({"admin"})))
    assert await _who(server.tcp, admin) == "acme keys.manage prices.read"
    assert await _who(server.unix) == "acme keys.manage prices.read"
