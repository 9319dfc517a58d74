"""The command as users run it: real processes, pipes that close, signals, terminals, locales."""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import click
import pytest

from cli.processes import finish, start
from cli.small_mesh import SmallMesh
from trinity_cli.main import COMMANDS
from trinity_cli.watch import Moves

HELP = """
import sys
from trinity_cli.main import run
code = run(["--help"])
sys.exit(99 if {"grpc", "rich", "google", "asyncio"} & set(sys.modules) else code)
"""


def test_help_lists_every_command_and_imports_none() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, entry in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert entry.summary[:30] in done.stdout


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry.target.startswith("trinity_cli")])
async def test_every_command_has_help_and_json(name: str) -> None:
    done = await finish(await start(name, "--help"))
    assert done.code == 0, done.err
    command = load(name)
    for leaf in leaves_of(command):
        # What `feeds decode` and `openapi` print is JSON whatever one asks for.
        assert leaf.name in ("decode", "openapi") or "as_json" in {option.name for option in leaf.params}, (
            f"{name} {leaf.name}"
        )


def leaves_of(command: click.Command) -> list[click.Command]:
    """The commands of a group, of its groups and so on; a command that is no group itself."""
    if not isinstance(command, click.Group):
        return [command]
    return [leaf for inner in command.commands.values() for leaf in leaves_of(inner)]


def load(name: str) -> click.Command:
    """The command that the table names."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


async def test_the_installed_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("trinity")
    if not script.exists():
        pytest.skip("the project is not installed in this environment")
    done = await finish(await asyncio.create_subprocess_exec(script, "--version", stdout=-1, stderr=-1))
    assert done.code == 0
    assert done.out.startswith(b"trinity ")


async def test_a_command_that_is_misspelt_meets_the_nearest() -> None:
    done = await finish(await start("pirce", "BTC"))
    assert done.code == 2
    assert b"did you mean `trinity price`" in done.err


async def test_the_ready_file_in_the_data_directory_is_found(mesh: SmallMesh, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mesh.ready_file.rename(tmp_path / "data" / "ready.json")
    by_folder = await finish(await start("price", "BTC", cwd=tmp_path))
    by_variable = await finish(await start("price", "BTC", env={"TRINITY_DATA_DIR": str(tmp_path / "data")}))
    assert (by_folder.code, by_variable.code) == (0, 0)
    assert by_folder.out.startswith(b"BTC  67000.10")


async def test_without_a_mesh_there_are_two_lines_on_stderr_and_no_traceback(tmp_path: Path) -> None:
    for command in (["price", "BTC"], ["watch"], ["explain", "BTC"], ["venues"], ["udp", "BTC"]):
        done = await finish(await start(*command, cwd=tmp_path))
        assert done.code == 5
        assert done.out == b""
        assert len(done.err.splitlines()) == 2, done.err
        assert b"trinity up" in done.err


async def test_a_dead_socket_leaves_no_noise_of_the_library(mesh: SmallMesh) -> None:
    done = await finish(await start("price", "BTC", "--address", "unix:/nowhere/price.sock"))
    assert done.code == 5
    assert len(done.err.splitlines()) == 2, done.err


async def test_watching_prints_the_snapshot_and_then_each_change(mesh: SmallMesh) -> None:
    process = await start("watch", "BTC", "--count", "3", env={"TRINITY_READY_FILE": str(mesh.ready_file)})
    assert process.stdout is not None
    first = await process.stdout.readline()
    mesh.prices.set("BTC", "67001.10")
    second = await process.stdout.readline()
    mesh.prices.set("BTC", "66999.85")
    third = await process.stdout.readline()
    assert (await finish(process)).code == 0
    assert [line.split()[1:4] for line in (first, second, third)] == [
        [b"BTC", b"67000.10", b"0"],
        [b"BTC", b"67001.10", b"+1.00"],
        [b"BTC", b"66999.85", b"-1.25"],
    ]
    assert all(line.rstrip().endswith(b"simulated") for line in (first, second, third))


async def test_watching_in_json_is_one_object_a_line(mesh: SmallMesh) -> None:
    done = await finish(
        await start("watch", "BTC", "ETH", "--count", "2", "--json", env={"TRINITY_READY_FILE": str(mesh.ready_file)})
    )
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(line["asset"] for line in lines) == ["BTC", "ETH"]
    assert all(line["sandbox"] is True and line["state"] == "STATE_FRESH" for line in lines)


async def test_watching_an_unknown_asset_is_refused(mesh: SmallMesh) -> None:
    done = await finish(await start("watch", "BTX", env={"TRINITY_READY_FILE": str(mesh.ready_file)}))
    assert (done.code, done.out) == (3, b"")
    assert b"did you mean" in done.err


async def test_a_stream_that_is_lost_is_told_and_comes_back(mesh: SmallMesh) -> None:
    process = await start("watch", "BTC", "--json", env={"TRINITY_READY_FILE": str(mesh.ready_file)})
    assert process.stdout is not None
    await process.stdout.readline()
    mesh.prices.end_streams()
    await asyncio.sleep(0)
    while True:  # until the new stream carries a change
        mesh.prices.set("BTC", "67002")
        async with asyncio.timeout(30):
            if b"67002" in await process.stdout.readline():
                break
    process.send_signal(signal.SIGINT)
    assert (await finish(process)).code == 130


@pytest.mark.parametrize("arguments", [["watch"], ["watch", "--json"]])
async def test_ctrl_c_ends_a_watch_quietly(arguments: list[str], mesh: SmallMesh) -> None:
    process = await start(*arguments, env={"TRINITY_READY_FILE": str(mesh.ready_file)})
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    done = await finish(process)
    assert (done.code, done.err) == (130, b"")


@pytest.mark.parametrize(
    "arguments", [["watch"], ["watch", "--json"], ["price", *["BTC"] * 200], ["price", *["BTC"] * 200, "--json"]]
)
async def test_a_pipe_that_closes_ends_the_command_quietly(arguments: list[str], mesh: SmallMesh) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4_096)
    process = await start(*arguments, stdout=write, env={"TRINITY_READY_FILE": str(mesh.ready_file)})
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 1)
    os.close(read)
    waiting = asyncio.create_task(finish(process))
    while not waiting.done():
        mesh.prices.set("BTC", "67003")
        await asyncio.wait([waiting], timeout=0.05)
    done = await waiting
    assert (done.code, done.err) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
async def test_a_locale_that_lacks_characters_costs_no_answer(encoding: str, mesh: SmallMesh) -> None:
    environ = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    mesh.feeds.venues["okx"].detail = "maintenance — until 12:00 ☂"
    done = await finish(await start("venues", env={**environ, "TRINITY_READY_FILE": str(mesh.ready_file)}))
    assert (done.code, done.err) == (0, b"")
    assert b"okx: maintenance" in done.out


async def on_terminal(
    mesh: SmallMesh, *arguments: str, columns: int, rows: int = 24, until: bytes, stop: bool = False, **env: str
) -> tuple[int, str]:
    """Run on a pseudo-terminal until it shows something; the exit code and all that it showed."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environ = {"TERM": "xterm-256color", "TRINITY_READY_FILE": str(mesh.ready_file), "COLUMNS": "", "LINES": "", **env}
    process = await start(*arguments, stdin=far, stdout=far, stderr=far, env=environ)
    os.close(far)
    shown = b""

    def read() -> bytes:
        try:
            return os.read(near, 65_536)
        except OSError:  # Linux reports the end of a terminal as EIO
            return b""

    stopped = False
    async with asyncio.timeout(60):
        while piece := await asyncio.to_thread(read):
            shown += piece
            if stop and not stopped and until in shown:
                process.send_signal(signal.SIGINT)
                stopped = True
        code = await process.wait()
    os.close(near)
    text = shown.decode("utf-8", "replace")
    assert until.decode() in text, text
    return code, text


