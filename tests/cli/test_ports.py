"""Ports are found before anything starts, and a taken one is an error that says what to do."""

from __future__ import annotations

import socket

import pytest

from trinity_cli.ports import find_udp, hold_tcp
from trinity_core.errors import TrinityError


def test_port_zero_picks_a_free_one_that_workers_can_share() -> None:
    held = hold_tcp("127.0.0.1", 0, option="--http-port")
    with socket.socket() as worker, socket.socket() as other:
        for listener in (worker, other):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((held.host, held.port))
            listener.listen()
        with socket.create_connection((held.host, held.port), timeout=5):
            pass
    held.release()


def test_a_held_port_is_not_given_twice() -> None:
    held = hold_tcp("127.0.0.1", 0, option="--http-port")
    with pytest.raises(TrinityError, match="--report-port"):
        hold_tcp("127.0.0.1", held.port, option="--report-port")
    held.release()
    hold_tcp("127.0.0.1", held.port, option="--report-port").release()


def test_nobody_answers_on_a_held_port_until_a_worker_listens() -> None:
    held = hold_tcp("127.0.0.1", 0, option="--http-port")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((held.host, held.port), timeout=5)
    held.release()


def test_a_taken_datagram_port_names_the_option() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(TrinityError, match="--udp-port"):
            find_udp("127.0.0.1", taken.getsockname()[1], option="--udp-port")


def test_an_ipv6_address_has_brackets() -> None:
    held = hold_tcp("::1", 0, option="--http-port")
    assert held.address == f"[::1]:{held.port}"
    held.release()
