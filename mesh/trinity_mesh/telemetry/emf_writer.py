"""Writes the embedded metric format once a period, to stdout or to a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.telemetry.config import TelemetryConfig
from trinity_mesh.telemetry.emf import EmfSource, line_of
from trinity_mesh.telemetry.files import LinesFile

log = logging.getLogger(__name__)

STDOUT: Final = "stdout"


class EmfSources:
    """What one process tells CloudWatch: its parts add what they have to tell while they run."""

    def __init__(self, *, clock: Clock) -> None:
        self._sources: list[EmfSource] = []
        self._left: list[bytes] = []
        self._clock = clock

    @contextmanager
    def telling(self, source: EmfSource) -> Iterator[None]:
        """Ask this one too while the block runs; what it has to say at the end is kept until somebody asks."""
        self._sources.append(source)
        try:
            yield
        finally:
            self._sources.remove(source)
            self._left.extend(self._lines([source]))

    def lines(self) -> list[bytes]:
        """What happened since this was asked last."""
        left, self._left = self._left, []
        return left + self._lines(self._sources)

    def _lines(self, sources: Iterable[EmfSource]) -> list[bytes]:
        unix_ms = self._clock.unix_ns() // 1_000_000
        lines: list[bytes] = []
        for source in sources:
            try:
                lines += [line_of(entry, unix_ms=unix_ms) for entry in source()]
            except Exception:
                log.exception("a source of metrics for CloudWatch cannot be read")
        return lines


@cache
def process_emf() -> EmfSources:
    """Those of this process: like its log, there is one."""
    return EmfSources(clock=SystemClock())


class EmfFile:
    """Where the lines go: stdout, or a file."""

    def __init__(self, config: TelemetryConfig) -> None:
        """`config.emf` says where; it must not be empty."""
        self._write: Callable[[Iterable[bytes]], None] = _print
        if config.emf != STDOUT:
            self._write = LinesFile(Path(config.emf), bytes_max=config.emf_file_mib_max << 20).write
        self._failing = False

    def write(self, lines: Iterable[bytes]) -> None:
        """One lot. What cannot be written is lost, and said so in the log."""
        try:
            self._write(lines)
        except OSError as error:
            if not self._failing:
                log.warning("metrics for CloudWatch cannot be written: %s", error)
            self._failing = True
        else:
            self._failing = False


class EmfWriter:
    """Asks a process's sources once a period and writes what they say."""

    def __init__(self, config: TelemetryConfig, *, sources: EmfSources, clock: Clock) -> None:
        """`config.emf` says where to; it must not be empty."""
        self._sources = sources
        self._clock = clock
        self._period_s = config.emf_period_s
        self._file = EmfFile(config)

    async def run(self) -> None:
        """Write until cancelled, and once more then: the last minute counts too."""
        try:
            while True:
                await self._clock.sleep(self._period_s)
                self._file.write(self._sources.lines())
        finally:
            self._file.write(self._sources.lines())


def _print(lines: Iterable[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    if data:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
