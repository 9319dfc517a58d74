"""The page's shell function, as it stands there, against a real endpoint; it needs openssl and nc."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from trinity_mesh.clock import SystemClock
from trinity_udp.config import UdpConfig
from trinity_udp.main import make_price_endpoint
from udp.counter import ASSETS, Shelf, make_price
from udp.office import MASTER, Office, holder

PAGE = Path(__file__).resolve().parents[2] / "docs/udp.md"


def function() -> str:
    """The block of the page that defines `udp`."""
    page = PAGE.read_text("utf-8")
    blocks = [each for each in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "udp()" in each]
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) == 3, "the page says that it has three lines"
    return blocks[0]


@pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "nc", "openssl"))), reason="this machine lacks nc or openssl, which the page uses"
)
async def test_three_lines_of_shell_sign_a_question_and_get_its_answer(shelf: Shelf) -> None:
    office = Office(holder(), clock=SystemClock())
    async with make_price_endpoint(
        config=UdpConfig(listen=("127.0.0.1:0",)),
        replica=shelf,
        assets=ASSETS,
        lookup=None,
        clock=SystemClock(),
        doors=office.doors,
    ) as endpoint:
        host, _, port = endpoint.addresses[0].rpartition(":")
        shelf.prices["ETH"] = make_price("ETH", "3000.5")
        script = function() + f"udp 'GET BTC,ETH USD id=7' {host} {port}; udp 'GET BTC USD' {host} {port}"
        shell = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            script,
            env={"PATH": "/usr/bin:/bin", "SESSION": office.session.text, "KEY": office.session.key(MASTER).hex()},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await shell.communicate()
    assert told.decode().splitlines() == [
        "OK 7 BTC 67000.10 USD 1767322800 6 F",
        "OK 7 ETH 3000.5 USD 1767322800 6 F",
        "OK - BTC 67000.10 USD 1767322800 6 F",
    ]
    assert sum(office.counted().values()) == 3
