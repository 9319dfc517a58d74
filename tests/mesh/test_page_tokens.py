"""Page tokens lead on in the query they were made for, and nowhere else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.page_tokens import PageTokens

TOKENS = PageTokens(key=b"k" * 32)
QUERY = ("ListKeys", "acme", "newest")


@given(st.binary(max_size=200), st.lists(st.text(), max_size=4))
def test_a_token_leads_to_its_position_in_every_process_with_the_same_key(position: bytes, query: list[str]) -> None:
    assert PageTokens(key=b"k" * 32).read(TOKENS.make(position, query=query), query=query) == position


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.read("", query=QUERY) is None


@pytest.mark.parametrize(
    ("token", "query"),
    [
        (TOKENS.make(b"10", query=("ListKeys", "globex", "newest")), QUERY),
        (TOKENS.make(b"10", query=("ListKeys", "acmenewest")), QUERY),
        (TOKENS.make(b"10", query=("ListKeys", "acme", "newe")), ("ListKeys", "acme", "newe", "")),
        (TOKENS.make(b"newest10", query=QUERY[:2]), QUERY),
        (PageTokens(key=b"other").make(b"10", query=QUERY), QUERY),
        (TOKENS.make(b"10", query=QUERY) + "=", QUERY),
        (TOKENS.make(b"10", query=QUERY) + "AAAA", QUERY),
        (TOKENS.make(b"10", query=QUERY)[:-1], QUERY),
        ("0", QUERY),
        ("not a token", QUERY),
        ("ÄÖ\0", QUERY),
        ("A" * 512, QUERY),
    ],
)
def test_any_other_text_is_refused(token: str, query: tuple[str, ...]) -> None:
    with pytest.raises(TrinityError) as raised:
        TOKENS.read(token, query=query)
    assert raised.value.reason is Reason.INVALID_PAGE_TOKEN
    assert raised.value.metadata == {"field": "page_token"}


@given(st.binary(max_size=30), st.integers(0, 45), st.integers(1, 255))
def test_a_token_that_was_altered_is_refused(position: bytes, place: int, change: int) -> None:
    token = TOKENS.make(position, query=QUERY)
    data = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    data[place % len(data)] ^= change
    with pytest.raises(TrinityError):
        TOKENS.read(base64.urlsafe_b64encode(data).decode().rstrip("="), query=QUERY)
