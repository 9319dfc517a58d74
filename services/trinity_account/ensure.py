"""Registers keys that stand somewhere else already, such as the demo key in a data folder."""

from __future__ import annotations

from collections.abc import Sequence

from trinity_core.accounts import AccountRepo, ApiKey, Author, OwnedKey
from trinity_core.keys import parse


async def ensure_key(
    repo: AccountRepo, *, key_text: str, associate: str, name: str, scopes: Sequence[str], pepper: bytes, now_ns: int
) -> OwnedKey:
    """Make sure that a given key is registered with this name and these scopes; as often as one likes.

    A key that was registered under another pepper is registered anew. One that was revoked
    stays revoked: `key.state(now_ns)` of the result tells. The bound on keys does not count here.

    Args:
        repo: where accounts are.
        key_text: the whole key. Only its digest is stored.
        associate: who owns it; must exist.
        name: name to show.
        scopes: what it may do, as far as the associate's plan has it.
        pepper: the mesh's secret for digests.
        now_ns: unix nanoseconds.

    Raises ValueError, never showing the text, when it is no key; TrinityError UNKNOWN_ASSOCIATE,
    and ALREADY_EXISTS when the key belongs to somebody else.
    """
    text = parse(key_text)
    at_ns = now_ns // 1_000 * 1_000
    key = ApiKey(
        key_id=text.key_id,
        associate=associate,
        name=name,
        digest=text.digest(pepper),
        scopes=tuple(scopes),
        create_time_ns=at_ns,
    )
    return await repo.register_key(key, author=Author(at_ns))
