"""One family of errors, one table."""

from __future__ import annotations

import pytest

from trinity_core.errors import HTTP_STATUS, TABLE, Code, Reason, TrinityError, invalid_field


def test_every_reason_has_a_row_and_every_code_a_status() -> None:
    assert list(TABLE) == list(Reason)
    assert set(HTTP_STATUS) == set(Code)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_refusal_is_an_error_at_every_edge(reason: Reason) -> None:
    row = TrinityError(reason, "no").row
    assert row.code is not Code.OK
    assert 400 <= row.http_status <= 599


def test_an_invalid_field_is_named() -> None:
    error = invalid_field("max_age", "use a duration such as 5s")
    assert (error.reason, error.metadata["field"], error.violations[0].field) == (
        Reason.INVALID_FIELD,
        "max_age",
        "max_age",
    )
    assert str(error) == "INVALID_FIELD: max_age: use a duration such as 5s"
