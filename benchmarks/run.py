"""Run the benchmarks one after the other and print what each prints.

    python benchmarks/run.py            all of them
    python benchmarks/run.py decode     only those named

Each script measures us and its peers side by side in one run, prints a table and writes
benchmarks/results/<name>.json. A peer that is not installed is named and skipped. Afterwards the
pages that quote the results are written anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_BENCHMARKS = {"run.py", "capacity.py"}
PAGES = ("benchmarks/capacity.py", "scripts/performance_page.py")


def main() -> int:
    """Entry point: the number of benchmarks that failed."""
    known = sorted(path.stem for path in HERE.glob("*.py") if path.name not in NOT_BENCHMARKS and path.name[0] != "_")
    wanted = sys.argv[1:] or known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"bench: no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in wanted:
        print(f"\n== {name} ==", flush=True)
        if subprocess.run([sys.executable, HERE / f"{name}.py"], cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    print("\n== pages ==", flush=True)
    failed += [
        page for page in PAGES if subprocess.run([sys.executable, page], cwd=HERE.parent, check=False).returncode
    ]
    if failed:
        print(f"\nbench: failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
