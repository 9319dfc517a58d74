"""How a command reaches a part of the mesh: on this machine directly, on another with the operator's certificate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import grpc.aio

from trinity_cli.certificate_folder import CertificateFolder
from trinity_cli.exits import CommandError, Exit
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError
from trinity_mesh.identity import OPERATOR, Identity
from trinity_mesh.tls_config import TlsConfig, is_local


def dial(address: str, service: str, environ: Mapping[str, str] = os.environ) -> grpc.aio.Channel:
    """A channel to a service.

    On another machine it goes by mutual TLS where $TRINITY_CERTS names a folder with the operator's certificate; else
    the address is of a port for callers with keys. Raises CommandError for certificates that are not good.
    """
    folder = environ.get("TRINITY_CERTS")
    if not folder or is_local(address):
        return open_channel(address)
    try:
        config = TlsConfig(**CertificateFolder(Path(folder)).tls(OPERATOR))
        identity = Identity(config, service=OPERATOR, clock=SystemClock())
    except ConfigError as error:
        raise CommandError(str(error), code=Exit.USAGE, hint="$TRINITY_CERTS names the folder") from error
    return open_channel(address, identity=identity, service=service)
