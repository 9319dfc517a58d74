"""As whom a child runs: as ourselves, or, where that is root, as somebody with less.

PostgreSQL refuses to run as root, and looks its user up by name, so the account must exist.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trinity_mesh.config import ConfigError

_ACCOUNTS: Final = ("postgres", "nobody", "daemon")
"""Whom to take when nobody is named; the first that exists."""


class How(StrEnum):
    """How a child takes its account."""

    PLAIN = "plain"
    """Becomes the account, and nothing more."""
    SEARCH = "search"
    """Becomes the account, and keeps the right to walk through directories that are closed to it."""
    NAMESPACE = "namespace"
    """Stays who we are to the kernel, without rights, and sees itself as the account (Linux)."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """One way to be somebody else."""

    uid: int
    gid: int
    name: str
    """Name of the account in the password database."""
    how: How

    def shim_words(self) -> list[str]:
        """Its words for parentdeath.py."""
        words = [f"uid={self.uid}", f"gid={self.gid}"]
        return words if self.how is How.PLAIN else [*words, f"{self.how.value}=1"]


def owner(run_as: RunAs | None) -> tuple[int, int]:
    """Uid and gid that own what such a child writes; None stands for ourselves."""
    if run_as is None or run_as.how is How.NAMESPACE:
        return os.geteuid(), os.getegid()
    return run_as.uid, run_as.gid


def seen_name(run_as: RunAs | None) -> str:
    """The account that such a child believes we are when we connect to its Unix socket."""
    if run_as is not None and run_as.how is How.NAMESPACE:
        return run_as.name
    return pwd.getpwuid(os.geteuid()).pw_name


def ways(*, account: str = "", uid: int | None = None) -> Sequence[RunAs | None]:
    """Every way a server that refuses root may run here, the one with the fewest rights first.

    None stands for ourselves, whose uid is `uid` (default: this process's). Which of the
    others works depends on what the machine or container allows: try. Raises ConfigError
    when `account` is named and unknown, or is root.
    """
    uid = os.geteuid() if uid is None else uid
    if uid != 0:
        try:
            pwd.getpwuid(uid)
        except KeyError:
            # A nameless uid, as containers hand out. Servers that look it up find the account instead.
            return _in_namespace(_account(account))
        return (None,)
    entry = _account(account)
    dropped = [RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name, How.PLAIN)]
    if sys.platform == "linux":
        dropped.append(RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name, How.SEARCH))
    return (*dropped, *_in_namespace(entry))


def _in_namespace(entry: pwd.struct_passwd) -> tuple[RunAs, ...]:
    if sys.platform != "linux":
        return ()
    return (RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name, How.NAMESPACE),)


def _account(name: str) -> pwd.struct_passwd:
    for candidate in (name,) if name else _ACCOUNTS:
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry
    if name:
        raise ConfigError(f"run_as: {name!r} must be an account of this machine other than root")
    raise ConfigError(f"none of the accounts {', '.join(_ACCOUNTS)} exists here; name one in run_as")