def plain(text: str) -> list[str]:
    """The lines without what switches bold and colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


async def test_in_a_terminal_the_table_has_headings(mesh: SmallMesh) -> None:
    code, text = await on_terminal(mesh, "price", "BTC", columns=140, until=b"coinbase,kraken")
    assert code == 0
    heading, row = plain(text)
    assert heading.split()[:2] == ["ASSET", "PRICE"]
    assert row.rstrip().endswith("simulated")


@pytest.mark.parametrize("columns", [100, 60, 40])
async def test_a_narrow_terminal_keeps_price_state_and_the_mark(columns: int, mesh: SmallMesh) -> None:
    code, text = await on_terminal(mesh, "price", "BTC", columns=columns, until=b"67000.10")
    assert code == 0
    heading, row = plain(text)
    assert max(len(heading), len(row)) <= columns
    assert row.split()[:3] == ["BTC", "67000.10", "FRESH"]
    assert row.rstrip().endswith("simulated")


async def test_a_terminal_too_narrow_for_a_table_cuts_no_word(mesh: SmallMesh) -> None:
    code, text = await on_terminal(mesh, "price", "BTC", columns=16, until=b"67000.10")
    assert code == 0
    assert " ".join(text.split()) == "BTC 67000.10 FRESH simulated"


async def test_the_board_shows_prices_arrows_and_that_they_are_simulated(mesh: SmallMesh) -> None:
    async def move() -> None:
        while True:
            await asyncio.sleep(0.05)
            value = mesh.prices.prices["BTC"].price
            mesh.prices.set("BTC", f"{float(value) + 1:.2f}")

    moving = asyncio.create_task(move())
    try:
        code, text = await on_terminal(mesh, "watch", columns=120, until="▲".encode(), stop=True)
    finally:
        moving.cancel()
    assert code == 130
    assert "SIMULATED PRICES, not market prices" in text
    assert "+1.00" in text
    assert "Traceback" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


def test_an_asset_that_has_not_moved_yet_has_moved_by_nothing() -> None:
    assert Moves().of("BTC") == 0


async def test_a_board_that_does_not_fit_says_how_many_are_hidden(mesh: SmallMesh) -> None:
    for number, asset in enumerate(("SOL", "DOGE", "XRP", "ADA", "LTC", "DOT")):
        mesh.prices.set(asset, str(number + 1))
    code, text = await on_terminal(mesh, "watch", columns=80, rows=8, until=b"and 4 more", stop=True)
    assert code == 130
    assert "BTC" in text


async def test_a_dumb_terminal_gets_lines(mesh: SmallMesh) -> None:
    code, text = await on_terminal(mesh, "watch", "BTC", "--count", "1", columns=80, until=b"BTC", TERM="dumb")
    assert code == 0
    assert "\x1b" not in text
