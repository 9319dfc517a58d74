"""`trinity gateway`: HTTP/JSON for anybody's gRPC service, from its descriptor set."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import click

from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import json_option
from trinity_core.errors import TrinityError
from trinity_http.foreign import run_foreign_gateway
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError


@click.command()
@click.option(
    "--descriptor-set",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="What `protoc --include_imports --include_source_info --descriptor_set_out` wrote.",
)
@click.option("--backend", required=True, metavar="ADDRESS", help='The gRPC server: "host:port" or "unix:/path".')
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDRESS", help="Where to serve HTTP.")
@click.option(
    "--keys-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON file with the hashes and scopes of the keys that may call.",
)
@click.option("--allow-unauthenticated", is_flag=True, help="Let everybody call, without a key.")
@click.option("--ignore-unknown-fields", is_flag=True, help="Take requests with names that the contract does not have.")
@json_option
def gateway(
    *,
    descriptor_set: Path,
    backend: str,
    listen: str,
    keys_file: Path | None,
    allow_unauthenticated: bool,
    ignore_unknown_fields: bool,
    as_json: bool,
) -> int:
    """Serve every method of a descriptor set that has google.api.http as HTTP/JSON, until Ctrl-C.

    The document is at /openapi.json, a page to try it at /docs.
    """

    def told(address: str) -> None:
        if as_json:
            print(json.dumps({"http": address}), flush=True)
        else:
            print(f"trinity: serving http://{address} for {backend}; Ctrl-C stops", file=sys.stderr, flush=True)

    async def serve() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await run_foreign_gateway(
            descriptor_set=descriptor_set,
            backend=backend,
            listen=listen,
            stopping=stopping,
            clock=SystemClock(),
            keys_file=keys_file,
            allow_unauthenticated=allow_unauthenticated,
            ignore_unknown_fields=ignore_unknown_fields,
            version=version("trinity-beast"),
            on_serving=told,
        )

    try:
        asyncio.run(serve())
    except ConfigError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
    except TrinityError as error:
        raise CommandError(error.message, code=Exit.UNAVAILABLE) from error
    return Exit.OK
