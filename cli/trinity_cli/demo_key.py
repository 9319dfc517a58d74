"""The demo key of a mesh on one machine, and the settings file that gateways read keys from."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from trinity_core.keys import KeyText, mint, parse
from trinity_mesh.process import write_json

SCOPES = ("prices.read", "feed.read")
"""What the demo key may do."""


def demo_key(data_dir: Path) -> KeyText:
    """The key of this data directory, made at the first call and the same ever after.

    It stands in `demo-key.json`, mode 0600. A file that cannot be read is replaced.
    """
    path = data_dir / "demo-key.json"
    try:
        return parse(msgspec.json.decode(path.read_bytes(), type=dict[str, str])["key"])
    except (OSError, KeyError, ValueError, msgspec.MsgspecError):
        key = mint(env="demo", random_bytes=secrets.token_bytes)
        write_json(path, {"key": key.text})
        return key


def write_keys_file(path: Path, key: KeyText) -> None:
    """Write the gateways' settings file: the key's hash and scopes, never the key."""
    write_json(path, {"keys": [{"id": key.key_id, "key_sha256": key.sha256, "scopes": list(SCOPES)}]})
