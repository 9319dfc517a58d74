"""The two keys of a mesh on one machine: a customer's and an operator's."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from trinity_core.keys import KeyText, mint, parse
from trinity_mesh.process import write_json

SCOPES = ("prices.read", "reports.read", "keys.manage", "webhooks.manage")
"""What the demo key may do, for itself."""

ADMIN_SCOPES = ("admin", *SCOPES)
"""What the operator's key may do."""


def demo_key(data_dir: Path) -> KeyText:
    """The customer's key of this data directory; see `_kept`."""
    return _kept(data_dir / "demo-key.json", "demo")


def admin_key(data_dir: Path) -> KeyText:
    """The operator's key of this data directory; see `_kept`."""
    return _kept(data_dir / "admin-key.json", "admin")


def _kept(path: Path, env: str) -> KeyText:
    """The key of a file, mode 0600: made at the first call and the same ever after.

    A file that cannot be read is replaced.
    """
    try:
        return parse(msgspec.json.decode(path.read_bytes(), type=dict[str, str])["key"])
    except (OSError, KeyError, ValueError, msgspec.MsgspecError):
        key = mint(env=env, random_bytes=secrets.token_bytes)
        write_json(path, {"key": key.text})
        return key
