"""Write docs/envoy-differences.md from what Envoy and the bridge answer now.

    python scripts/envoy_page.py

Differences that tests/differential/rules.py does not list, and those it lists in vain, are
printed instead; tests/http/test_bridge_envoy.py checks the same and that the page is fresh.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from differential.compare import atlas_set, both  # noqa: E402
from differential.page import PAGE, faults, page  # noqa: E402
from differential.rows import rows  # noqa: E402


async def main() -> int:
    """Entry point; see the module's docstring."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with both(atlas_set(folder), folder) as running:
            pairs = await running.ask(rows())
    wrong = faults(pairs)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    PAGE.write_text(page(pairs, running.envoy.version), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
