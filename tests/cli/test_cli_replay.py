"""`trinity replay` and `trinity feeds decode`: files in, lines out, the same every time."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.processes import Done, finish, start
from trinity_cli.main import cli
from trinity_core.ticklog import Record, write
from trinity_core.ticks import Tick
from trinity_core.venues import Venue

SECOND = 1_000_000_000
UNIX_NS = 1_767_322_800 * SECOND


def tick(venue: Venue, symbol: str, price: str, *, at_ns: int) -> Record:
    value = Decimal(price)
    return Record(
        at_ns, Tick(venue, "BTC", symbol, "USD", value, value, value, None, None, None, UNIX_NS + at_ns, at_ns)
    )


LOG = [
    tick(Venue.COINBASE, "BTC-USD", "67000.10", at_ns=SECOND),
    tick(Venue.KRAKEN, "BTC/USD", "67001.25", at_ns=2 * SECOND),
    Record(90 * SECOND),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "ticks.jsonl"
    path.write_bytes(b"".join(map(write, LOG)))
    return path


def run(*arguments: object, env: dict[str, str] | None = None, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(
        cli, [str(argument) for argument in arguments], env=env, input=stdin, catch_exceptions=False
    )


def test_a_log_gives_its_prices_in_order(log: Path) -> None:
    done = run("replay", log)
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[1:4] for row in rows[:2]] == [["BTC", "67000.10", "FRESH"], ["BTC", "67000.675", "FRESH"]]
    assert rows[-1][3] in ("STALE", "HALTED")


def test_json_lines_have_the_names_of_the_contract_and_claim_nothing_of_the_sandbox(log: Path) -> None:
    done = run("replay", log, "--json")
    prices = [json.loads(line) for line in done.stdout.splitlines()]
    assert prices[1]["price"] == "67000.675"
    assert prices[1]["sources"] == ["coinbase", "kraken"]
    assert prices[1]["receiveTime"] == "2026-01-02T03:00:02Z"
    assert prices[1]["freshUntil"] > prices[1]["receiveTime"]
    assert not {"sandbox", "epoch"} & set(prices[1])


async def test_two_runs_are_equal_byte_for_byte(log: Path) -> None:
    runs: list[Done] = [
        await finish(await start("replay", log, "--json", env={"PYTHONHASHSEED": seed})) for seed in "12"
    ]
    assert runs[0].out
    assert runs[0] == runs[1]


def test_the_bounds_of_the_price_service_hold(log: Path) -> None:
    tight = run(
        "replay", log, "--json", env={"TRINITY_PRICE_BOOK_FRESH_MS": "500", "TRINITY_PRICE_BOOK_CONFIRM_MS": "400"}
    )
    states = [json.loads(line)["state"] for line in tight.stdout.splitlines()]
    assert states[1] == "STATE_DELAYED"
    wrong = run("replay", log, env={"TRINITY_PRICE_BOOK_FRESH_MS": "soon"})
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "docs/configuration.md" in wrong.stderr


def test_only_the_assets_named_are_printed(log: Path) -> None:
    assert run("replay", log, "--asset", "ETH").stdout == ""
    assert run("replay", log, "--asset", "btc").stdout == run("replay", log).stdout
    unknown = run("replay", log, "--asset", "BTX")
    assert unknown.exit_code == 3
    assert "did you mean" in unknown.stderr


def test_a_log_may_come_through_stdin(log: Path) -> None:
    assert run("replay", "-", stdin=log.read_bytes()).stdout == run("replay", log).stdout


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"garbage\n", b'{"t": 1}\n', b"x" * 100_000])
def test_a_line_that_is_no_record_is_named_and_what_came_before_is_printed(line: bytes, log: Path) -> None:
    log.write_bytes(log.read_bytes() + line)
    done = run("replay", log)
    assert done.exit_code == 3
    assert "67000.675" in done.stdout
    assert "line 4" in done.stderr
    assert len(done.stderr) < 1_000


def test_a_file_that_is_missing_is_wrong_usage(tmp_path: Path) -> None:
    assert run("replay", tmp_path / "none").exit_code == 2
    assert run("replay", tmp_path).exit_code == 2


FRAME = {
    "type": "ticker",
    "sequence": 7,
    "product_id": "BTC-USD",
    "price": "67000.10",
    "best_bid": "67000.00",
    "best_ask": "67000.20",
    "volume_24h": "1234.5",
    "time": "2026-01-02T03:00:00.123456Z",
}


def test_frames_become_ticks_and_the_counts_go_to_stderr() -> None:
    done = run("feeds", "decode", "--venue", "coinbase", stdin=json.dumps(FRAME).encode() + b"\nnonsense\n")
    assert done.exit_code == 0
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["asset"], found["bid"], found["ask"]) == ("BTC", "67000.00", "67000.20")
    assert json.loads(done.stderr)["invalid"] == 1


@pytest.mark.parametrize("arguments", [["decode"], ["decode", "--venue", "nasdaq"], ["encode"], []])
def test_wrong_usage_of_the_tools_is_exit_code_two(arguments: list[str]) -> None:
    assert run("feeds", *arguments).exit_code == 2
