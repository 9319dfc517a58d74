"""`trinity feeds`: tools for the venues' frames."""

from __future__ import annotations

import sys

import click

from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import json_option
from trinity_core.venues import Venue
from trinity_feeds.decode import bounded_lines, decode_lines


@click.group()
def feeds() -> None:
    """Tools for the venues' frames."""


@feeds.command()
@click.option(
    "--venue", type=click.Choice([venue.value for venue in Venue]), required=True, help="Whose frames they are."
)
@json_option
def decode(venue: str, as_json: bool) -> int:
    """Read recorded frames from stdin, one a line, and print what they say.

    The output is JSON Lines, one tick a line, with or without --json; the counts go to stderr.
    """
    if sys.stdin.isatty():
        raise CommandError(
            "stdin is a terminal; frames are expected there",
            code=Exit.USAGE,
            hint=f"try `trinity feeds decode --venue {venue} < frames.jsonl`",
        )
    return decode_lines(Venue(venue), bounded_lines(sys.stdin.buffer), sys.stdout, sys.stderr)
