"""Binary datagrams: what stands where, and that nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core import udp_frame
from trinity_core.udp_frame import COOKIE, HEAD_BYTES, MAC, REFUSED, RESPONSE, TRUNCATED, make_frame, read_frame

FIELDS = {"request_id": b"12345678", "session_id": 0x0011223344556677, "unix_s": 1_767_322_800, "sequence": 7}


def test_a_frame_is_put_together_byte_by_byte() -> None:
    made = make_frame(MAC | COOKIE, payload=b"\x0a\x03BTC", cookie=b"c" * 24, **FIELDS)  # type: ignore[arg-type]
    assert (
        made
        == bytes.fromhex("f106 0005")
        + b"12345678"
        + bytes.fromhex("0011223344556677 695734b0 00000007 0a03425443")
        + b"c" * 24
    )
    frame = read_frame(made + b"m" * 16)
    assert frame is not None
    assert (frame.payload, frame.cookie, frame.mac, frame.signed) == (b"\x0a\x03BTC", b"c" * 24, b"m" * 16, made)
    assert not frame.response


@given(
    flags=st.integers(0, 31),
    payload=st.binary(max_size=40),
    unix_s=st.integers(0, 2**32 - 1),
    number=st.integers(0, 255),
)
def test_what_was_put_together_is_taken_apart(flags: int, payload: bytes, unix_s: int, number: int) -> None:
    cookie, mac = b"c" * 24 if flags & COOKIE else b"", b"m" * 16 if flags & MAC else b""
    made = make_frame(
        flags,
        request_id=bytes([number]) * 8,
        session_id=number,
        unix_s=unix_s,
        sequence=unix_s,
        payload=payload,
        cookie=cookie,
    )
    frame = read_frame(made + mac)
    assert frame is not None
    assert (frame.flags, frame.payload, frame.unix_s, frame.sequence) == (flags, payload, unix_s, unix_s)
    assert (frame.cookie or b"", frame.mac or b"", frame.signed) == (cookie, mac, made)
    assert frame.response is bool(flags & RESPONSE)
    for other in (made + mac + b"\0", (made + mac)[:-1]):
        assert read_frame(other) is None


@pytest.mark.parametrize("flag", [32, 64, 128])
def test_flags_that_nobody_knows_are_none(flag: int) -> None:
    assert read_frame(make_frame(flag | TRUNCATED | REFUSED, payload=b"", **FIELDS)) is None  # type: ignore[arg-type]
    assert read_frame(make_frame(TRUNCATED | REFUSED, payload=b"", **FIELDS)) is not None  # type: ignore[arg-type]


@given(st.binary(max_size=200).map(lambda tail: bytes([udp_frame.VERSION]) + tail))
def test_no_bytes_are_too_odd_to_be_looked_at(datagram: bytes) -> None:
    frame = read_frame(datagram)
    if frame is not None:
        assert len(datagram) >= HEAD_BYTES
        assert frame.signed + (frame.mac or b"") == datagram
