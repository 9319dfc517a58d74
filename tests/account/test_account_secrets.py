"""What holds a secret does not show it; `test_secrets_nowhere.py` searches everything else."""

from __future__ import annotations

from typing import Any

import pytest

from account.small_account import SmallAccount
from trinity.account.v1 import account_pb2 as pb
from trinity_account.issuing import Issuer, Wish
from trinity_account.shared import SharedSettings
from trinity_admission.principal import MESH_PEER
from trinity_core.errors import TrinityError
from trinity_core.keys import mint


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
