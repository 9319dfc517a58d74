"""`trinity openapi`: the OpenAPI 3.1 document of a port, or of anybody's descriptor set, with nothing running."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from trinity_cli.exits import CommandError, Exit
from trinity_cli.gateway_role import PRICE_PORT, REPORT_PORT
from trinity_http.contract import Contract, ContractError
from trinity_http.document import document_of
from trinity_http.foreign import foreign_settings
from trinity_http.main import own_contract
from trinity_http.prices import PriceAnswers
from trinity_http.settings import GatewaySettings


@click.command()
@click.option("--reports", is_flag=True, help="The document of the report port in place of the price port's.")
@click.option(
    "--descriptor-set",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The document of every service in this set, as `trinity gateway` serves it.",
)
@click.option("--allow-unauthenticated", is_flag=True, help="With --descriptor-set: calls need no key.")
@click.option("--ignore-unknown-fields", is_flag=True, help="With --descriptor-set: unknown names are taken.")
def openapi(
    *, reports: bool, descriptor_set: Path | None, allow_unauthenticated: bool, ignore_unknown_fields: bool
) -> int:
    """Print the OpenAPI 3.1 document that a gateway serves at /openapi.json."""
    if descriptor_set is None:
        if allow_unauthenticated or ignore_unknown_fields:
            raise CommandError(
                "--allow-unauthenticated and --ignore-unknown-fields need --descriptor-set", code=Exit.USAGE
            )
        document = _own(reports=reports)
    elif reports:
        raise CommandError("--reports and --descriptor-set exclude each other", code=Exit.USAGE)
    else:
        try:
            document = _foreign(
                descriptor_set, secured=not allow_unauthenticated, ignore_unknown_fields=ignore_unknown_fields
            )
        except ContractError as error:
            raise CommandError(f"{descriptor_set}: {error}", code=Exit.USAGE) from error
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    return Exit.OK


def _own(*, reports: bool) -> dict[str, Any]:
    return asyncio.run(
        document_of(
            Contract.of(own_contract()),
            services=REPORT_PORT if reports else PRICE_PORT,
            settings=GatewaySettings(),
            secured=True,
            conditional=() if reports else PriceAnswers.conditional,
        )
    )


def _foreign(descriptor_set: Path, *, secured: bool, ignore_unknown_fields: bool) -> dict[str, Any]:
    contract = Contract.of(descriptor_set.read_bytes())
    settings = foreign_settings(
        contract,
        version=version("trinity-beast"),
        ignore_unknown_fields=ignore_unknown_fields,
        secured=secured,
    )
    services = [service.full_name for service in contract.services]
    return asyncio.run(document_of(contract, services=services, settings=settings, secured=secured))
