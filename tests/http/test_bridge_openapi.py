"""The OpenAPI document, /docs and what a contract's comments and rules become in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from bridge_stage import SERVICE, Stage, descriptor_set
from trinity_core.errors import TABLE
from trinity_http.app import create_app
from trinity_http.docs_page import FILES, DocsPage
from trinity_http.main import own_contract
from trinity_http.settings import GatewaySettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def document_of(data: bytes, service: str, **settings: Any) -> dict[str, Any]:
    async with grpc.aio.insecure_channel("unix:/nowhere.sock") as channel:
        app = create_app(descriptor_set=data, channels={service: channel}, settings=GatewaySettings(**settings))
    return app.openapi()


@pytest.fixture
async def shelf_document(stage: Stage) -> dict[str, Any]:
    return (await stage.get("/openapi.json")).json()


async def test_the_document_is_whole_openapi_3_1(stage: Stage) -> None:
    own = await document_of(own_contract(), "trinity.price.v1.PriceService")
    for document in ((await stage.get("/openapi.json")).json(), own):
        OpenAPI.model_validate(document)
        validate(document, cls=OpenAPIV31SpecValidator)
        assert document["openapi"] == "3.1.0"
        for reference in references(document):
            where: Any = document
            for step in reference.removeprefix("#/").split("/"):
                where = where[step]
        ids = [operation["operationId"] for _, _, operation in operations(document)]
        assert len(ids) == len(set(ids))
        for path, _, operation in operations(document):
            named = {part[1:-1] for part in path.replace(":", "/").split("/") if part.startswith("{")}
            assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == named
            names = [(parameter["in"], parameter["name"]) for parameter in operation["parameters"]]
            assert len(names) == len(set(names))
            assert "default" not in operation["responses"], "a status that is not named is one that nobody expects"
            assert {"200", "400", "404", "429", "500", "503", "504"} <= set(operation["responses"])
            assert ("415" in operation["responses"]) == ("requestBody" in operation)


async def test_every_route_stands_in_the_document_but_custom_methods(stage: Stage) -> None:
    document = (await stage.get("/openapi.json")).json()
    found = {(path, method) for path, method, _ in operations(document)}
    assert {
        ("/v1/shelves/{name_1}/books/{name_2}", "get"),
        ("/v1/shelves/{name_1}/books/{name_2}", "delete"),
        ("/v1/shelves/{name_1}/books/{name_2}:publish", "post"),
        ("/v1/shelves/{name_1}/books/{name_2}", "patch"),
        ("/v1/shelves/{parent}/books", "get"),
        ("/v1/isbn/{isbn}", "get"),
        ("/v1/files/{path}", "put"),
        ("/v1/count", "get"),
    } <= found
    assert not [path for path, _ in found if path.startswith("/v1/any")]


async def test_comments_become_descriptions(stage: Stage) -> None:
    document = (await stage.get("/openapi.json")).json()
    get = document["paths"]["/v1/shelves/{name_1}/books/{name_2}"]["get"]
    assert get["summary"] == "Gets one book"
    assert get["description"] == "Gets one book. More is said in the second sentence."
    assert document["paths"]["/v1/shelves/{name_1}/books/{name_2}"]["delete"]["deprecated"] is True
    book = document["components"]["schemas"]["shelf.v1.Book"]
    assert book["description"] == "A book."
    assert book["properties"]["pageCount"]["description"] == "Pages, covers included."
    assert "`COVER_HARD`: Boards." in document["components"]["schemas"]["shelf.v1.Cover"]["description"]
    assert {"name": "Shelf", "description": "Books and what one does with them."} in document["tags"]


async def test_rules_become_bounds_and_aliases_are_values(stage: Stage) -> None:
    document = (await stage.get("/openapi.json")).json()
    look_up = document["paths"]["/v1/isbn/{isbn}"]["get"]["parameters"]
    isbn, cover = look_up
    assert (isbn["in"], isbn["required"]) == ("path", True)
    assert isbn["schema"]["pattern"] == "^[0-9X]{10,13}$"
    assert isbn["schema"]["examples"] == ["9780141036137"]
    assert cover["schema"]["enum"] == ["soft", "hard", "COVER_UNSPECIFIED", "COVER_SOFT", "COVER_HARD"]
    assert "required" not in cover
    listing = document["paths"]["/v1/shelves/{parent}/books"]["get"]["parameters"]
    page_size = next(parameter for parameter in listing if parameter["name"] == "page_size")
    assert page_size["schema"]["maximum"] == 100
    assert document["components"]["schemas"]["shelf.v1.LookUpRequest"]["required"] == ["isbn"]
    own = await document_of(own_contract(), "trinity.price.v1.PriceService")
    assets = own["paths"]["/v1/prices:batchGet"]["get"]["parameters"][0]
    assert (assets["schema"]["minItems"], assets["schema"]["maxItems"], assets["required"]) == (1, 200, True)
    source = own["paths"]["/price"]["get"]["parameters"][2]
    assert source["schema"]["enum"] == ["", "coinbase", "gemini", "kraken", "gateio", "cryptocom", "okx"]


async def test_bodies_answers_and_streams_have_their_forms(stage: Stage) -> None:
    paths = (await stage.get("/openapi.json")).json()["paths"]
    book = {"$ref": "#/components/schemas/shelf.v1.Book"}
    created = paths["/v1/shelves/{parent}/books"]["post"]
    assert created["requestBody"]["content"] == {"application/json": {"schema": book}}
    assert [parameter["name"] for parameter in created["parameters"]] == ["parent", "request_token"]
    listed = paths["/v1/shelves/{parent}/books"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed == {"type": "array", "items": book}
    counted = paths["/v1/count"]["get"]["responses"]["200"]["content"]
    assert set(counted) == {"application/json", "application/x-ndjson", "text/event-stream"}
    assert set(paths["/v1/sum"]["post"]["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    assert paths["/v1/files/{path}"]["get"]["responses"]["200"]["content"] == {"*/*": {}}
    assert paths["/v1/files/{path}"]["put"]["requestBody"]["content"] == {"*/*": {}}
    echo = {parameter["name"]: parameter for parameter in paths["/v1/echo"]["get"]["parameters"]}
    assert {"choice_author.given_name", "labels[key]", "big_or_none", "when", "texts"} <= set(echo)
    assert not {"inner.inner.text", "people[key]", "object", "any", "authors"} & set(echo)
    assert echo["when"]["schema"]["format"] == "date-time"


async def test_the_error_of_every_call_is_a_status(stage: Stage) -> None:
    document = (await stage.get("/openapi.json")).json()
    responses = document["components"]["responses"]
    assert {name for name in responses if name != "NotModified"} == {
        f"Error{row.http_status}" for row in TABLE.values() if row.http_status != 405
    }
    for name, response in responses.items():
        if name != "NotModified":
            schema = response["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/google.rpc.Status"}
    for reason, row in TABLE.items():
        if row.http_status != 405:
            assert reason in responses[f"Error{row.http_status}"]["description"]
    assert set(document["components"]["schemas"]["google.rpc.Status"]["properties"]) == {"code", "message", "details"}


async def test_without_a_keyring_no_key_is_asked_for(stage: Stage) -> None:
    document = (await stage.get("/openapi.json")).json()
    assert "securitySchemes" not in document["components"]
    assert all("security" not in operation for _, _, operation in operations(document))


async def test_comments_are_no_need(tmp_path: Path) -> None:
    data = descriptor_set(tmp_path, "shelf/v1/shelf.proto", source_info=False)
    document = await document_of(data, SERVICE)
    OpenAPI.model_validate(document)
    assert "description" not in document["components"]["schemas"]["shelf.v1.Book"]


async def test_the_page_names_the_default_host_where_no_files_are_installed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trinity_http.docs_page.PACKAGE", "no_such_package")
    assert b"cdn.jsdelivr.net" in DocsPage(title="T", openapi_url="/openapi.json").html
    response = await stage.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "/openapi.json" in response.text


async def test_the_page_needs_no_foreign_host_where_its_files_are(tmp_path: Path, shelf_set: bytes) -> None:
    from bridge_stage import serving_app

    with pytest.raises(ValueError, match=r"has no swagger-ui-bundle.js and no swagger-ui.css"):
        DocsPage(title="T", openapi_url="/openapi.json", assets=str(tmp_path))
    for name in FILES:
        (tmp_path / name).write_text(f"content of {name}")
    async with grpc.aio.insecure_channel("unix:/nowhere.sock") as channel:
        settings = GatewaySettings(docs_assets=str(tmp_path), title="</title><script>")
        app = create_app(descriptor_set=shelf_set, channels={SERVICE: channel}, settings=settings)
        async with serving_app(app) as stage:
            page = await stage.get("/docs")
            assert "http://" not in page.text
            assert "https://" not in page.text
            script = await stage.get("/docs/swagger-ui-bundle.js")
            assert (script.text, script.headers["content-type"]) == (
                "content of swagger-ui-bundle.js",
                "text/javascript; charset=utf-8",
            )


async def test_the_pages_can_be_switched_off(shelf_set: bytes) -> None:
    async with grpc.aio.insecure_channel("unix:/nowhere.sock") as channel:
        app = create_app(descriptor_set=shelf_set, channels={SERVICE: channel}, settings=GatewaySettings(docs=False))
    assert isinstance(app, FastAPI)
    assert not {"/docs", "/openapi.json"} & {getattr(route, "path", "") for route in app.routes}
