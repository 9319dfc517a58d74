"""The message types of one contract: looked up by name, made once, never mixed with another contract's."""

from __future__ import annotations

from typing import TypeAlias

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

MessageType: TypeAlias = type[Message]


class Types:
    """Message classes of a descriptor pool, and of this process's own contracts where the pool has none.

    The second is what lets a google.protobuf.Any that carries an error detail be read even
    if the contract served never imports google/rpc/error_details.proto.
    """

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self.pool = pool
        self._pools = (pool, descriptor_pool.Default())
        self._by_name: dict[str, MessageType | None] = {}

    def of(self, descriptor: Descriptor) -> MessageType:
        """The class of a descriptor."""
        return message_factory.GetMessageClass(descriptor)

    def find(self, full_name: str) -> MessageType | None:
        """The class of that full name; None where no contract has it."""
        found = self._by_name.get(full_name)
        if found is None and len(full_name) <= _NAME_LENGTH_MAX:
            for pool in self._pools:
                try:
                    found = self._by_name[full_name] = self.of(pool.FindMessageTypeByName(full_name))
                    break
                except KeyError:
                    continue
        return found

    def find_url(self, type_url: str) -> MessageType | None:
        """The class that a google.protobuf.Any's type URL names; None for an unknown type or no URL."""
        prefix, slash, name = type_url.rpartition("/")
        return self.find(name) if slash and prefix else None


_NAME_LENGTH_MAX = 512
