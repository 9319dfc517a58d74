"""The OpenAPI documents of both ports against a real mesh: schemathesis with all its checks and phases.

Whatever follows the documents is taken, whatever breaks them is refused, and no answer has
a status, a header or a body that they do not name. What JSON Schema cannot say of a request
is a row of `excuse`, and docs/bridge.md has the reasons.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from system.meshrun import Mesh, running_mesh, wait_until

pytestmark = pytest.mark.timeout(400)

EXAMPLES = 4
"""Random cases an operation and kind; the cases that follow from the bounds of the document come on top."""

SETTINGS = """
max-stream-events = 2
request-timeout = 20.0

[[operations]]
include-path = "/v1/prices:watch"
headers = { Accept = "text/event-stream" }
"""

Excuse = str | None


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("openapi")) as running:
        with running.http() as client:
            wait_until(lambda: client.get("/price", params={"asset": "BTC"}).status_code == 200)
        yield running


def reason_of(body: Mapping[str, Any]) -> tuple[str, str]:
    """Reason and field of a google.rpc.Status."""
    info = next((one for one in body.get("details", ()) if one["@type"].endswith("ErrorInfo")), {})
    return info.get("reason", ""), info.get("metadata", {}).get("field", "")


def holds_null(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(holds_null(item) for item in (value.values() if isinstance(value, dict) else value))
    return value is None


def excuse(check: str, case: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> Excuse:
    """Why a check that failed does not hold for this case; None where it should have held."""
    query, body = case.get("query") or {}, case.get("body")
    reason, field = reason_of(answer)
    match check, status, reason, field:
        case "not_a_server_error", 503, "TOO_FEW_SOURCES", _ if "min_sources" in query:
            return "a price of so many venues is asked for that not all of them have to give now"
        case "not_a_server_error", 503, "STALE_PRICE", _ if "max_age" in query:
            return "a price so young is asked for that there is none now"
        case "positive_data_acceptance", 400, "INVALID_PAGE_TOKEN", _ if query.get("page_token"):
            return "a page token is a text that only the service makes"
        case "positive_data_acceptance", 400, "INVALID_FIELD", "method" if query.get("source"):
            return "a rule between two parameters"
        case "positive_data_acceptance", 400, "KEY_NOT_ACTIVE", _:
            return "the state of the key, not the form of the request"
        case "negative_data_rejection", 200, _, _ if holds_null(body) or str(query.get("method", "")).isdigit():
            return "another spelling that ProtoJSON has: null for an unset field, a number for an enum's name"
        case _:
            return None


def failures(report: Path) -> Iterator[str]:
    """Every failed check of a run that no excuse covers, with what was asked and answered."""
    for line in report.read_text().splitlines():
        for event in json.loads(line).values():
            recorder = event.get("recorder") or {}
            for name, checks in (recorder.get("checks") or {}).items():
                case = recorder["cases"][name]["value"]
                interaction = recorder["interactions"].get(name) or {}
                response = interaction.get("response") or {}
                status = response.get("status_code", 0)
                content = base64.b64decode((response.get("content") or {}).get("$base64", ""))
                try:
                    answer = json.loads(content)
                except ValueError:
                    answer = {}
                for check in checks:
                    if check["status"] == "failure" and not excuse(
                        check["name"], case, status, answer if isinstance(answer, dict) else {}
                    ):
                        said = check["failure_info"]["failure"]
                        asked = {key: case.get(key) for key in ("method", "path", "path_parameters", "query", "body")}
                        yield f"{check['name']}: {said['title']}: {said['message'][:300]}\n  {asked}\n  {status} {content[:300]!r}"


@pytest.mark.parametrize("port", ["http", "reports"])
def test_a_port_keeps_to_its_openapi_document(mesh: Mesh, port: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    report = tmp_path / "report.ndjson"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"http://{mesh.facts[port]}/openapi.json"),
            *("--checks", "all", "--header", f"Authorization: Bearer {mesh.facts['admin_key']}"),
            *("--max-examples", str(EXAMPLES), "--generation-deterministic", "--no-shrink", "--continue-on-failure"),
            *("--report", "ndjson", "--report-ndjson-path", str(report), "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert report.exists(), done.stdout[-4_000:] + done.stderr[-4_000:]
    assert "Errored" not in done.stdout, done.stdout[-6_000:]
    found = list(failures(report))
    assert not found, "\n".join(found[:20])
    operations = json.loads((report.read_text().splitlines())[0])
    assert operations
    assert "Test Phases" in done.stdout
