"""What a descriptor set says: its methods, their HTTP rules, scopes and comments."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError

from trinity.options.v1 import options_pb2
from trinity_http.comments import comments_of
from trinity_http.message_types import Types


class ContractError(ValueError):
    """A descriptor set cannot be served; the text names the method and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One way to call a method over HTTP: one google.api.HttpRule, its additional bindings taken apart."""

    http_method: str
    """Upper case; "*" for any."""
    template: str
    body: str
    """Name of the request field that is the body, "*" for the whole request, "" for none."""
    response_body: str
    """Name of the response field that is the body, "" for the whole response."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service."""

    full_name: str
    """As in "trinity.price.v1.PriceService.GetPrice"."""
    service: str
    """Full name of the service."""
    name: str
    input: Descriptor
    output: Descriptor
    client_streaming: bool
    server_streaming: bool
    rules: tuple[HttpRule, ...]
    scopes: tuple[str, ...]
    """Scopes a caller's key must hold, from (trinity.options.v1.method)."""
    anonymous: bool
    """May be called without a key."""
    deprecated: bool
    other_form: str
    """Name of the response field that may hold the answer in another form; "" for none."""

    @property
    def path(self) -> str:
        """What gRPC calls it: "/trinity.price.v1.PriceService/GetPrice"."""
        return f"/{self.service}/{self.name}"


class Contract:
    """One descriptor set, ready to be served."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        """Build the types. Raises ContractError when the files do not make a whole."""
        self.types = Types(_pool(files))
        self.comments: Mapping[str, str] = comments_of(files)
        """Leading comment of each message, field, enum, value, service and method, by full name."""
        self.has_rules = any(file.name == "trinity/options/v1/options.proto" for file in files.file)
        """Whether our own options mean something here: a stranger may use their numbers for something else."""
        self.services: tuple[ServiceDescriptor, ...] = tuple(
            self.types.pool.FindServiceByName(f"{file.package}.{service.name}".removeprefix("."))
            for file in files.file
            for service in file.service
        )
        self.methods: tuple[Method, ...] = tuple(
            self._method(service, method) for service in self.services for method in service.methods
        )

    @classmethod
    def of(cls, source: bytes | descriptor_pb2.FileDescriptorSet) -> Contract:
        """The contract of a descriptor set, serialised or not. Raises ContractError."""
        if isinstance(source, bytes):
            try:
                # Options are parsed with this process's own google.api.http; a set need not carry it.
                source = descriptor_pb2.FileDescriptorSet.FromString(source)
            except DecodeError as error:
                raise ContractError(
                    f"this is no descriptor set (protoc --descriptor_set_out writes one): {error}"
                ) from error
        return cls(source)

    def _method(self, service: ServiceDescriptor, method: MethodDescriptor) -> Method:
        options = method.GetOptions()
        rules = options.Extensions[options_pb2.method] if self.has_rules else options_pb2.MethodRules()
        return Method(
            full_name=method.full_name,
            service=service.full_name,
            name=method.name,
            input=method.input_type,
            output=method.output_type,
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
            rules=tuple(_rules(options.Extensions[annotations_pb2.http], method.full_name)),
            scopes=tuple(rules.scopes),
            anonymous=rules.anonymous,
            deprecated=options.deprecated,
            other_form=rules.other_form,
        )


def pool_of(source: bytes) -> descriptor_pool.DescriptorPool:
    """A pool with every file of a serialised descriptor set. Raises ContractError."""
    return _pool(descriptor_pb2.FileDescriptorSet.FromString(source))


def _pool(files: descriptor_pb2.FileDescriptorSet) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    waiting = {file.name: file for file in files.file}
    for name in [file.name for file in files.file]:
        _add(pool, waiting, name, needed_by="the descriptor set")
    return pool


def _add(
    pool: descriptor_pool.DescriptorPool,
    waiting: dict[str, descriptor_pb2.FileDescriptorProto],
    name: str,
    *,
    needed_by: str,
) -> None:
    """Add a file after those it imports; google's own files may be missing from the set."""
    try:
        pool.FindFileByName(name)
    except KeyError:
        pass
    else:
        return
    file = waiting.pop(name, None)
    if file is None:
        file = _googles(name)
    if file is None:
        raise ContractError(
            f"{needed_by} imports {name}, which is not in the set; protoc --include_imports puts it there"
        )
    for imported in file.dependency:
        _add(pool, waiting, imported, needed_by=file.name)
    bare = descriptor_pb2.FileDescriptorProto()
    bare.CopyFrom(file)
    bare.ClearField("source_code_info")
    try:
        pool.Add(bare)
    except TypeError as error:
        raise ContractError(f"{file.name} does not fit the rest of the set: {error}") from error


def _googles(name: str) -> descriptor_pb2.FileDescriptorProto | None:
    """One of the files that come with this process's own protobuf packages; None for any other name."""
    if not _GOOGLES.fullmatch(name):
        return None
    try:
        importlib.import_module(f"{name.removesuffix('.proto').replace('/', '.')}_pb2")
        known = descriptor_pool.Default().FindFileByName(name)
    except (ImportError, KeyError):
        return None
    return descriptor_pb2.FileDescriptorProto.FromString(known.serialized_pb)


def _rules(rule: http_pb2.HttpRule, method: str) -> Iterator[HttpRule]:
    if rule.WhichOneof("pattern") is None:
        if rule.additional_bindings:
            raise ContractError(f"{method}: its google.api.http has additional bindings but no pattern of its own")
        return
    for binding in (rule, *rule.additional_bindings):
        kind = binding.WhichOneof("pattern")
        if kind is None or (binding is not rule and binding.additional_bindings):
            raise ContractError(f"{method}: an additional binding needs a pattern and no bindings of its own")
        if kind == "custom":
            http_method, template = binding.custom.kind.upper(), binding.custom.path
        else:
            http_method, template = kind.upper(), getattr(binding, kind)
        if http_method != "*" and not (http_method.isascii() and http_method.isalpha()):
            raise ContractError(f"{method}: {http_method!r} is not an HTTP method")
        yield HttpRule(http_method, template, binding.body, binding.response_body)


_GOOGLES: Final = re.compile(r"google/(?:api|protobuf|rpc|type|longrunning)/[a-z_]+\.proto")
