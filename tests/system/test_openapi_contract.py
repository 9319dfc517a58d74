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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from system.meshrun import Mesh, running_mesh, wait_until
from trinity_http.contract import Contract
from trinity_http.json_text import parse_json
from trinity_http.main import own_contract
from trinity_http.protojson_read import JsonReader
from trinity_http.protojson_write import JsonWriter

pytestmark = pytest.mark.timeout(400)

EXAMPLES = 2
"""Random cases an operation and kind; the cases that follow from the bounds of the document come on top."""

SETTINGS = """
max-stream-events = 1
request-timeout = 20.0

[[operations]]
include-path = "/v1/prices:watch"
headers = {{ Accept = "text/event-stream" }}

# With the operator's key it could suspend the operator and be refused everything from there on.
[[operations]]
include-name = "PATCH /v1/associates/{{associate}}"
parameters = {{ "path.associate" = "acme" }}

[[operations]]
include-name = "PATCH /v1/plans/{{plan}}"
parameters = {{ "path.plan" = "standard" }}

[[operations]]
include-name = "POST /v1/keys/{{key_id}}:rotate"
parameters = {{ "path.key_id" = "{rotate}" }}

[[operations]]
include-name = "POST /v1/keys/{{key_id}}:revoke"
parameters = {{ "path.key_id" = "{revoke}" }}
"""

Excuse = str | None


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("openapi")) as running:
        with running.http() as client:
            wait_until(lambda: client.get("/price", params={"asset": "BTC"}).status_code == 200)
            client.headers["Authorization"] = f"Bearer {running.facts['admin_key']}"
            plan = {"plan": "standard", "ratePerS": 100, "burst": 200}
            assert client.post("/v1/plans", json=plan).status_code == 200
            associate = {"associate": "acme", "plan": "standard"}
            assert client.post("/v1/associates", json=associate).status_code == 200
        yield running


def new_key(mesh: Mesh) -> str:
    """Id of a new key of acme."""
    with mesh.http() as client:
        client.headers["Authorization"] = f"Bearer {mesh.facts['admin_key']}"
        return str(client.post("/v1/keys", json={"associate": "acme"}).json()["key"]["keyId"])


def reason_of(body: Mapping[str, Any]) -> tuple[str, str]:
    """Reason and field of a google.rpc.Status."""
    info = next((one for one in body.get("details", ()) if one["@type"].endswith("ErrorInfo")), {})
    return info.get("reason", ""), info.get("metadata", {}).get("field", "")


