"""`trinity webhook`: endpoints, what they are told of, what became of it, and a receiver to try it with."""

from __future__ import annotations

import click

from trinity_cli.webhook_delivery_commands import deliveries
from trinity_cli.webhook_endpoint_commands import endpoints
from trinity_cli.webhook_listen import listen
from trinity_cli.webhook_notice_commands import notices
from trinity_cli.webhook_subscription_commands import subscriptions


@click.group()
def webhook() -> None:
    """Prices and alerts that are pushed to you."""


for _command in (endpoints, subscriptions, deliveries, notices, listen):
    webhook.add_command(_command)
