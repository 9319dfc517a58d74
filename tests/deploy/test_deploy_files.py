"""What deploy/ ships fits what the program is: modes, ports, settings and secrets, and the context of the image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from trinity_cli.modes import Mode
from trinity_cli.serve import serve
from trinity_mesh.config import ConfigError
from trinity_mesh.secrets_file import load_secrets

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = ("compose.yaml", "aws/trinity.yaml")


def words(text: str) -> list[str]:
    """Every command line of the file, as it would be given to `trinity serve`."""
    lists = re.findall(r"(?:command|Command|CMD):? \[([^\]]*)\]", text)
    return [line for line in lists if "trinity, serve" in line.replace(chr(34), "")]


@pytest.mark.parametrize("name", ["compose.yaml", "aws/trinity.yaml", "Dockerfile"])
def test_every_command_line_has_only_options_that_serve_knows(name: str) -> None:
    known = {option for parameter in serve.params for option in parameter.opts}
    lines = words((DEPLOY / name).read_text())
    assert lines
    for line in lines:
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line


@pytest.mark.parametrize("name", FILES)
def test_every_mode_but_the_double_one_has_its_service(name: str) -> None:
    text = (DEPLOY / name).read_text()
    modes = set(re.findall(r"TRINITY_MODE(?:, Value)?: (\w+)", text))
    assert modes == {str(mode) for mode in Mode} - {"APP_REPORT_SERVER"}


@pytest.mark.parametrize("name", FILES)
def test_every_setting_that_is_set_is_one(name: str) -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    settings = {
        f"TRINITY_{path.replace('.', '_').upper()}" for path in re.findall(r"^\| `([\w.]+)` ", page, re.MULTILINE)
    }
    serves = {option.envvar for option in serve.params if isinstance(getattr(option, "envvar", None), str)}
    entry = set(re.findall(r"TRINITY_[A-Z_]+", (DEPLOY / "entrypoint.sh").read_text()))
    named = set(re.findall(r"(?:Name: |^ +)(TRINITY_[A-Z_]+)(?:, Value|:)", (DEPLOY / name).read_text(), re.MULTILINE))
    assert named
    for variable in named:
        plain = variable.removesuffix("_FILE")
        assert plain in settings | serves | entry, variable


def test_what_the_image_is_built_from_is_enough_for_the_wheel(tmp_path: Path) -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for rule in rules:
        for path in ROOT.glob(rule[1:]):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, target)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "out").glob("*.whl"))) == 1
    assert (tmp_path / "deploy" / "entrypoint.sh").exists()


def make(folder: Path) -> None:
    subprocess.run(["sh", DEPLOY / "make-secrets.sh", folder], check=True, timeout=30)


def enter(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", DEPLOY / "entrypoint.sh", *command],
        env={"PATH": os.environ["PATH"], "TRINITY_RUN_DIR": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_secrets_are_made_once_and_reach_the_program_in_a_file_of_its_own(tmp_path: Path) -> None:
    made, run = tmp_path / "secrets", tmp_path / "run"
    run.mkdir()
    make(made)
    first = {path.name: path.read_bytes() for path in made.iterdir()}
    make(made)
    assert first == {path.name: path.read_bytes() for path in made.iterdir()}
    assert made.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match="open to others"):
        load_secrets(made / "trinity.json")

    done = enter(
        run,
        "env",
        TRINITY_SECRETS_SOURCE=str(made / "trinity.json"),
        TRINITY_STORAGE_POSTGRES_URL_FILE=str(made / "postgres_url"),
    )
    environ = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert environ["TRINITY_SECRETS_FILE"] == str(run / "secrets.json")
    assert environ["TRINITY_STORAGE_POSTGRES_URL"] == first["postgres_url"].decode()
    assert first["postgres_password"].decode() in environ["TRINITY_STORAGE_POSTGRES_URL"]
    assert load_secrets(run / "secrets.json").pepper.hex() in first["trinity.json"].decode()


def test_secrets_in_the_environment_are_written_and_not_inherited(tmp_path: Path) -> None:
    make(tmp_path / "secrets")
    text = (tmp_path / "secrets/trinity.json").read_text()
    done = enter(tmp_path, "env", TRINITY_SECRETS=text)
    assert "TRINITY_SECRETS=" not in done.stdout
    assert load_secrets(tmp_path / "secrets.json").cursor.hex() in text


def test_a_file_that_cannot_be_read_ends_the_container_with_its_name(tmp_path: Path) -> None:
    for variable in ("TRINITY_STORAGE_POSTGRES_URL_FILE", "TRINITY_SECRETS_SOURCE"):
        done = enter(tmp_path, "echo", "began", **{variable: "/nowhere/secret"})
        assert done.returncode == 78
        assert f"{variable} names /nowhere/secret" in done.stderr
        assert "began" not in done.stdout


def test_the_options_that_a_container_sets_by_environment_are_read_from_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(serve, ["--data-dir", str(tmp_path)], env={"TRINITY_MODE": "SYNC", "TRINITY_LOGS": "no"})
    assert "'no' is not one of 'files', 'stderr'" in done.output
