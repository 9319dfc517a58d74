"""The names that answers are counted under: the contracts' methods, what datagrams have besides, and what is pushed."""

from __future__ import annotations

import importlib.resources
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

_OF_DATAGRAMS: Final = frozenset({"Ping", "Time", "Help"})
_PUSHED: Final = frozenset({"PushTick", "PushAlert"})
"""Deliveries of webhooks."""


def load_methods() -> frozenset[str]:
    """Short names, of every contract that this release has."""
    contracts = FileDescriptorSet.FromString(importlib.resources.files("trinity").joinpath("api.binpb").read_bytes())
    return (
        _OF_DATAGRAMS
        | _PUSHED
        | {method.name for file in contracts.file for service in file.service for method in service.method}
    )
