"""`trinity openapi`: the documents of both ports and of a stranger's contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from bridge_stage import descriptor_set
from trinity_cli.main import cli


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    descriptor_set(folder, "shelf/v1/shelf.proto")
    return folder / "set.binpb"


def printed(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, ["openapi", *arguments])
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    validate(document, cls=OpenAPIV31SpecValidator)
    return document


def test_the_document_of_a_port_has_its_services_and_their_security() -> None:
    prices, reports = printed(), printed("--reports")
    assert {tag["name"] for tag in prices["tags"]} == {
        *("PriceService", "AccountService", "UsageService", "WebhookService"),
    }
    assert {tag["name"] for tag in reports["tags"]} == {"ReportService", "AccountService", "UsageService"}
    for document in (prices, reports):
        assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
        for methods in document["paths"].values():
            for operation in methods.values():
                # The keys that signatures are checked with are for everybody.
                assert bool(operation["security"]) is (operation["operationId"] != "WebhookService_GetKeySet")
                assert operation["description"]
    assert "304" in prices["paths"]["/price"]["get"]["responses"]
    assert prices["paths"]["/price"]["get"]["parameters"][0]["schema"]["examples"] == ["BTC"]
    plan = prices["components"]["schemas"]["trinity.account.v1.Plan"]
    assert plan["properties"]["createTime"]["readOnly"] is True
    assert {"plan", "ratePerS", "burst"} == set(plan["required"])


def test_the_document_of_a_strangers_contract_is_that_of_its_gateway(shelf: Path) -> None:
    secured = printed("--descriptor-set", str(shelf))
    open_to_all = printed("--descriptor-set", str(shelf), "--allow-unauthenticated", "--ignore-unknown-fields")
    assert secured["info"]["title"] == "Shelf"
    assert "securitySchemes" in secured["components"]
    assert "securitySchemes" not in open_to_all["components"]
    book = "shelf.v1.Book"
    assert secured["components"]["schemas"][book]["additionalProperties"] is False
    assert "additionalProperties" not in open_to_all["components"]["schemas"][book]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--allow-unauthenticated"], "need --descriptor-set"),
        (["--reports", "--descriptor-set", __file__], "exclude each other"),
        (["--descriptor-set", __file__], "no descriptor set"),
        (["--descriptor-set", "/nowhere"], "does not exist"),
    ],
)
def test_what_cannot_be_printed_is_an_error_that_says_why(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, ["openapi", *arguments])
    assert result.exit_code == 2
    assert says in result.output
