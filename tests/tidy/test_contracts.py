"""Names agree, generated code is fresh, contracts stay compatible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from trinity_core.errors import Reason

ROOT = Path(__file__).resolve().parents[2]


def test_generated_code_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def api() -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen/trinity/api.binpb").read_bytes())


def test_a_contracts_package_is_its_path() -> None:
    ours = [file for file in api().file if file.name.startswith("trinity/")]
    assert len(ours) >= 5
    for file in ours:
        assert file.package.replace(".", "/") == file.name.rpartition("/")[0]


def test_every_reason_a_contract_names_is_in_the_table() -> None:
    known = {reason.value for reason in Reason}
    for file in api().file:
        if not file.name.endswith("_service.proto"):
            continue
        for location in file.source_code_info.location:
            text = location.leading_comments
            if "Errors:" not in text:
                continue
            for group in text.partition("Errors:")[2].replace("\n", " ").split("(")[1:]:
                for name in group.partition(")")[0].split(","):
                    if name.strip().isupper():
                        assert name.strip() in known, f"{file.name}: {name.strip()}"


@pytest.mark.parametrize(
    ("service", "package"), [("trinity.price.v1", "trinity_price"), ("trinity.feed.v1", "trinity_feeds")]
)
def test_a_service_stands_in_the_package_of_its_name(service: str, package: str) -> None:
    names = {file.package for file in api().file if file.service}
    assert service in names
    assert list(ROOT.glob(f"*/{package}/servicer.py"))
