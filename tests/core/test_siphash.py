"""SipHash-2-4 against the vectors of its reference implementation."""

from __future__ import annotations

import pytest

from trinity_core.siphash import siphash24

KEY = bytes(range(16))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "310e0edd47db6f72"),
        (1, "fd67dc93c539f874"),
        (2, "5a4fa9d909806c0d"),
        (3, "2d7efbd796666785"),
        (15, "e545be4961ca29a1"),
    ],
)
def test_the_published_vectors_come_out(length: int, expected: str) -> None:
    assert siphash24(KEY, bytes(range(length))).hex() == expected


def test_every_bit_of_key_and_message_counts() -> None:
    message = bytes(range(32))
    flipped = [message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :] for at in range(32)]
    keys = [KEY[:at] + bytes((KEY[at] ^ 1,)) + KEY[at + 1 :] for at in range(16)]
    hashes = {siphash24(KEY, each) for each in flipped} | {siphash24(key, message) for key in keys}
    assert len(hashes) == 48
    assert siphash24(KEY, message) not in hashes
