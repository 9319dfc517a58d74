"""The OpenAPI document of a contract without a gateway that runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import grpc.aio

from trinity_http.contract import Contract
from trinity_http.core import Core
from trinity_http.openapi import openapi_document
from trinity_http.settings import GatewaySettings


async def document_of(
    contract: Contract,
    *,
    services: Collection[str],
    settings: GatewaySettings,
    secured: bool,
    conditional: Collection[str] = (),
) -> dict[str, Any]:
    """What a gateway with these `services`, by full name, would serve at /openapi.json.

    `secured` and `conditional` are those of `openapi_document`. Raises ContractError for a rule
    that cannot be served.
    """
    # Routes are bound to a channel, which connects only when it is used.
    async with grpc.aio.insecure_channel("unix:/nowhere") as channel:
        core = Core(
            contract=contract,
            channels=dict.fromkeys(services, channel),
            settings=settings,
            authenticator=None,
            admission=None,
            resumes={},
            patience={},
            live=None,
        )
        return openapi_document(
            core.contract, core.endpoints, settings=settings, secured=secured, conditional=conditional
        )
