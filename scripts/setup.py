"""Make the virtual environment that every other command uses. Needs only Python >= 3.11.

Installs exactly requirements.lock, every file checked against its hash, then this
project itself in editable form, and last marks the environment as ready.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Make the virtual environment.")
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--ready", type=Path, required=True, help="file to write when the environment is complete")
    args = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - this is what tells a user so
        found = sys.version.split()[0]
        sys.exit(f"setup: Python 3.11 or newer is needed, this is {found}; try `make PYTHON=python3.12 setup`")
    python = args.venv / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
        say(f"making {args.venv} with Python {sys.version.split()[0]}")
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", args.venv])
        if made.returncode:
            sys.exit(
                "setup: this Python cannot make virtual environments; install its venv module (Debian: python3-venv)"
            )
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    say("installing requirements.lock, every hash checked")
    run([*pip, "install", "--require-hashes", "--only-binary", ":all:", "-r", ROOT / "requirements.lock"])
    say("installing the project itself")
    run([*pip, "install", "--no-deps", "--no-build-isolation", "--no-index", "-e", ROOT])
    args.ready.touch()
    say("ready")


def say(text: str) -> None:
    """Show progress."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def run(command: list[object]) -> None:
    """Run a command, or end with what to do."""
    if subprocess.run([str(part) for part in command], cwd=ROOT).returncode:
        sys.exit("setup: pip failed (see above); check that a package registry can be reached and try again")


if __name__ == "__main__":
    main()
