"""The names that answers are counted under: those of the contracts' methods, and of what datagrams have besides."""

from __future__ import annotations

import importlib.resources
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

_OF_DATAGRAMS: Final = frozenset({"Ping", "Time", "Help"})


def load_methods() -> frozenset[str]:
    """Short names, of every contract that this release has."""
    contracts = FileDescriptorSet.FromString(importlib.resources.files("trinity").joinpath("api.binpb").read_bytes())
    return _OF_DATAGRAMS | {
        method.name for file in contracts.file for service in file.service for method in service.method
    }
