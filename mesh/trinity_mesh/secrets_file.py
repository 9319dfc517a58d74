"""The secrets that parts of one mesh share, in a file that only its owner may read.

    {"pepper": "<hex>", "udp_master": "<hex>", "cursor": "<hex>"}

None of them is ever in a database, a log, an error or a metric. Losing `pepper` makes every
API key worthless; losing the others ends sessions and page tokens that are under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trinity_mesh.config import ConfigError

SECRET_BYTES_MIN: Final = 32
_FILE_BYTES_MAX: Final = 64 << 10
_NAMES: Final = ("pepper", "udp_master", "cursor")


@dataclass(frozen=True, slots=True)
class MeshSecrets:
    """What the file holds; `repr` shows nothing of it."""

    pepper: bytes = field(repr=False)
    """Key of the digests that stand for API keys in the database."""
    udp_master: bytes = field(repr=False)
    """Key that the keys of UDP sessions are derived from."""
    cursor: bytes = field(repr=False)
    """Key that signs page tokens."""

    def __post_init__(self) -> None:
        for name in _NAMES:
            if len(getattr(self, name)) < SECRET_BYTES_MIN:
                raise ValueError(f"{name} must have at least {SECRET_BYTES_MIN} bytes")


def load_secrets(path: Path) -> MeshSecrets:
    """Read the file.

    Raises ConfigError, never showing what is in it, when it is missing, open to others than
    its owner, or not as it should be.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"the secrets file {path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"the secrets file {path} is open to others: chmod 600 {path}")
    try:
        found = json.loads(data)
        return MeshSecrets(*(bytes.fromhex(found[name]) for name in _NAMES))
    except (KeyError, TypeError, ValueError):
        # Without the cause, which could show a part of the file.
        raise ConfigError(
            f"the secrets file {path} must be a JSON object of {', '.join(_NAMES)}, "
            f"each of at least {SECRET_BYTES_MIN} bytes in hexadecimal"
        ) from None


def make_secrets(path: Path, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> MeshSecrets:
    """The secrets of the file, made at the first call and the same ever after.

    A file that cannot be read is never replaced: its pepper may still be good elsewhere. Of
    several processes that make it at once, one wins. Raises ConfigError as `load_secrets` does.
    """
    if not path.exists():
        made = {name: random_bytes(SECRET_BYTES_MIN).hex() for name in _NAMES}
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(made, file)
            file.flush()
            os.fsync(file.fileno())
        # A link and no rename: whoever was first wins.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
        Path(beside).unlink()
    return load_secrets(path)