class Spellings:
    """Tells whether a request is a right one in another spelling: ProtoJSON reads more forms than it writes.

    null is an unset field, numbers may stand in quotes and 64-bit ones without, an enum's
    number is as good as its name. The document shows the one form that is written.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._contract = Contract.of(own_contract())
        self._methods = {
            f"{method.service.rpartition('.')[2]}_{method.name}": method for method in self._contract.methods
        }
        self._reader, self._writer = JsonReader(self._contract.types), JsonWriter(self._contract.types, show_zero=False)

    def is_other(self, case: Mapping[str, Any]) -> bool:
        operation = self._document["paths"][case["path"]].get(case["method"].lower())
        if operation is None:
            return False
        for parameter in operation["parameters"]:
            value = (case.get("query") or {}).get(parameter["name"])
            if value is not None and str(value).isdigit() and parameter["schema"].get("enum"):
                return True
        if "requestBody" not in operation or "body" not in case:
            return False
        wanted, body = operation["requestBody"], case["body"]
        if body is None:
            return not wanted["required"]
        method = self._methods[operation["operationId"]]
        name = next(rule.body for rule in method.rules if rule.http_method == case["method"])
        kind = method.input if name == "*" else method.input.fields_by_name[name].message_type
        message = self._contract.types.of(kind)()
        self._reader.fill(as_parsed(body), message)
        schema = {**wanted["content"]["application/json"]["schema"], "components": self._document["components"]}
        canonical = json.loads(self._writer.write(message))
        return canonical != body and Draft202012Validator(schema).is_valid(canonical)


def as_parsed(value: Any) -> Any:
    """A value as the strict reader has it: whole numbers as int, others as their text."""
    return parse_json(json.dumps(value).encode())


WEBHOOKS = "/v1/webhooks/"


def excuse(check: str, case: Mapping[str, Any], status: int, answer: Mapping[str, Any], other: Spellings) -> Excuse:
    """Why a check that failed does not hold for this case; None where it should have held."""
    query = case.get("query") or {}
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
        case "positive_data_acceptance", 400, "INVALID_FIELD", "end_time" if query.keys() >= {"start_time", "end_time"}:
            return "a rule between two parameters"
        case "positive_data_acceptance", 400, "INVALID_FIELD", "update_mask" if query.get("update_mask"):
            return "a path that is well formed and names no field that can be changed"
        case "positive_data_acceptance", 400, "INVALID_FIELD", _ if field.startswith("allowed_networks["):
            return "a network of letters, digits and colons that is none"
        case "positive_data_acceptance", 400, "INVALID_FIELD", _ if "use printable text" in answer["message"]:
            return "which characters can be printed is said by Unicode, not by a pattern"
        case "positive_data_acceptance", 400, "INVALID_FIELD", _ if "only one of its group" in answer["message"]:
            return "members of a oneof, which a schema of a message does not exclude from each other"
        case "positive_data_acceptance", 400, "INVALID_FIELD", _ if case["path"].startswith(WEBHOOKS):
            return "an address that may not be called, a rule that could never be true, a rule between two fields"
        case "unsupported_method" | "allow_header_conformance", _, _, _ if "}:" in case["path"]:
            return "a verb that has not the method gives way to the template without it, to which it is part of an id"
        case "positive_data_acceptance", 400, "KEY_NOT_ACTIVE" | "ENDPOINT_NOT_ACTIVE" | "WRONG_CHALLENGE", _:
            return "the state of the key or the endpoint, not the form of the request"
        case "negative_data_rejection", 200, _, _ if other.is_other(case):
            return "another spelling of a right request"
        case _:
            return None


@dataclass(frozen=True)
class Checked:
    """One case with its answer and the checks that failed."""

    operation: str
    case: Mapping[str, Any]
    status: int
    content: bytes
    failed: Sequence[Mapping[str, Any]]

    def faults(self, other: Spellings) -> Iterator[str]:
        """What failed and no excuse covers, with what was asked and answered."""
        try:
            answer = json.loads(self.content)
        except ValueError:
            answer = {}
        for check in self.failed:
            facts = answer if isinstance(answer, dict) else {}
            if excuse(check["name"], self.case, self.status, facts, other) is None:
                said = check["failure_info"]["failure"]
                asked = {key: self.case.get(key) for key in ("method", "path", "path_parameters", "query", "body")}
                text = f"{said['title']}: {said['message'][:300]}"
                yield f"{check['name']}: {text}\n  {asked}\n  {self.status} {self.content[:300]!r}"


def read(report: Path) -> Iterator[Checked]:
    """Every case of a run."""
    for line in report.read_text().splitlines():
        for event in json.loads(line).values():
            recorder = event.get("recorder") or {}
            for name, interaction in recorder.get("interactions", {}).items():
                case, response = recorder["cases"][name]["value"], interaction.get("response") or {}
                if _content(interaction["request"], "body") == b"null":
                    case["body"] = None
                yield Checked(
                    operation=f"{case['method']} {case['path']}",
                    case=case,
                    status=response.get("status_code", 0),
                    content=_content(response, "content"),
                    failed=[one for one in recorder["checks"].get(name, ()) if one["status"] == "failure"],
                )


def _content(part: Mapping[str, Any], name: str) -> bytes:
    return base64.b64decode((part.get(name) or {}).get("$base64", ""))


@pytest.mark.parametrize("port", ["http", "reports"])
def test_a_port_keeps_to_its_openapi_document(mesh: Mesh, port: str, tmp_path: Path) -> None:
    keys = {"rotate": new_key(mesh), "revoke": new_key(mesh)}
    (tmp_path / "schemathesis.toml").write_text(SETTINGS.format(**keys))
    report, url = tmp_path / "report.ndjson", f"http://{mesh.facts[port]}/openapi.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", url),
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
    checked = list(read(report))
    with mesh.http() as client:
        document = client.get(url).json()
    printed = mesh.cli("openapi", *(("--reports",) if port == "reports" else ()))
    assert json.loads(printed.stdout) == document
    other = Spellings(document)
    faults = [fault for one in checked for fault in one.faults(other)]
    assert not faults, "\n".join(faults[:20])
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    # Both ports make plans and associates: what the first has made the second finds.
    taken = {one.operation for one in checked if 200 <= one.status < 300 or one.status == 409}
    # Ids of webhooks are made by the service, and none can be guessed: tests/webhook asks for what there is.
    operations = {operation for operation in operations if WEBHOOKS not in operation}
    assert operations <= taken, "an operation that only ever refused was not checked"
    assert sum(one.status == 403 for one in checked) * 10 < len(checked)
