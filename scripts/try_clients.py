"""Make, compile and run the example of every language that this machine has the tools of, against a mesh of its own.

    python scripts/try_clients.py                 all of them
    python scripts/try_clients.py go java         only these

What is missing is named, with what installs it, and is no failure; what is there must work. Rust is left out: its
libraries come from Rust's package registry alone. Every example is run with a key over TLS and by mutual TLS, and
must print a price, the reason of an error, and changes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = ROOT / "clients"
WORK = CLIENTS / "work"
BUF = Path(sys.executable).parent / "buf"

GO_SOURCES = Path("/usr/share/gocode")
JARS = Path("/usr/share/java")
JAR_NAMES = (
    *("grpc-api", "grpc-context", "grpc-core", "grpc-netty", "grpc-protobuf", "grpc-protobuf-lite", "grpc-stub"),
    *("protobuf", "guava", "failureaccess", "gson", "perfmark-api", "geronimo-annotation-1.3-spec", "netty-all"),
    *("netty-buffer", "netty-codec", "netty-codec-http", "netty-codec-http2", "netty-common", "netty-handler"),
    *("netty-resolver", "netty-transport", "netty-tcnative", "jsr305"),
)


@dataclass(frozen=True, slots=True)
class Language:
    """One language's example."""

    needs: Callable[[], Sequence[str]]
    """What this machine lacks for it, in words."""
    build: Callable[[], list[str]]
    """Makes and compiles it; the command that runs it."""


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Make, compile and run the examples of all languages.")
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help=f"of {', '.join(LANGUAGES)}")
    chosen = parser.parse_args().languages or list(LANGUAGES)
    if unknown := [name for name in chosen if name not in LANGUAGES]:
        sys.exit(f"clients: no example for {', '.join(unknown)}; there are {', '.join(LANGUAGES)}")
    run([sys.executable, ROOT / "scripts/generate.py", "--include"])
    commands: dict[str, list[str]] = {}
    for name in chosen:
        if lacking := LANGUAGES[name].needs():
            print(f"clients: {name}: left out; missing: {', '.join(lacking)}", flush=True)
            continue
        commands[name] = LANGUAGES[name].build()
        print(f"clients: {name}: compiled", flush=True)
    failed = [f"{name} {way}" for name, way, told in _tried(commands) if told]
    if failed:
        sys.exit(f"clients: failed: {', '.join(failed)}")


def complaint(out: str, *, changes: int) -> str:
    """What is wrong with the output of an example; empty where nothing is."""
    lines = out.splitlines()
    if not any(line.startswith("price BTC ") for line in lines):
        return "no price"
    if not any(line.startswith("error UNKNOWN_ASSET ") for line in lines):
        return "no reason of the error"
    found = sum(line.startswith(("change BTC ", "change ETH ")) for line in lines)
    return "" if found == changes else f"{found} changes in place of {changes}"


def run(command: Sequence[object], *, folder: Path = ROOT, environ: dict[str, str] | None = None) -> None:
    """Run a command, or end with its name."""
    words = [str(word) for word in command]
    if subprocess.run(words, cwd=folder, env={**os.environ, **(environ or {})}).returncode:
        sys.exit(f"clients: failed: {' '.join(words)}")


