"""ProtoJSON as protobuf's conformance suite describes it, case by case, over a message of our own.

Every row is one statement. What a text means is written in protobuf's text format, so that
the reader under test does not judge itself; `test_bridge_conformance.py` runs the suite.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
from google.protobuf import text_format

from bridge_stage import descriptor_set
from protojson_cases import IGNORED, READ, REFUSED, UNWRITABLE, WRITTEN, Row
from trinity_core.errors import Reason, TrinityError
from trinity_http.contract import Contract
from trinity_http.protojson_read import JsonReader
from trinity_http.protojson_write import JsonWriter
from trinity_http.wellknown import Unwritable

FIXED_NANS = {"ratio": (0x7FA12345, 0xFFB54321), "amount": (0x7FFA123456789ABC, 0xFFFBCBA987654321)}


class Kinds:
    """Reads and writes kinds.v1.Kinds."""

    def __init__(self, data: bytes) -> None:
        contract = Contract.of(data)
        self.types = contract.types
        self.kind: Any = contract.types.find("kinds.v1.Kinds")
        self.writer = JsonWriter(contract.types, show_zero=False)

    def read(self, text: str, *, lenient: bool = False) -> Any:
        message = self.kind()
        JsonReader(self.types, ignore_unknown=lenient).read(text.encode(), message)
        return message

    def meant(self, text: str) -> Any:
        return text_format.Parse(text, self.kind(), descriptor_pool=self.kind.DESCRIPTOR.file.pool)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    return Kinds(descriptor_set(tmp_path_factory.mktemp("kinds"), "kinds/v1/kinds.proto"))


def rows(table: Sequence[Row]) -> Any:
    return [pytest.param(*row[1:], id=row[0].replace("::", ":")) for row in table]


def same(one: Any, other: Any) -> bool:
    """Equal, NaN and minus zero too."""
    return bool(text_format.MessageToString(one) == text_format.MessageToString(other))


def test_no_case_stands_twice() -> None:
    texts = [row[1] for row in chain(READ, REFUSED)]
    assert len(texts) == len(set(texts))
    assert len(READ) > 300
    assert len(REFUSED) > 500


@pytest.mark.parametrize(("text", "means"), rows(READ))
def test_a_text_is_read_as_it_is_meant_and_comes_back(kinds: Kinds, text: str, means: str) -> None:
    meant = kinds.meant(means)
    for lenient in (False, True):
        assert same(kinds.read(text, lenient=lenient), meant)
    assert same(kinds.read(kinds.writer.write(meant).decode()), meant)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in REFUSED])
def test_a_text_that_is_not_allowed_is_refused(kinds: Kinds, text: str) -> None:
    with pytest.raises(TrinityError) as caught:
        kinds.read(text)
    assert caught.value.reason in (Reason.INVALID_FIELD, Reason.INVALID_JSON)


@pytest.mark.parametrize(("text", "means"), rows(IGNORED))
def test_unknown_things_are_ignored_where_that_is_asked_for_and_refused_elsewhere(
    kinds: Kinds, text: str, means: str
) -> None:
    assert same(kinds.read(text, lenient=True), kinds.meant(means))
    with pytest.raises(TrinityError):
        kinds.read(text)


@pytest.mark.parametrize(("message", "text"), rows(WRITTEN))
def test_a_message_is_written_in_one_form(kinds: Kinds, message: str, text: str) -> None:
    assert kinds.writer.write(kinds.meant(message)).decode() == text


@pytest.mark.parametrize("message", [pytest.param(message, id=name) for name, message in UNWRITABLE])
def test_what_has_no_form_in_json_is_not_written(kinds: Kinds, message: str) -> None:
    with pytest.raises(Unwritable):
        kinds.writer.write(kinds.meant(message))


@pytest.mark.parametrize("field", sorted(FIXED_NANS))
def test_every_nan_is_written_alike(kinds: Kinds, field: str) -> None:
    number = kinds.kind.DESCRIPTOR.fields_by_name[field].number
    width, kind = (4, 5) if field == "ratio" else (8, 1)
    for bits in FIXED_NANS[field]:
        message = kinds.kind.FromString(bytes([number << 3 | kind]) + bits.to_bytes(width, "little"))
        assert json.loads(kinds.writer.write(message)) == {field: "NaN"}


def test_null_unsets_every_field_but_values(kinds: Kinds) -> None:
    names = [field.json_name for field in kinds.kind.DESCRIPTOR.fields if not field.containing_oneof]
    assert same(kinds.read(json.dumps(dict.fromkeys(names))), kinds.meant("value { null_value: NULL_VALUE }"))
