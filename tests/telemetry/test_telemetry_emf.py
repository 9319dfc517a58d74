"""CloudWatch's lines keep the format's rules, are written once a period, and lose no minute at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from price.virtual_clock import VirtualClock
from telemetry.emf_rules import check_line
from trinity_mesh.telemetry.config import TelemetryConfig
from trinity_mesh.telemetry.emf import Entry, line_of
from trinity_mesh.telemetry.emf_writer import EmfSources, EmfWriter
from trinity_mesh.telemetry.files import LinesFile

ENTRY = Entry("TrinityBeast/LPO", {"Service": "LPO"}, (("Service",),), {"Requests": ("Count", 3.0)})
NOW_MS = 1_790_000_000_000


def test_a_line_keeps_the_rules_of_the_format() -> None:
    root = check_line(line_of(ENTRY, unix_ms=NOW_MS), now_ms=NOW_MS)
    assert root["Requests"] == 3
    assert root["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "TrinityBeast/LPO"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Entry("", {"S": "x"}, (("S",),), {"M": ("Count", 1)}), "namespace"),
        (Entry("N", {"S": "x"}, (("T",),), {"M": ("Count", 1)}), "each with a value"),
        (Entry("N", {"S": ""}, (("S",),), {"M": ("Count", 1)}), "1 to 1,024 characters"),
        (Entry("N", {"S": "x"}, (("S",),), {}), "1 to 100 metrics"),
        (Entry("N", {"S": "x"}, (("S",),), {f"M{n}": ("Count", 1) for n in range(101)}), "1 to 100 metrics"),
        (Entry("N", {"S": "x"}, (("S",),), {"S": ("Count", 1)}), "name of a dimension"),
        (Entry("N", {"S": "x"}, (("S",),), {"M": ("Furlongs", 1)}), "Furlongs"),
        (
            Entry("N", {f"D{n}": "x" for n in range(31)}, (tuple(f"D{n}" for n in range(31)),), {"M": ("Count", 1)}),
            "30",
        ),
    ],
)
def test_an_entry_that_the_format_does_not_allow_is_refused(entry: Entry, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        line_of(entry, unix_ms=NOW_MS)


async def test_a_lot_is_written_each_period_and_a_last_one_at_the_end(tmp_path: Path) -> None:
    clock = VirtualClock()
    path = tmp_path / "emf.log"
    sources = EmfSources(clock=clock)
    writer = EmfWriter(TelemetryConfig(emf=str(path)), sources=sources, clock=clock)
    with sources.telling(lambda: [ENTRY]):
        running = asyncio.create_task(writer.run())
        await clock.advance(61)
        assert len(path.read_bytes().splitlines()) == 1
        await clock.advance(60)
        assert len(path.read_bytes().splitlines()) == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    lines = path.read_bytes().splitlines()
    assert len(lines) == 3
    for line in lines:
        check_line(line, now_ms=clock.unix_ns() // 1_000_000)


async def test_a_source_that_fails_keeps_no_other_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    sources = EmfSources(clock=VirtualClock())

    def broken() -> list[Entry]:
        raise RuntimeError("boom")

    with sources.telling(broken), sources.telling(lambda: [ENTRY]):
        assert len(sources.lines()) == 1
    assert "cannot be read" in caplog.text


def test_a_file_of_lines_never_grows_beyond_twice_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file = LinesFile(path, bytes_max=1_000)
    for _ in range(100):
        file.write([b"x" * 99])
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 2_200
    assert path.with_name("lines.1").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("emf_period_s", 0), ("log_form", "xml"), ("log_level", "LOUD"), ("listen", "9464"), ("emf_file_mib_max", 0)],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        TelemetryConfig(**{name: value})  # type: ignore[arg-type]
