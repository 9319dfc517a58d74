"""What a Python customer installs: a live local replica of the prices, typed calls, the receiver's half of webhooks."""

from trinity_client.price_book import PriceBook
from trinity_client.price_client import PriceClient
from trinity_client.replica import Connection
from trinity_client.udp_client import UdpClient
from trinity_client.udp_opening import UdpSessionKey, open_udp_session
from trinity_client.udp_values import UdpPrice, UdpUsage
from trinity_client.view import PriceView
from trinity_client.webhook_datagrams import DatagramReceiver
from trinity_client.webhook_verify import WebhookMessage, WebhookVerifier, webhook_verify

__all__ = [
    "Connection",
    "DatagramReceiver",
    "PriceBook",
    "PriceClient",
    "PriceView",
    "UdpClient",
    "UdpPrice",
    "UdpSessionKey",
    "UdpUsage",
    "WebhookMessage",
    "WebhookVerifier",
    "open_udp_session",
    "webhook_verify",
]
