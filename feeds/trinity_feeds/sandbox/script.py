"""Makes what the settings ask for: where quotes come from, and which faults will happen."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

from trinity_core.assets import AssetTable
from trinity_core.errors import invalid_field
from trinity_feeds.sandbox.faults import Fault, parse_script, random_faults
from trinity_feeds.sandbox.market import MarketDrive
from trinity_feeds.sandbox.quotes import Drive
from trinity_feeds.sandbox.replay import ReplayDrive
from trinity_feeds.sandbox.settings import SandboxSettings


def make_drive(settings: SandboxSettings, table: AssetTable) -> Drive:
    """The generator, or the recordings.

    Raises TrinityError for an unknown asset or a file that cannot be played.
    """
    if not settings.replay_files:
        return MarketDrive(table=table, settings=settings)
    drive = ReplayDrive(table=table, gap_s_max=settings.replay_gap_s_max)
    return drive.read(Path(path) for path in settings.replay_files)


def make_script(settings: SandboxSettings, script: Sequence[Fault], table: AssetTable) -> Iterator[Fault]:
    """All faults in order of time: those given, those of the file, and random ones.

    Raises TrinityError for a file that is no script.
    """
    parts: list[Sequence[Fault] | Iterator[Fault]] = [sorted(script, key=lambda fault: fault.at_s)]
    if settings.faults_file:
        try:
            text = Path(settings.faults_file).read_bytes()
        except OSError as error:
            raise invalid_field("faults_file", f"cannot read {settings.faults_file}: {error.strerror}") from error
        parts.append(parse_script(text, table))
    if settings.faults_per_minute > 0:
        assets = settings.assets or table.ids
        parts.append(random_faults(seed=settings.seed, per_minute=settings.faults_per_minute, assets=assets))
    return heapq.merge(*parts, key=lambda fault: fault.at_s)
