"""A claim on a data directory: one holder, named to the next, gone with its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.claim import claim

HOLDS = """
import sys, time
from pathlib import Path
from trinity_mesh.claim import claim
held = claim(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_the_second_is_told_who_the_first_is_until_it_lets_go(tmp_path: Path) -> None:
    held = claim(tmp_path / "data")
    with pytest.raises(TrinityError, match=f"in use by process {os.getpid()}") as caught:
        claim(tmp_path / "data")
    assert caught.value.reason is Reason.DATA_DIR_IN_USE
    held.release()
    claim(tmp_path / "data").release()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TrinityError, match=str(holder.pid)):
        claim(tmp_path)
    holder.kill()
    holder.communicate(timeout=60)
    claim(tmp_path).release()
