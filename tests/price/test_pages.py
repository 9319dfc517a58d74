"""Page tokens lead through one list, and through no other."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.errors import Reason, TrinityError
from trinity_price.pages import PageTokens

ITEMS = [f"A{number}" for number in range(300)]


def tokens(method: str = "m", items: list[str] = ITEMS) -> PageTokens:
    return PageTokens(method=method, items=items)


@given(st.integers(1, 299))
def test_a_token_leads_to_its_page_in_every_process_with_the_same_list(offset: int) -> None:
    assert tokens().read(tokens().make(offset)) == offset


def test_no_token_is_the_first_page() -> None:
    assert tokens().read("") == 0


@pytest.mark.parametrize(
    "foreign",
    [
        tokens("other").make(10),
        tokens(items=ITEMS[:-1]).make(10),
        tokens().make(10) + "=",
        tokens().make(10) + "AAAA",
        tokens().make(10)[:-1],
        tokens().make(300),
        "0",
        "10",
        "not a token",
        "ÄÖ",
        "A" * 256,
    ],
)
def test_any_other_text_is_refused(foreign: str) -> None:
    with pytest.raises(TrinityError) as raised:
        tokens().read(foreign)
    assert raised.value.reason is Reason.INVALID_PAGE_TOKEN


@given(st.integers(1, 299), st.integers(0, 21), st.integers(1, 255))
def test_a_token_that_was_altered_is_refused(offset: int, place: int, change: int) -> None:
    token = tokens().make(offset)
    data = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    data[place % len(data)] ^= change
    altered = base64.urlsafe_b64encode(data).decode().rstrip("=")
    with pytest.raises(TrinityError):
        tokens().read(altered)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(TrinityError):
        tokens().read(base64.urlsafe_b64encode(data).decode().rstrip("=") or "x")