def _tried(commands: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Run every example by both ways; (language, way, complaint)."""
    if not commands:
        return []
    sys.path.insert(0, str(ROOT / "tests"))
    from clients.polyglot_mesh import CHANGES, example_environ, polyglot_mesh

    found = []
    with tempfile.TemporaryDirectory() as folder, polyglot_mesh(Path(folder)) as mesh:
        for way in mesh.ways[:2]:
            for name, command in commands.items():
                told = complaint(_output(command, example_environ(way["price"])), changes=CHANGES)
                print(f"clients: {name}: {way['name']}: {told or 'runs'}", flush=True)
                found.append((name, way["name"], told))
    return found


def _output(command: Sequence[str], environ: dict[str, str]) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.stdout


def _lacking(programs: dict[str, str], paths: dict[Path, str]) -> list[str]:
    missing = [f"{name} ({package})" for name, package in programs.items() if shutil.which(name) is None]
    return missing + [f"{path} ({package})" for path, package in paths.items() if not path.exists()]


def _go_needs() -> list[str]:
    programs = {"go": "golang-go", "protoc-gen-go": "protoc-gen-go-1-5", "protoc-gen-go-grpc": "protoc-gen-go-grpc"}
    sources = GO_SOURCES / "src"
    paths = {
        sources / "google.golang.org/grpc": "golang-google-grpc-dev",
        sources / "google.golang.org/genproto": "golang-google-genproto-dev",
        sources / "github.com/golang/protobuf/proto/registry.go": "golang-github-golang-protobuf-1-5-dev",
    }
    return _lacking(programs, paths)


def _go() -> list[str]:
    run([BUF, "generate"], folder=CLIENTS / "go")
    place = WORK / "gopath" / "src" / "trinitybeast"
    shutil.rmtree(place, ignore_errors=True)
    for part in ("gen", "example"):
        shutil.copytree(CLIENTS / "go" / part, place / part)
    environ = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{WORK / 'gopath'}:{GO_SOURCES}"}
    made = WORK / "go-example"
    run(["go", "vet", "trinitybeast/example"], environ=environ)
    run(["go", "build", "-o", made, "trinitybeast/example"], environ=environ)
    return [str(made)]


def _java_needs() -> list[str]:
    programs = {"javac": "default-jdk-headless", "protoc": "protobuf-compiler"}
    programs["grpc_java_plugin"] = "protobuf-compiler-grpc-java-plugin"
    paths = {
        JARS / "grpc-netty.jar": "libgrpc-java",
        JARS / "protobuf.jar": "libprotobuf-java",
        JARS / "netty-codec-http2.jar": "libnetty-java",
        _native_tls(): "libnetty-tcnative-java",
        JARS / "perfmark-api.jar": "libperfmark-java",
        JARS / "gson.jar": "libgoogle-gson-java",
        JARS / "geronimo-annotation-1.3-spec.jar": "libgeronimo-annotation-1.3-spec-java",
    }
    return _lacking(programs, paths)


def _native_tls() -> Path:
    found = Path("/usr/lib").glob("*/jni/libnetty-tcnative.so")
    return next(found, Path("/usr/lib/jni/libnetty-tcnative.so"))


def _java() -> list[str]:
    run([BUF, "generate"], folder=CLIENTS / "java")
    made = WORK / "java"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    jars = [JARS / f"{name}.jar" for name in JAR_NAMES]
    place = os.pathsep.join(str(path) for path in (made, *jars) if path.exists())
    sources = [*(CLIENTS / "java" / "gen").rglob("*.java"), CLIENTS / "java" / "example" / "Example.java"]
    run(["javac", "-Xlint:none", "-nowarn", "-d", made, "-cp", place, *sources])
    # Debian's netty does not know the JDK's ALPN and takes OpenSSL, by a name that Debian's file does not have.
    native = WORK / "native"
    native.mkdir(exist_ok=True)
    shutil.copy(_native_tls(), native / "libnetty_tcnative.so")
    return ["java", f"-Djava.library.path={native}", "-cp", place, "Example"]


def _typescript_needs() -> list[str]:
    return _lacking({"node": "nodejs", "npm": "npm"}, {})


def _typescript() -> list[str]:
    package = CLIENTS / "typescript"
    environ = {"PATH": f"{BUF.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    for words in (["ci"], ["run", "--silent", "generate"], ["run", "--silent", "build"]):
        run(["npm", *words], folder=package, environ=environ)
    return ["node", str(package / "dist" / "example" / "main.js")]


LANGUAGES = {
    "go": Language(_go_needs, _go),
    "java": Language(_java_needs, _java),
    "typescript": Language(_typescript_needs, _typescript),
    "python": Language(list, lambda: [sys.executable, str(CLIENTS / "python" / "main.py")]),
}


if __name__ == "__main__":
    main()
