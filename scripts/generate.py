"""Make gen/ from protos/, or check that it is fresh.

    python scripts/generate.py            write gen/
    python scripts/generate.py --check    exit 1, naming the files, if gen/ differs
    python scripts/generate.py --include  only lay .proto-include/ for buf

Messages are generated for every file, services only for `*_service.proto`, type
stubs for both. `gen/trinity/api.binpb` is the descriptor set of all contracts
with their comments: the gateway's default and the source of the OpenAPI document.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.resources
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import google.api
import google.rpc
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GEN = ROOT / "gen"
INCLUDE = ROOT / ".proto-include"
# The only foreign contracts ours import, and the one that clients read errors by; everything else in google/ comes with
# protoc and buf.
FOREIGN = {
    google.api: ("annotations.proto", "field_behavior.proto", "http.proto", "httpbody.proto"),
    google.rpc: ("error_details.proto", "status.proto"),
}


def lay_include() -> None:
    """Copy the foreign .proto files out of the installed wheel, for buf alone; what is there already is left alone."""
    wanted = {
        INCLUDE / package.__name__.replace(".", "/") / name: Path(next(iter(package.__path__))) / name
        for package, names in FOREIGN.items()
        for name in names
    }
    present = {path for path in INCLUDE.rglob("*") if path.is_file()}
    if present == wanted.keys() and all(filecmp.cmp(*pair, shallow=False) for pair in wanted.items()):
        return  # Another buf may be reading it.
    shutil.rmtree(INCLUDE, ignore_errors=True)
    for target, source in wanted.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def generate(out: Path) -> None:
    """Write every generated file below `out`."""
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    services = [name for name in files if name.endswith("_service.proto")]
    builtin = importlib.resources.files("grpc_tools") / "_proto"
    foreign = Path(next(iter(google.api.__path__))).parent.parent
    base = ["protoc", f"-I{PROTOS}", f"-I{foreign}", f"-I{builtin}"]
    bin_dir = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={bin_dir / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    out.mkdir(parents=True, exist_ok=True)
    runs = [
        [*base, *plugins, f"--python_out={out}", f"--mypy_out=quiet:{out}", *files],
        [*base, *plugins, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services],
    ]
    for run in runs:
        if protoc.main(run) != 0:
            sys.exit(f"generate: protoc failed: {' '.join(run)}")
    (out / "trinity").mkdir(exist_ok=True)
    api = [*base, "--include_imports", "--include_source_info", f"--descriptor_set_out={out}/trinity/api.binpb", *files]
    if protoc.main(api) != 0:
        sys.exit("generate: protoc could not write the descriptor set")
    for folder in {path.parent for path in out.rglob("*_pb2.py")}:
        (folder / "py.typed").touch()


def differences(fresh: Path, kept: Path) -> list[str]:
    """Relative paths that differ between two trees, sorted."""
    names = {
        str(path.relative_to(tree))
        for tree in (fresh, kept)
        for path in tree.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(
        name
        for name in names
        if not (fresh / name).is_file()
        or not (kept / name).is_file()
        or not filecmp.cmp(fresh / name, kept / name, shallow=False)
    )


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Make gen/ from protos/.")
    parser.add_argument("--check", action="store_true", help="only check that gen/ is fresh")
    parser.add_argument("--include", action="store_true", help="only lay .proto-include/ for buf")
    args = parser.parse_args()
    lay_include()
    if args.include:
        return
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(fresh, GEN)
        if args.check:
            if stale:
                sys.exit("generate: gen/ is not fresh; run `make gen` and commit: " + ", ".join(stale))
            return
        shutil.rmtree(GEN, ignore_errors=True)
        shutil.copytree(fresh, GEN)
    subprocess.run(["git", "-C", str(ROOT), "status", "--short", "gen"], check=False)


if __name__ == "__main__":
    main()
