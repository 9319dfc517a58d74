"""The examples that a customer copies run, and print what the page lets one expect."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from price.small_price import SmallPrice
from price.virtual_clock import until
from trinity_core.venues import Venue

PAGE = Path(__file__).resolve().parents[2] / "docs/clients/python.md"
ADDRESS = "127.0.0.1:50051"


def example(number: int, address: str) -> Callable[[], Coroutine[Any, Any, None]]:
    """`main` of the page's example of that number, pointed at our service."""
    block = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[number]
    assert ADDRESS in block
    code = block.replace(ADDRESS, address).replace("asyncio.run(main())", "")
    names: dict[str, Any] = {}
    exec(compile(code, PAGE.name, "exec"), names)
    main: Callable[[], Coroutine[Any, Any, None]] = names["main"]
    return main


@pytest.fixture
async def small() -> AsyncIterator[SmallPrice]:
    with tempfile.TemporaryDirectory() as folder:
        made = SmallPrice(Path(folder))
        async with made.running():
            await made.say(
                [
                    made.tick(Venue.COINBASE, "BTC", "100"),
                    made.tick(Venue.KRAKEN, "BTC", "101"),
                    made.tick(Venue.GEMINI, "BTC", "102"),
                ]
            )
            yield made


async def test_the_example_of_the_replica_runs(small: SmallPrice, capsys: pytest.CaptureFixture[str]) -> None:
    running = asyncio.create_task(example(0, small.address)())
    printed = ""

    def has_printed(text: str) -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        assert not running.done() or running.result() is None
        return text in printed

    await until(lambda: has_printed("BTC 101 FRESH\n"))
    assert "BTC 101 USD ± 1 from coinbase, gemini, kraken\n" in printed
    await small.clock.advance(0.1)
    await small.say([small.tick(Venue.KRAKEN, "BTC", "101.5")])
    await until(lambda: has_printed("BTC 101.5 FRESH\n"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_example_of_the_calls_runs(small: SmallPrice, capsys: pytest.CaptureFixture[str]) -> None:
    await small.clock.advance(1)
    async with asyncio.timeout(30):
        await example(1, small.address)()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "101 ['coinbase', 'gemini', 'kraken']"
    assert lines[1] == "BTC 101"
    assert lines[3].startswith("no asset 'NOPE'")
    assert lines[4].startswith("too old; try again in ")
    assert "kraken 101 kept" in lines
    assert lines[-1].startswith("['BTC', ")
