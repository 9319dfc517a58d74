"""The page of a language holds the very file that is compiled, and code is made by plugins of known versions."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / "clients"
EXAMPLES = {
    "go": "go/example/main.go",
    "java": "java/example/Example.java",
    "python": "python/main.py",
    "rust": "rust/src/main.rs",
    "shell": "shell/example.sh",
    "typescript": "typescript/example/main.ts",
}


@pytest.mark.parametrize("language", EXAMPLES)
def test_the_page_of_a_language_has_its_example_as_it_is_compiled(language: str) -> None:
    page = (ROOT / "docs/clients" / f"{language}.md").read_text("utf-8")
    blocks = re.findall(r"^```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert (CLIENTS / EXAMPLES[language]).read_text("utf-8") in blocks
    assert f"[{language}.md]({language}.md)" in (ROOT / "docs/clients/index.md").read_text("utf-8")


@pytest.mark.parametrize("language", ["go", "java", "rust", "typescript"])
def test_code_is_made_by_plugins_of_this_machine_whose_versions_are_told(language: str) -> None:
    template = (CLIENTS / language / "buf.gen.yaml").read_text("utf-8")
    plugins = re.findall(r"^  - (\w+): (\S+)$", template.partition("plugins:")[2], re.MULTILINE)
    assert plugins
    assert {kind for kind, _ in plugins} <= {"local", "protoc_builtin"}
    comment = "\n".join(line for line in template.splitlines() if line.startswith("#"))
    assert len(re.findall(r"\d+\.\d+(?:\.\d+)?", comment)) >= len(plugins) or "package-lock.json" in comment


PROTOC = pytest.mark.skipif(
    shutil.which("protoc") is None, reason="protoc is not installed (Debian: protobuf-compiler)"
)
GO = pytest.mark.skipif(
    shutil.which("protoc-gen-go") is None or shutil.which("protoc-gen-go-grpc") is None,
    reason="the plugins for Go are not installed (Debian: protoc-gen-go-1-5 protoc-gen-go-grpc)",
)


@pytest.mark.parametrize(
    ("language", "without", "made"),
    [
        pytest.param(
            "java",
            "  - local: grpc_java_plugin\n    out: gen\n",
            "gen/com/trinity/price/v1/WatchPricesResponse.java",
            marks=PROTOC,
        ),
        pytest.param("go", "", "gen/trinity/price/v1/price_service_grpc.pb.go", marks=GO),
    ],
)
def test_buf_makes_code_where_the_plugins_are(language: str, without: str, made: str, tmp_path: Path) -> None:
    include = [sys.executable, ROOT / "scripts/generate.py", "--include"]
    assert subprocess.run(include, check=False).returncode == 0
    template = (CLIENTS / language / "buf.gen.yaml").read_text("utf-8")
    assert without in template
    # Paths of a template are read from where buf runs.
    (tmp_path / "buf.gen.yaml").write_text(template.replace(without, "").replace("../..", str(ROOT)))
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run([buf, "generate"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / made).exists()
