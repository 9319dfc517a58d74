"""Being somebody with less: which ways there are, and that each does what it says on this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trinity_mesh.child import shim
from trinity_mesh.config import ConfigError
from trinity_mesh.runas import How, RunAs, owner, seen_name, ways

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="capabilities and namespaces are Linux's")
ID = shutil.which("id") or "/usr/bin/id"


def run(run_as: RunAs | None, *command: str, reach: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    words = [*shim(run_as, reach=reach), *command]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")


def root_way(how: How) -> RunAs:
    found = [way for way in ways(uid=0) if way is not None and way.how is how]
    assert len(found) == 1
    return found[0]


def test_a_person_runs_servers_as_themselves() -> None:
    person = next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0)
    assert tuple(ways(uid=person)) == (None,)
    assert owner(None) == (os.geteuid(), os.getegid())
    assert seen_name(None) == pwd.getpwuid(os.geteuid()).pw_name


def test_root_tries_the_least_rights_first_and_never_itself() -> None:
    found = [way.how for way in ways(uid=0) if way is not None]
    assert found[0] is How.PLAIN
    assert None not in ways(uid=0)
    assert all(way is not None and way.uid != 0 for way in ways(uid=0))


@LINUX_ONLY
def test_a_uid_without_a_name_borrows_one_in_a_namespace() -> None:
    nameless = max(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid < 1 << 30) + 12_345
    assert [way.how for way in ways(uid=nameless) if way is not None] == [How.NAMESPACE]


@pytest.mark.parametrize("account", ["no such account", "root"])
def test_a_wrong_account_is_named(account: str) -> None:
    with pytest.raises(ConfigError, match=account):
        ways(account=account, uid=0)


@ROOT_ONLY
def test_plain_becomes_the_account_and_cannot_enter_what_is_closed_to_it(tmp_path: Path) -> None:
    way = root_way(How.PLAIN)
    assert run(way, ID, "-u").stdout.strip() == str(way.uid)
    assert run(way, ID, "-G").stdout.strip() == str(way.gid), "no group of ours is kept"
    tmp_path.chmod(0o700)
    refused = run(way, ID, reach=(tmp_path,))
    assert refused.returncode == 126
    assert "Permission denied" in refused.stderr


@ROOT_ONLY
@LINUX_ONLY
def test_search_enters_closed_directories_and_can_do_nothing_else(tmp_path: Path) -> None:
    way = root_way(How.SEARCH)
    inner = tmp_path / "closed" / "open"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    done = run(way, "/bin/sh", "-c", f"{ID} -u; kill -0 {os.getpid()}", reach=(inner,))
    assert done.stdout.strip() == str(way.uid)
    assert "not permitted" in done.stderr.lower()


@ROOT_ONLY
@LINUX_ONLY
def test_a_namespace_shows_the_account_and_leaves_files_ours(tmp_path: Path) -> None:
    way = root_way(How.NAMESPACE)
    done = run(way, "/bin/sh", "-c", f"{ID} -u; echo x > {tmp_path}/file", reach=(tmp_path,))
    if done.returncode == 126:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    assert done.stdout.strip() == str(way.uid)
    assert (tmp_path / "file").stat().st_uid == 0
    assert owner(way) == (0, 0)
    assert seen_name(way) == way.name


def test_a_command_starts_with_the_signals_a_shell_would_give_it() -> None:
    if sys.platform != "linux":
        pytest.skip("read from Linux's /proc")
    done = run(None, "/bin/grep", "SigIgn", "/proc/self/status")
    ignored = int(done.stdout.split()[1], 16)
    # Python ignores these two for itself; what else is ignored here, whoever started the tests ignores.
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))
