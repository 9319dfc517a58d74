"""Short commands: what they say, and that none is waited for too long or left running."""

from __future__ import annotations

import sys

from processes import is_running
from trinity_storage.tool import Said, plain_environ, run_tool


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


async def test_a_command_says_what_it_says_and_how_it_ended() -> None:
    code = "import sys; print(sys.stdin.read(), flush=True); print('and', file=sys.stderr); sys.exit(3)"
    assert await run_tool(python(code), env={}, timeout_s=60, stdin=b"in") == Said(3, "in\nand\n")


async def test_a_command_that_is_not_there_is_no_exception() -> None:
    said = await run_tool(["/does/not/exist"], env={}, timeout_s=60)
    assert said.code is None
    assert "No such file" in said.text


async def test_a_command_that_does_not_end_is_ended() -> None:
    said = await run_tool(python("import time; time.sleep(600)"), env={}, timeout_s=0.2)
    assert said == Said(None, "no end within 0.2 s")


async def test_a_command_ends_with_the_one_who_waits_for_it() -> None:
    import asyncio
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as directory:
        pid_file = Path(directory, "pid")
        code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
        task = asyncio.create_task(run_tool(python(code), env={}, timeout_s=600))
        while not (pid_file.exists() and pid_file.read_text()):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not is_running(int(pid_file.read_text()))  # noqa: ASYNC240


def test_nothing_of_the_environment_changes_what_a_database_does() -> None:
    ours = {"PATH": "/bin", "PGDATA": "/elsewhere", "PGOPTIONS": "-c fsync=off", "LC_ALL": "de_DE", "TZ": "Mars"}
    assert plain_environ(ours) == {"PATH": "/bin", "LC_ALL": "C", "TZ": "UTC"}
