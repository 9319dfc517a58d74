"""Listening sockets that let no new connection begin, and keep those that have begun."""

from __future__ import annotations

import socket
import sys

import pytest

from trinity_http.turning_away import turn_away

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a socket filter is Linux's")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_that_have_begun_are_taken_and_no_others_begin(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener, socket.socket(family) as early, socket.socket(family) as late:
        listener.bind((host, 0))
        listener.listen()
        early.connect(listener.getsockname())
        assert turn_away(listener)
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        taken, _ = listener.accept()
        with taken:
            early.sendall(b"ping")
            assert taken.recv(4) == b"ping"
            taken.sendall(b"pong")
            assert early.recv(4) == b"pong"
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_one_that_was_turned_away_finds_the_neighbour_once_the_socket_is_closed() -> None:
    first, second = (socket.socket() for _ in range(2))
    with second, socket.socket() as client:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("127.0.0.1", 0))
        first.listen()
        assert turn_away(first)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.connect(first.getsockname())
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(first.getsockname())
        second.listen()
        first.close()
        second.settimeout(20)
        taken, _ = second.accept()
        taken.close()


def test_a_unix_socket_is_left_alone() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        assert not turn_away(listener)
