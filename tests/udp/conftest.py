"""Fixtures of the datagram endpoint's tests."""

from __future__ import annotations

import pytest

from udp.counter import Counter, Shelf, make_price, open_counter


@pytest.fixture
def counter() -> Counter:
    """A desk that knows BTC, and ETH as a simulated price."""
    return open_counter()


@pytest.fixture
def shelf() -> Shelf:
    """A replica with the same two prices."""
    return Shelf({"BTC": make_price(), "ETH": make_price("ETH", "3000.5", sandbox=True)})
