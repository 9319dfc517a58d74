"""The roles a process can play: `python -m trinity_cli.roles ROLE --config FILE --ready-file FILE`.

A supervisor starts every process of a mesh this way, by exec. The configuration file holds
the section of the role as JSON; the environment (TRINITY_<SECTION>_<SETTING>) overrides it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

from trinity_mesh.process import EXIT_CONFIG


class RoleMain(Protocol):
    """Runs one part as this process and returns its exit code."""

    def __call__(self, *, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None) -> int:
        """`values` is the part's section of the configuration."""
        ...


ROLES: Mapping[str, str] = MappingProxyType(
    {
        "sandbox": "trinity_feeds.sandbox.main:run_role",
        "feeds": "trinity_feeds.main:main",
        "price": "trinity_price.main:main",
        "account": "trinity_account.main:main",
        "usage": "trinity_usage.main:main",
        "report": "trinity_report.main:main",
        "sync": "trinity_sync.main:main",
        "webhook": "trinity_webhook.main:main",
        "webhook_worker": "trinity_webhook.worker:main",
        "gateway": "trinity_cli.gateway_role:main",
    }
)
"""Where each role's entry is; imported only by the process that plays it."""


def main() -> int:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m trinity_cli.roles", description="Play one role of the mesh.")
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--config", type=Path, help="JSON file with the settings of the role")
    parser.add_argument("--ready-file", type=Path, help="file to write once the role serves")
    args = parser.parse_args()
    try:
        values = json.loads(args.config.read_text("utf-8")) if args.config else {}
    except (OSError, ValueError) as error:
        print(f"{args.role}: cannot read {args.config}: {error}", file=sys.stderr)
        return EXIT_CONFIG
    module, _, name = ROLES[args.role].partition(":")
    run = cast("RoleMain", getattr(importlib.import_module(module), name))
    return run(values=values, environ=os.environ, ready_file=args.ready_file)


if __name__ == "__main__":
    sys.exit(main())
