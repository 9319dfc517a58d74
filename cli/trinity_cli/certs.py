"""`trinity certs`: a CA of the mesh's own, and a certificate for each part, for mutual TLS between hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trinity_cli.certificate_folder import SERVICES, CertificateFolder
from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import Column, Output, json_option
from trinity_mesh.certificates import moment
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError

_COLUMNS = (
    Column("FILE", needed=True),
    Column("NAME", needed=True),
    Column("ENDS", needed=True),
    Column("LEFT", right=True, needed=True),
    Column("HOSTS", wraps=True),
)
_DAY_NS = 86_400_000_000_000

_folder = click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="TRINITY_CERTS",
    help="Folder of the files. [default: $TRINITY_CERTS or ./certs]",
)


@click.group(invoke_without_command=True)
@_folder
@click.option("--host", "hosts", multiple=True, metavar="NAME|IP", help="Host that certificates are good for besides.")
@click.option(
    "--service", "services", multiple=True, type=click.Choice(SERVICES), help="Only these. [default: every part]"
)
@click.option(
    "--days", type=click.IntRange(1, 825), default=90, show_default=True, help="How long a certificate lasts."
)
@click.option("--ca-days", type=click.IntRange(1, 36_500), default=3_650, show_default=True, help="Likewise, a new CA.")
@click.option("--trust-domain", help="The mesh's name. [default: that of the CA there, else trinity.internal]")
@click.option("--renew", is_flag=True, help="Renew every certificate, also those that are good for long.")
@click.option("--new-ca", is_flag=True, help="Make a new CA beside the one there, which goes on vouching.")
@click.option("--drop-old-ca", is_flag=True, help="Take former CAs out, once nothing is theirs any more.")
@json_option
@click.pass_context
def certs(
    context: click.Context,
    /,
    *,
    folder: Path | None,
    hosts: tuple[str, ...],
    services: tuple[str, ...],
    trust_domain: str | None,
    drop_old_ca: bool,
    as_json: bool,
    **how: Any,
) -> int:
    """Make a CA and a certificate for each part of the mesh, or renew what ends soon.

    Run it again whenever: what has more than a third of its time left is kept. A CA that is there is never
    replaced; --new-ca puts another beside it.
    """
    if context.invoked_subcommand is not None:
        return Exit.OK
    kept_in = CertificateFolder(folder or Path("certs"))
    now_ns = SystemClock().unix_ns()
    output = Output(as_json=as_json)
    try:
        if drop_old_ca:
            return _told(output, {"dropped": kept_in.drop_old()}, "{dropped} former CA(s) taken out")
        there = (kept_in.path / "ca.pem").exists()
        domain = trust_domain or (kept_in.trust_domain() if there else "trinity.internal")
        made = kept_in.make(trust_domain=domain, services=services or SERVICES, hosts=hosts, now_ns=now_ns, **how)
    except (ConfigError, ValueError) as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
    except OSError as error:
        raise CommandError(f"cannot write into {kept_in.path}: {error.strerror}", code=Exit.USAGE) from error
    ca_ends_ns = kept_in.show()[0].ends_ns
    if ca_ends_ns - now_ns < how["days"] * _DAY_NS:
        output.warn(
            f"the CA ends on {moment(ca_ends_ns)}, and with it what it makes: docs/identity.md tells how to change it"
        )
    document = {
        "folder": str(kept_in.path),
        "trust_domain": domain,
        "new_ca": made.new_authority,
        "renewed": list(made.renewed),
        "kept": list(made.kept),
    }
    words = f"{'a new CA; ' if made.new_authority else ''}{len(made.renewed)} made, {len(made.kept)} kept in {{folder}}"
    return _told(output, document, words)


@certs.command()
@_folder
@json_option
def show(*, folder: Path | None, as_json: bool) -> int:
    """Print the names and ends of the certificates there; the exit code is 4 if one is over."""
    output = Output(as_json=as_json)
    now_ns = SystemClock().unix_ns()
    try:
        found = CertificateFolder(folder or Path("certs")).show()
    except ConfigError as error:
        raise CommandError(str(error), code=Exit.USAGE, hint="`trinity certs` makes certificates") from error
    if as_json:
        rows = [
            {"file": str(each.file), "name": each.name, "hosts": list(each.hosts), "ends": moment(each.ends_ns)}
            for each in found
        ]
        output.document({"certificates": rows})
    else:
        output.table(
            _COLUMNS,
            [
                (
                    each.file.name,
                    each.name,
                    moment(each.ends_ns),
                    f"{max(0, each.ends_ns - now_ns) // _DAY_NS} d",
                    ",".join(each.hosts),
                )
                for each in found
            ],
        )
    return Exit.OK if all(each.ends_ns > now_ns for each in found) else Exit.UNAVAILABLE


def _told(output: Output, document: dict[str, Any], words: str) -> int:
    if output.as_json:
        output.document(document)
    else:
        output.line(words.format(**document))
    return Exit.OK
