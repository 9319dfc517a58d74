"""The `trinity` command: which commands there are, loaded only when called, and how each ends."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import click

from trinity_cli.exits import Exit
from trinity_core.errors import TrinityError


class Entry(NamedTuple):
    """One command, not loaded yet."""

    target: str
    """"module:attribute" of a click command."""
    summary: str
    """Its line in `trinity --help`."""


COMMANDS: Mapping[str, Entry] = MappingProxyType(
    {
        "up": Entry("trinity_cli.up:up", "Run the whole mesh on this machine."),
        "serve": Entry("trinity_cli.serve:serve", "Run the parts of one mode, beside other machines."),
        "price": Entry("trinity_cli.price:price", "Show the price of one or more assets."),
        "watch": Entry("trinity_cli.watch:watch", "Follow prices as they change."),
        "explain": Entry("trinity_cli.explain:explain", "Show every input of a price, and who was left out and why."),
        "venues": Entry("trinity_cli.venues:venues", "Show the connections to the exchanges."),
        "top": Entry("trinity_cli.top:top", "Show what the mesh is doing, live."),
        "udp": Entry("trinity_cli.udp:udp", "Ask for prices, or the totals of a key, over UDP."),
        "check": Entry("trinity_cli.check:check", "Say whether the mesh is reachable and sane."),
        "certs": Entry("trinity_cli.certs:certs", "Make certificates for a mesh of several hosts."),
        "key": Entry("trinity_cli.key_commands:key", "Make, list, rotate and revoke API keys."),
        "associate": Entry("trinity_cli.associate_commands:associate", "Make, show and change customers."),
        "plan": Entry("trinity_cli.plan_commands:plan", "Make, show and change plans."),
        "report": Entry("trinity_cli.report_commands:report", "List, sum up and export what was answered."),
        "webhook": Entry("trinity_cli.webhook_commands:webhook", "Have prices and alerts pushed, and receive them."),
        "sync": Entry("trinity_cli.sync:sync", "Copy the usage log into the cache."),
        "replay": Entry("trinity_cli.replay:replay", "Make prices of a recorded tick file."),
        "gateway": Entry("trinity_cli.gateway:gateway", "Serve anybody's gRPC service as HTTP/JSON."),
        "openapi": Entry(
            "trinity_cli.openapi:openapi", "Print the OpenAPI document of a port, or of anybody's service."
        ),
        "feeds": Entry("trinity_cli.feeds:feeds", "Tools for the venues' frames."),
    }
)
"""Every command by its name, in the order of `trinity --help`."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None when there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], list(COMMANDS), n=1)
            hint = f"did you mean `trinity {near[0]}`?" if near else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the number it returns is the exit code."""
        try:
            result = super().invoke(ctx)
        except BrokenPipeError:
            # The reader has seen enough.
            abandon_stdout()
            result = Exit.OK
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)
            result = Exit.INTERRUPTED
        ctx.exit(result if isinstance(result, int) else Exit.OK)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="trinity-beast", message="trinity %(version)s")
def cli() -> None:
    """Real-time cryptocurrency prices from six exchanges: one trustworthy price per asset."""


def main() -> None:
    """Entry point of the `trinity` script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Whatever happens, no traceback (TRINITY_DEBUG=1 shows it)."""
    # grpc writes failed connections to stderr by itself; our own message says more.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        # A locale that lacks a character must not cost the answer.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    code = _invoke(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()
    return code


def abandon_stdout() -> None:
    """Send what is still buffered nowhere, so that it does not fail when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _invoke(arguments: Sequence[str]) -> int:
    try:
        return int(cli.main(list(arguments), prog_name="trinity", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return Exit.INTERRUPTED
    except Exception as error:
        if os.environ.get("TRINITY_DEBUG"):
            raise
        told = error.message if isinstance(error, TrinityError) else f"{type(error).__name__}: {error}"
        click.echo(f"trinity: {told}\n  this should not happen; TRINITY_DEBUG=1 shows where it did", err=True)
        return Exit.BUG


if __name__ == "__main__":
    main()
