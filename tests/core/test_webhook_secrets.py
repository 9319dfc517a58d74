"""Secrets: their texts, what is refused without being shown, and sealing."""

from __future__ import annotations

import base64

import pytest

from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_secrets import Scheme, Sealer, SecretValue, make_secret, read_secret

KEY = b"k" * 32


def chance(count: int) -> bytes:
    return bytes(range(1, count + 1))


def sealer(key: bytes = KEY) -> Sealer:
    return Sealer(key=key, random_bytes=chance)


def test_a_secret_of_24_to_64_bytes_comes_back_as_it_was_given() -> None:
    for size in (24, 32, 64):
        text = "whsec_" + base64.b64encode(bytes(range(size))).decode()
        assert read_secret(text).text == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("whpk_" + "A" * 32, "must begin with whsec_"),
        ("whsec_", "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(bytes(range(23))).decode(), "it holds 23"),
        ("whsec_" + base64.b64encode(bytes(range(65))).decode(), "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(bytes(range(25))).decode().rstrip("="), "not base64"),
        ("whsec_" + base64.urlsafe_b64encode(b"\xff\xfe" * 16).decode(), "not base64"),
        ("whsec_" + base64.b64encode(b"x" * 32).decode(), "by chance"),
        ("whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGb==", "bits beyond"),
    ],
)
def test_a_bad_secret_is_refused_with_why_and_never_shown(text: str, why: str) -> None:
    with pytest.raises(TrinityError) as caught:
        read_secret(text)
    error = caught.value
    assert error.reason is Reason.INVALID_FIELD
    assert why in error.message
    assert len(text) < 10 or text.partition("_")[2] not in str(error) + repr(error) + str(error.metadata)


def test_a_private_key_has_no_text_and_a_secret_no_repr() -> None:
    pair = make_secret(Scheme.V1A, chance)
    assert len(pair.public) == 32
    with pytest.raises(ValueError, match="not shown"):
        _ = pair.text
    value = SecretValue(Scheme.V1, b"very secret indeed, this one")
    assert "secret indeed" not in repr(value)


def test_a_sealed_secret_opens_in_its_own_place_alone() -> None:
    value = make_secret(Scheme.V1, chance)
    sealed = sealer().seal(value, endpoint="e", secret="s")
    assert value.data not in sealed
    assert sealer().open(sealed, Scheme.V1, endpoint="e", secret="s") == value
    wrong = [
        (sealer(), sealed, Scheme.V1, "other", "s"),
        (sealer(), sealed, Scheme.V1, "e", "other"),
        (sealer(), sealed, Scheme.V1A, "e", "s"),
        (sealer(b"x" * 32), sealed, Scheme.V1, "e", "s"),
        (sealer(), sealed[:-1] + bytes([sealed[-1] ^ 1]), Scheme.V1, "e", "s"),
        (sealer(), b"", Scheme.V1, "e", "s"),
    ]
    for opener, data, scheme, endpoint, secret in wrong:
        with pytest.raises(TrinityError) as caught:
            opener.open(data, scheme, endpoint=endpoint, secret=secret)
        assert caught.value.reason is Reason.INTERNAL
