"""Write docs/performance.md from what the benchmarks printed, or check that it is fresh.

    python scripts/performance_page.py            write the page
    python scripts/performance_page.py --check    exit 1 if it differs

Each section shows one file of benchmarks/results/ as it is: rows as a table, the rest as a
list. The first paragraph of a section is the first paragraph of the benchmark's docstring.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
HEAD = """# Performance

Made by `scripts/performance_page.py` from the last results of `benchmarks/`; do not edit. `make bench`
repeats all of it, `make bench BENCH_ARGS=decode` one part.

All of it was measured on small, shared machines with two cores, ours and others' programs in the
same run: compare figures of one table with each other, and nothing else. Absolute figures drift by
a third from hour to hour.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        script = ROOT / "benchmarks" / f"{path.stem}.py"
        docstring = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
        parts.append(f"\n## {path.stem}\n\n{docstring.partition(chr(10) * 2)[0]} (`benchmarks/{path.stem}.py`)\n")
        rows = [row for row in result.pop("rows", []) if isinstance(row, dict)]
        if rows:
            parts.append("\n" + _table(rows))
        facts = list(_facts(result, ""))
        if facts:
            parts.append("\n" + "".join(f"- {name}: {value}\n" for name, value in facts))
    return "".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_shown(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _facts(value: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    found = []
    for name, item in value.items():
        label = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(item, dict):
            found += _facts(item, f"{label}, ")
        elif isinstance(item, list):
            found.append((label, ", ".join(_shown(each) for each in item)))
        else:
            found.append((label, _shown(item)))
    return found


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "&#124;")


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Write docs/performance.md.")
    parser.add_argument("--check", action="store_true", help="only check that the page is fresh")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, "utf-8")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != text:
        sys.exit("performance: docs/performance.md is not fresh; run scripts/performance_page.py and commit it")


if __name__ == "__main__":
    main()
