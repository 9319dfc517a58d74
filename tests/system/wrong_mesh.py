"""`trinity`, with gateways beside the mesh's own that bill wrongly on purpose; see wrong_gateway.py.

    python wrong_mesh.py up …

Each is one more process under the same supervisor, in front of the same services, with a port, a
spool and keys of its own: nothing about the mesh's own gateways differs.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from trinity_cli import running
from trinity_cli.main import main
from trinity_cli.plan import Places, Role
from trinity_mesh.supervise import Spec

WRONG = ("deltas", "no-adoption")


def with_wrong_gateways(places: Places, **asked: Any) -> list[Role]:
    planned = own_roles(places, **asked)
    first = next(role for role in planned if role.role == "gateway")
    for variant in WRONG:
        values = {
            **first.values,
            "http": "127.0.0.1:0",
            "reports_http": "127.0.0.1:0",
            "udp": {"listen": ["127.0.0.1:0"]},
            "reports_udp": {"listen": ["127.0.0.1:0"]},
            "admission": {
                **first.values["admission"],
                "spool": str(places.data_dir / f"spool-{variant}"),
                "keys_copy": str(places.data_dir / f"known-keys-{variant}"),
            },
        }
        planned.append(Role(variant, "gateway", values, first.depends_on))
    return planned


def spec_of(role: Role, **places: Any) -> Spec:
    spec = own_spec_of(role, **places)
    if role.name not in WRONG:
        return spec
    program = str(Path(__file__).with_name("wrong_gateway.py"))
    return dataclasses.replace(spec, argv=(sys.executable, program, role.name, *spec.argv[4:]))


if __name__ == "__main__":
    own_roles, own_spec_of = running.roles, running.spec_of
    running.roles, running.spec_of = with_wrong_gateways, spec_of
    main()
