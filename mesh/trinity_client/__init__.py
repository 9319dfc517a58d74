"""What a Python customer installs: a live local replica of the prices, and typed calls."""

from trinity_client.price_book import PriceBook
from trinity_client.price_client import PriceClient
from trinity_client.replica import Connection
from trinity_client.udp_client import UdpClient
from trinity_client.udp_opening import UdpSessionKey, open_udp_session
from trinity_client.udp_values import UdpPrice, UdpUsage
from trinity_client.view import PriceView

__all__ = [
    "Connection",
    "PriceBook",
    "PriceClient",
    "PriceView",
    "UdpClient",
    "UdpPrice",
    "UdpSessionKey",
    "UdpUsage",
    "open_udp_session",
]
