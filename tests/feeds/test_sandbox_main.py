"""The sandbox as a process: ready file, arguments, signals, exit codes; and the small words it is made of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from feeds.sandbox_stage import GENEROUS_S
from trinity_core.venues import Venue
from trinity_feeds.sandbox.digits import fixed, number, share, trimmed
from trinity_feeds.sandbox.main import main, run_role
from trinity_feeds.sandbox.rest import Bucket, parse_request
from trinity_feeds.sandbox.stamps import go_time, rfc3339_ns, rfc3339_us

ROOT = Path(__file__).resolve().parents[2]


@contextlib.asynccontextmanager
async def process(ready_file: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trinity_feeds.sandbox", "--ready-file", str(ready_file), *arguments),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_it_writes_where_it_is_serves_and_ends_on_a_signal(tmp_path: Path, ending: signal.Signals) -> None:
    ready_file = tmp_path / "ready.json"
    script = tmp_path / "faults.json"
    script.write_text('[{"at_s": 0, "venue": "okx", "fault": "refuse", "for_s": 600, "status": 502}]')
    arguments = ("--rate", "50", "--seed", "3", "--asset", "BTC", "--faults", str(script), "--timer", "okx_idle_s=9")
    async with asyncio.timeout(GENEROUS_S), process(ready_file, *arguments) as running:
        while not ready_file.exists():
            assert running.returncode is None
            await asyncio.sleep(0.01)
        facts = json.loads(ready_file.read_text())
        assert set(facts) == {"pid", "control", *Venue}
        assert facts["pid"] == running.pid
        async with connect(facts["kraken"]["ws"], proxy=None) as kraken:
            assert json.loads(await kraken.recv())["channel"] == "status"
        async with httpx.AsyncClient(trust_env=False) as http:
            rows = (await http.get(facts["gateio"]["rest"] + "/api/v4/spot/tickers")).json()
            assert [row["currency_pair"] for row in rows] == ["BTC_USDT"]

            async def refused() -> bool:
                return (await http.get(facts["okx"]["rest"] + "/api/v5/public/time")).status_code == 502

            while not await refused():  # noqa: ASYNC110 - the other process sets no event
                await asyncio.sleep(0.01)
            assert (await http.get(facts["control"] + "/stats")).json()["venues"]["kraken"]["connections"] == 1
        running.send_signal(ending)
        assert await running.wait() == 0
        assert running.stderr is not None
        assert b"simulated" in await running.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rate", "0"), "ticks_per_s"),
        (("--port", "okx"), "name=value"),
        (("--port", "mtgox=1"), "venues are"),
        (("--timer", "nope_s=1"), "nope_s"),
        (("--timer", "okx_idle_s=0"), "okx_idle_s"),
        (("--delist", "BTC"), "kraken:BTC"),
    ],
)
def test_arguments_that_make_no_sense_are_a_configuration_error(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert main(arguments) == 78
    assert words in capsys.readouterr().err


def test_a_role_takes_its_settings_from_a_file_and_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"TRINITY_SANDBOX_SEED": "x", **os.environ}
    assert run_role(values={"ports": {"okx": 0}}, environ=environ, ready_file=None) == 78
    assert "seed" in capsys.readouterr().err
    assert run_role(values={"colour": "red"}, environ={}, ready_file=None) == 78


async def test_a_script_that_cannot_be_read_ends_the_process(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(GENEROUS_S),
        process(tmp_path / "ready", "--faults", str(tmp_path / "absent")) as running,
    ):
        _, err = await running.communicate()
        assert running.returncode == 1
        assert b"faults_file" in err
        assert not (tmp_path / "ready").exists()


def test_numbers_are_written_in_each_venues_way() -> None:
    assert [fixed(units, 2) for units in (9650000, 5, 0, -5, -12345)] == [
        "96500.00",
        "0.05",
        "0.00",
        "-0.05",
        "-123.45",
    ]
    assert fixed(7, 0) == "7"
    assert [trimmed(units, 2) for units in (9650000, 50, 5, 0)] == ["96500", "0.5", "0.05", "0"]
    assert trimmed(700, 0) == "700"
    assert [number(units, 5) for units in (5, 100000, 9650010000)] == ["5e-05", "1.0", "96500.1"]
    assert [share(1, 3, 4), share(-1, 3, 2), share(1, 0, 2)] == ["0.3333", "-0.33", "0.00"]


def test_times_are_written_in_each_venues_way() -> None:
    moment = 1_786_309_548_228_846_600
    assert rfc3339_ns(moment) == "2026-08-09T21:05:48.2288466Z"
    assert rfc3339_ns(moment // 10**9 * 10**9) == "2026-08-09T21:05:48Z"
    assert rfc3339_us(moment) == "2026-08-09T21:05:48.228846Z"
    assert go_time(moment, 41_691_260_485_341) == "2026-08-09 21:05:48.2288466 +0000 UTC m=+41691.260485341"


def test_a_bucket_fills_at_its_rate_and_not_beyond_its_size() -> None:
    bucket = Bucket(2, 3)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(500_000_000), bucket.take(500_000_000)] == [True, False]
    assert [bucket.take(10**12) for _ in range(4)] == [True, True, True, False]


def test_a_request_is_decoded() -> None:
    request = parse_request("/v1/a%2Fb/?x=1&x=2&y=%20")
    assert request.parts == ("v1", "a", "b")
    assert request.query == {"x": "2", "y": " "}
