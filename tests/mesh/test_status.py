"""Errors survive their way across the wire."""

from __future__ import annotations

import pytest
from google.rpc import status_pb2

from trinity_core.errors import TABLE, FieldViolation, Reason, TrinityError
from trinity_core.keys import mint
from trinity_mesh.status import from_status, to_status


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_row_and_comes_back_as_itself(reason: Reason) -> None:
    error = TrinityError(reason, "text", {"a": "b"}, 250, (FieldViolation("f", "d"),))
    status = to_status(error, request_id="r1")
    assert status.code == TABLE[reason].code
    back = from_status(status)
    assert (back.reason, back.message, back.metadata, back.retry_after_ms, back.violations) == (
        error.reason,
        error.message,
        error.metadata,
        error.retry_after_ms,
        error.violations,
    )


def test_a_key_that_an_error_quotes_is_shown_without_its_secret() -> None:
    key = mint(env="test", random_bytes=lambda count: bytes(range(7, 7 + count)))
    secret = key.text[-49:]
    violation = FieldViolation(key.text, f"there is no field {key.text}")
    error = TrinityError(Reason.INVALID_FIELD, f"{key.text[:32]!r} is none", {"field": key.text}, None, (violation,))
    status = to_status(error)
    assert secret[:8].encode() not in status.SerializeToString()
    assert key.key_id in status.message


def test_a_status_without_details_keeps_the_meaning_of_its_code() -> None:
    assert from_status(status_pb2.Status(code=14, message="gone")).reason is Reason.BACKEND_UNAVAILABLE


def test_a_foreign_reason_is_not_taken_for_ours() -> None:
    error = to_status(TrinityError(Reason.NO_PRICE, "x"))
    error.details[0].value = error.details[0].value.replace(b"trinity-beast", b"other-domain!")
    assert from_status(error).reason is Reason.BACKEND_UNAVAILABLE


def test_a_code_that_does_not_exist_is_an_error_of_the_backend() -> None:
    assert from_status(status_pb2.Status(code=77)).reason is Reason.BACKEND_ERROR
