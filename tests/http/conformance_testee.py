"""Speaks protobuf's conformance protocol for our ProtoJSON reader and writer.

    python tests/http/conformance_testee.py DESCRIPTOR_SET

`DESCRIPTOR_SET` holds conformance/conformance.proto and the test messages. The suite's
runner starts this program, writes requests to its standard input and reads answers from
its standard output: 4 bytes of length, little endian, then the message.
"""

import struct
import sys
from pathlib import Path

from google.protobuf.message import DecodeError

from trinity_core.errors import TrinityError
from trinity_http.contract import pool_of
from trinity_http.message_types import Types
from trinity_http.protojson_read import JsonReader
from trinity_http.protojson_write import JsonWriter
from trinity_http.wellknown import Unwritable

PROTOBUF, JSON = 1, 2
JSON_IGNORE_UNKNOWN = 3


def answer(request, reply, types):
    kind = types.find(request.message_type)
    if kind is None or request.WhichOneof("payload") not in ("protobuf_payload", "json_payload"):
        reply.skipped = "not about ProtoJSON"
        return
    if request.requested_output_format not in (PROTOBUF, JSON):
        reply.skipped = "not about ProtoJSON"
        return
    message = kind()
    if request.WhichOneof("payload") == "json_payload":
        reader = JsonReader(types, ignore_unknown=request.test_category == JSON_IGNORE_UNKNOWN)
        try:
            reader.read(request.json_payload.encode(), message)
        except TrinityError as error:
            reply.parse_error = str(error)
            return
    else:
        try:
            message.ParseFromString(request.protobuf_payload)
        except DecodeError as error:
            reply.parse_error = str(error)
            return
    try:
        if request.requested_output_format == PROTOBUF:
            reply.protobuf_payload = message.SerializeToString()
        else:
            reply.json_payload = JsonWriter(types, show_zero=False).write(message).decode()
    except Unwritable as error:
        reply.serialize_error = str(error)


def main():
    types = Types(pool_of(Path(sys.argv[1]).read_bytes()))
    request_type = types.find("conformance.ConformanceRequest")
    reply_type = types.find("conformance.ConformanceResponse")
    assert request_type is not None
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(4)) == 4:
        request = request_type.FromString(source.read(struct.unpack("<I", head)[0]))
        reply = reply_type()
        try:
            answer(request, reply, types)
        except Exception as error:
            reply.runtime_error = repr(error)
        data = reply.SerializeToString()
        sink.write(struct.pack("<I", len(data)) + data)
        sink.flush()


if __name__ == "__main__":
    main()
