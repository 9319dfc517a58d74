"""API keys as text."""

from __future__ import annotations

import secrets

import pytest

from trinity_core.keys import digest_of, hidden, holds_key, mint, parse


def test_a_minted_key_is_taken_apart_again() -> None:
    key = mint(env="demo", random_bytes=secrets.token_bytes)
    assert parse(key.text) == key
    assert key.text.startswith(f"tbk_demo_{key.key_id}_")


def test_two_keys_differ() -> None:
    keys = {mint(env="demo", random_bytes=secrets.token_bytes).text for _ in range(1_000)}
    assert len(keys) == 1_000


@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_extreme_random_bytes_still_give_a_key_of_the_form(fill: int) -> None:
    mint(env="demo", random_bytes=lambda count: bytes([fill]) * count)


def test_every_single_wrong_character_is_noticed() -> None:
    text = mint(env="demo", random_bytes=lambda count: bytes(range(count))).text
    for index in range(len(text)):
        for wrong in "0aZ_!":
            if text[index] != wrong:
                with pytest.raises(ValueError, match="key") as caught:
                    parse(text[:index] + wrong + text[index + 1 :])
                assert text[-20:] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "tbk_", "Bearer x", "tbk_demo_aaaaaaaaaaaa_" + "0" * 49 + "\n", "ü" * 70])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        parse(text)


def test_the_secret_is_not_in_the_repr() -> None:
    key = mint(env="demo", random_bytes=secrets.token_bytes)
    assert key.text[22:] not in repr(key)


def test_the_digest_is_the_hmac_that_openssl_computes() -> None:
    # printf 'tbk_demo_00aaaaaaaaaa_x' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0b0b… (32 bytes)
    expected = "1edcf5ab171233eb79507c9d4340834ee0a027bcd37ed8ca8c15017e12cd9d73"
    assert digest_of("tbk_demo_00aaaaaaaaaa_x", b"\x0b" * 32).hex() == expected
    key = mint(env="demo", random_bytes=secrets.token_bytes)
    assert key.digest(b"p" * 32) == digest_of(key.text, b"p" * 32) != key.digest(b"q" * 32)


def test_a_key_in_a_text_keeps_its_id_and_loses_its_secret() -> None:
    key = mint(env="demo", random_bytes=secrets.token_bytes)
    public, secret = key.text[:22], key.text[22:]
    for text in (key.text, f"no path /v1/{key.text}?a=1", f"'{key.text[:40]}'", key.text * 2, key.text.upper()):
        shown = hidden(text)
        assert holds_key(text)
        assert public.lower() in shown.lower()
        assert secret[:6].lower() not in shown.lower()
    coded = key.text.replace("_", "%5F")
    assert secret[:6] not in hidden(f"/v1/{coded}")
    assert hidden(f"{key.text} and {key.text}!") == f"{public}… and {public}…!"


def test_a_text_without_a_key_stays_as_it_is() -> None:
    key_id = mint(env="demo", random_bytes=secrets.token_bytes).key_id
    for text in (
        "",
        "there is no key 'abc'",
        f"tbk_demo_{key_id}",
        f"tbk_demo_{key_id}_",
        "tbk_…",
        "send Bearer tbk_…",
    ):
        assert hidden(text) == text
        assert not holds_key(text)
