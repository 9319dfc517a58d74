"""The MAC of a line: what it covers, and that a shell with openssl makes the same."""

from __future__ import annotations

import hashlib
import hmac
import shutil
import subprocess

import pytest

from trinity_core.udp_mac import SessionMacs, signed_line, text_mac

KEY = bytes(range(32))


def test_a_line_carries_the_mac_of_all_that_stands_before_it() -> None:
    line = signed_line(KEY, "GET BTC USD", session="00112233445566ff", unix_s=1_790_000_000, sequence=7)
    before, _, mac = line.partition(" m=")
    assert before == "GET BTC USD s=00112233445566ff t=1790000000 q=7"
    assert mac == hmac.new(KEY, b"qt" + before.encode(), hashlib.sha256).hexdigest()[:32]


def test_another_key_another_line_another_mac() -> None:
    macs = {text_mac(key, line) for key in (KEY, KEY[::-1]) for line in (b"GET BTC", b"GET BTC ", b"GET btc", b"")}
    assert len(macs) == 8
    assert {len(mac) for mac in macs} == {16}


def test_a_shell_with_openssl_makes_the_same_mac() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("this machine has no openssl command")
    signed = b"GET BTC USD s=00112233445566ff t=1790000000 q=7"
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}"]
    done = subprocess.run(command, input=b"qt" + signed, capture_output=True, check=True)
    assert done.stdout.split()[-1][:32].decode() == text_mac(KEY, signed).hex()


def test_a_session_makes_all_its_macs_with_the_key_put_in_once() -> None:
    macs = SessionMacs(KEY)

    def whole(message: bytes) -> bytes:
        return hmac.new(KEY, message, hashlib.sha256).digest()[:16]

    for message in (b"", b"GET BTC", bytes(200)):
        assert macs.text(message) == text_mac(KEY, message) == whole(b"qt" + message)
        assert macs.query(message) == whole(b"q" + message)
        assert macs.reply(b"m" * 16, message) == whole(b"r" + b"m" * 16 + message)
    assert macs.text(b"again") == whole(b"qtagain"), "no message leaves anything behind"
