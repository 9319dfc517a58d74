"""Where an export goes: stdout, or a file that is there only once it is complete; and a bar while it takes long."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import click
from rich.progress import BarColumn, FileSizeColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import Terminal
from trinity_mesh.clock import Clock


class Written:
    """Takes an export's bytes to a file, and shows on a terminal how far it is."""

    def __init__(self, file: IO[bytes], name: str, bar: Bar) -> None:
        self._file = file
        self._name = name
        self._bar = bar

    def take(self, data: bytes, rows: int) -> None:
        """See `trinity_cli.report_calls.Sink`."""
        try:
            self._file.write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _cannot_write(self._name, error) from error
        self._bar.show(len(data), rows)


@contextlib.contextmanager
def to_stdout(clock: Clock) -> Iterator[Written]:
    """Stdout. What was written before something failed is written."""
    sys.stdout.flush()
    # A bar between the rows would be in the way of both.
    with Bar(clock, wanted=not sys.stdout.isatty()) as bar:
        yield Written(sys.stdout.buffer, "stdout", bar)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def to_file(path: Path, clock: Clock) -> Iterator[Written]:
    """A file beside `path`, which takes its name when the block ends, and is removed when it raises.

    Raises UsageError when there can be no such file.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise click.UsageError(f"{path} is no file; without --output the export goes to stdout")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        file = beside.open("xb")
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from error
    try:
        with file, Bar(clock, wanted=True) as bar:
            yield Written(file, str(path), bar)
            try:
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise _cannot_write(str(path), error) from error
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class Bar:
    """Progress on stderr, where that is a terminal, of an export that takes long."""

    def __init__(self, clock: Clock, *, wanted: bool) -> None:
        self._clock = clock
        self._wanted = wanted and sys.stderr.isatty()
        self._began_ns = clock.monotonic_ns()
        self._bytes = 0
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, size: int, rows: int) -> None:
        """So many bytes more, and so many rows in all."""
        self._bytes += size
        if not self._wanted:
            return
        if self._progress is None:
            if self._clock.monotonic_ns() - self._began_ns < _LONG_NS:
                return
            self._progress = _progress()
            self._progress.start()
            # How many there will be, nobody knows: the rows are read as they are sent.
            self._progress.add_task("export", total=None, rows=0)
        self._progress.update(self._progress.task_ids[0], completed=self._bytes, rows=rows)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.fields[rows]:,} rows"),
        BarColumn(),
        FileSizeColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Terminal(stderr=True, highlight=False),
        transient=True,
    )


def _cannot_write(name: str, error: OSError) -> CommandError:
    return CommandError(f"cannot write {name}: {error.strerror}", code=Exit.UNAVAILABLE, hint="the export is not whole")


_LONG_NS: Final = 1_000_000_000
"""An export that takes less shows no bar."""
