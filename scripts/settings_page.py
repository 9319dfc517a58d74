"""Write docs/configuration.md from the settings themselves, or check that it is fresh.

    python scripts/settings_page.py            write the page
    python scripts/settings_page.py --check    exit 1 if it differs

Every setting is a field of a frozen dataclass, and the text below a field says what it
means; a field without a text is an error here.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trinity_account.config import AccountConfig
from trinity_cli.gateway_config import GatewayConfig
from trinity_feeds.config import FeedsConfig
from trinity_feeds.sandbox.settings import SandboxSettings
from trinity_mesh.telemetry.config import TelemetryConfig
from trinity_price.config import PriceConfig
from trinity_report.config import ReportConfig
from trinity_storage.resolve import StorageConfig
from trinity_sync.config import SyncConfig
from trinity_usage.config import UsageConfig
from trinity_webhook.config import WebhookConfig
from trinity_webhook.worker_config import WebhookWorkerConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
SECTIONS: Mapping[str, tuple[type[Any], str]] = {
    "storage": (StorageConfig, "PostgreSQL and Valkey: where they are, or that they are embedded."),
    "telemetry": (TelemetryConfig, "Metrics, log lines and traces, of every process alike."),
    "sandbox": (SandboxSettings, "The simulated exchanges."),
    "feeds": (FeedsConfig, "A feed worker."),
    "price": (PriceConfig, "The price service and its book."),
    "account": (AccountConfig, "The account service."),
    "usage": (UsageConfig, "The usage service."),
    "report": (ReportConfig, "The report service."),
    "webhook": (WebhookConfig, "The webhook service."),
    "webhook_worker": (WebhookWorkerConfig, "A webhook worker: rules, deliveries, and their ledger."),
    "sync": (SyncConfig, "The sync: the copy of the usage log in Valkey."),
    "gateway": (GatewayConfig, "A gateway worker: HTTP, UDP, the replicas that both read, and the ledger."),
}
HEAD = """# Configuration

Made by `scripts/settings_page.py` from the settings themselves; do not edit.

Settings have a name with their unit and a default that works. The environment sets one as
`TRINITY_` + section + path, in capitals: `price.book.fresh_ms` is `TRINITY_PRICE_BOOK_FRESH_MS`.
Lists and mappings are written as JSON. A wrong name in a file, a wrong type or a value out of
its bounds ends the process at once with exit code 78 and a line that names the setting.
`trinity up` passes its environment on to every process and sets addresses itself.
"""


def fields(kind: type[Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Every setting of a dataclass as (path, default, meaning), nested ones included."""
    texts = _texts(kind)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        path, hint = f"{prefix}.{field.name}", hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from fields(hint, path)
            continue
        yield path, _default(field), texts.get(field.name, "")


def _texts(kind: type[Any]) -> dict[str, str]:
    """The text below each field."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        body = typing.cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]).body
        for statement, below in itertools.pairwise(body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(below.value.value).split())
    return found


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "needed"
    if isinstance(value, (tuple, frozenset)):
        return "`" + ", ".join(str(item) for item in value) + "`" if value else "none"
    if isinstance(value, dict):
        return "none" if not value else f"`{value}`"
    return f"`{value}`" if str(value) else "empty"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, (kind, meaning) in SECTIONS.items():
        parts.append(f"\n## {section}\n\n{meaning}\n\n| setting | default | meaning |\n|---|---|---|\n")
        for path, default, text in fields(kind, section):
            parts.append(f"| `{path}` | {default} | {text.replace('|', '&#124;')} |\n")
    text = "".join(parts)
    bare = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    if bare:
        sys.exit(f"settings: these fields need a text below them: {', '.join(bare)}")
    return text


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Write docs/configuration.md.")
    parser.add_argument("--check", action="store_true", help="only check that the page is fresh")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, "utf-8")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != text:
        sys.exit("settings: docs/configuration.md is not fresh; run `make gen` and commit it")


if __name__ == "__main__":
    main()
