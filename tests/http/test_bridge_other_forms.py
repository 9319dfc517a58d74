"""Answers that a service gives in another form where it is asked to: that form, else JSON."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
import pytest

from bridge_stage import PROTOS, SERVICE, Stage, descriptor_set
from trinity_http.app import create_app
from trinity_http.contract import ContractError

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOOK = "/v1/shelves/1/books/2:print"
PRINT = "/v1/prints/shelves/1/books/2"


async def test_the_other_form_is_the_whole_answer_where_the_service_sets_it(stage: Stage) -> None:
    for path in (BOOK, PRINT):
        response = await stage.get(f"{path}?form=plain")
        assert (response.headers["content-type"], response.content) == ("text/plain", b"On Shelves\n")
        assert response.headers["content-length"] == "11"


async def test_without_it_the_answer_is_json(stage: Stage) -> None:
    whole, part = await stage.get(BOOK), await stage.get(PRINT)
    assert whole.headers["content-type"] == part.headers["content-type"] == "application/json"
    assert whole.json()["book"] == part.json()
    assert set(whole.json()) == {"book"}


async def test_the_service_judges_accept(stage: Stage) -> None:
    for accept in ("text/plain", "image/png"):
        assert (await stage.get(BOOK, accept=accept)).status_code == 200
    assert (await stage.get("/v1/shelves/1/books/2", accept="text/plain")).status_code == 406


async def test_the_document_tells_of_both(stage: Stage) -> None:
    document = (await stage.get("/openapi.json")).json()
    content = document["paths"]["/v1/shelves/{name_1}/books/{name_2}:print"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"application/json", "*/*"}


@pytest.mark.parametrize(
    "wrong",
    [
        ('other_form: "print"', 'other_form: "nothing"'),
        ('other_form: "print"', 'other_form: "book"'),
        ("google.api.HttpBody print = 2;", "repeated google.api.HttpBody print = 2;"),
        ("returns (PrintBookReply)", "returns (stream PrintBookReply)"),
    ],
)
async def test_a_field_that_cannot_hold_it_does_not_start(tmp_path: Path, wrong: tuple[str, str]) -> None:
    text = (PROTOS / "shelf/v1/shelf.proto").read_text()
    assert text.count(wrong[0]) == 1
    (tmp_path / "wrong.proto").write_text(text.replace(*wrong))
    data = descriptor_set(tmp_path, "wrong.proto")
    async with grpc.aio.insecure_channel("unix:/nowhere.sock") as channel:
        with pytest.raises(ContractError, match="PrintBook: other_form"):
            create_app(descriptor_set=data, channels={SERVICE: channel})
